"""Predictions as files: Parquet holds what CSV does, and neither survives an error."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, DataError, Faces, FerError
from fer_infer import Scorer, score
from fer_infer.config import COLUMNS
from fer_infer.scoring.writers.csv_writer import CsvPredictionWriter
from fer_infer.scoring.writers.parquet_writer import ROW_GROUP_ROWS
from fer_infer.scoring.writers.predictions import prediction_writer
from fer_infer.scoring.writers.rejects import RejectWriter

Images = NDArray[np.uint8]


def faces_of(n: int, source: str = "faces.csv", **columns: Any) -> Faces:
    return Faces(np.zeros((n, 48, 48), np.uint8), np.arange(n) + 2, source=source, **columns)


def scores(n: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    logits, probabilities = rng.normal(size=(2, n, 7)).astype(np.float32)
    return logits.argmax(axis=1), logits, probabilities


@pytest.mark.parametrize(
    ("name", "kind"),
    [("out.csv", "csv"), ("out.parquet", "parquet"), ("out.PARQUET", "parquet"), ("out", "csv"), ("parquet", "csv")],
)
def test_the_suffix_of_the_output_chooses_the_form(name: str, kind: str) -> None:
    assert (prediction_writer(f"some/{name}") is CsvPredictionWriter) == (kind == "csv")


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("with_ids", [False, True])
def test_parquet_holds_what_csv_does(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path, columns: str, with_ids: bool
) -> None:
    ids = {"id": [f"ü {n}" for n in range(30)]} if with_ids else {}
    data = tmp_path / "faces.csv"
    data.write_text(csv_of(images, **ids), encoding="utf-8")
    for name in ("out.csv", "out.parquet"):
        score(data, exports, tmp_path / name, columns=columns, device="cpu", batch_size=7)
    header, *rows = csv.reader((tmp_path / "out.csv").open(encoding="utf-8", newline=""))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == header
    assert table["id"].to_pylist() == [row[0] for row in rows]
    assert table["label"].to_pylist() == [int(row[1]) for row in rows]
    assert table.schema.types[:2] == [pa.string(), pa.int64()]
    assert set(table.schema.types[2:]) <= {pa.float32()}
    values = np.array([row[2:] for row in rows], np.float32)
    found = np.array([table[name].to_numpy() for name in table.column_names[2:]]).T.reshape(values.shape)
    np.testing.assert_array_equal(found, values)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "out.csv", "out.parquet"]


def test_a_parquet_file_is_scored_and_its_rows_count_from_0(images: Images, exports: Path, tmp_path: Path) -> None:
    pixels = [image.tobytes() for image in images]
    pixels[0] = pixels[4] = b"short"
    pq.write_table(pa.table({"pixels": pixels}), tmp_path / "faces.parquet")
    done = score(tmp_path / "faces.parquet", exports, tmp_path / "out.csv", device="cpu", on_error="skip", batch_size=3)
    kept = [n for n in range(30) if n not in (0, 4)]
    labels = Scorer(exports, "cpu").run(images)[0].argmax(axis=1)
    assert (tmp_path / "out.csv").read_text() == "id,label\n" + "".join(f"{n},{labels[n]}\n" for n in kept)
    assert (done.rows, done.rejected) == (28, 2)
    rejects = list(csv.reader((tmp_path / "out.csv.rejects.csv").open(newline="")))
    assert [row[1:] for row in rejects[1:]] == [[str(row), "pixels", "expected 2304 bytes, found 5"] for row in (1, 5)]


def test_a_list_of_rejects_that_somebody_else_made_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.csv.rejects.csv"
    with RejectWriter(tmp_path / "out.csv", force=False):
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    with RejectWriter(tmp_path / "out.csv", force=True):
        pass
    assert not path.exists()  # of an earlier run of the same output


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_the_source_comes_first_where_it_is_asked_for(tmp_path: Path, name: str) -> None:
    with prediction_writer(name)(tmp_path / name, "id-label", EXPRESSIONS, with_source=True) as predictions:
        for source, n in (("a.csv", 2), ("b.csv", 1), ("c.csv", 0)):
            predictions.write(faces_of(n, source), *scores(n))
    if name == "out.csv":
        rows = [row[:2] for row in csv.reader((tmp_path / name).open(newline=""))]
    else:
        table = pq.read_table(tmp_path / name)
        rows = [table.column_names[:2], *map(list, zip(*(table[i].to_pylist() for i in (0, 1)), strict=True))]
    assert rows == [["source", "id"], ["a.csv", "0"], ["a.csv", "1"], ["b.csv", "0"]]


def test_row_groups_are_large_and_bounded(tmp_path: Path) -> None:
    n, batch = 2 * ROW_GROUP_ROWS + 1000, 30_000
    labels, logits, probabilities = scores(n)
    with prediction_writer("out.parquet")(tmp_path / "out", "logits", EXPRESSIONS) as predictions:
        for start in range(0, n, batch):
            part = slice(start, min(start + batch, n))
            faces = faces_of(part.stop - start, ids=np.arange(n)[part].astype(np.str_))
            predictions.write(faces, labels[part], logits[part], probabilities[part])
    file = pq.ParquetFile(tmp_path / "out")
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert max(sizes) <= ROW_GROUP_ROWS
    assert len(sizes) <= 6
    table = file.read()
    np.testing.assert_array_equal(table["label"].to_numpy(), labels)
    np.testing.assert_array_equal(np.array([table[name].to_numpy() for name in EXPRESSIONS]).T, logits)
    assert table["id"].to_pylist() == [str(i) for i in range(n)]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_nothing_to_write_gives_the_columns_alone(exports: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.csv").write_text("pixels\n")
    score(tmp_path / "empty.csv", exports, tmp_path / name, columns="probabilities", device="cpu")
    if name == "out.csv":
        assert (tmp_path / name).read_text() == "id,label," + ",".join(EXPRESSIONS) + "\n"
    else:
        table = pq.read_table(tmp_path / name)
        assert (table.num_rows, table.column_names) == (0, ["id", "label", *EXPRESSIONS])


def test_a_wrong_row_leaves_no_parquet(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path
) -> None:
    (tmp_path / "faces.csv").write_text(csv_of(images) + "1 2 3\n")
    with pytest.raises(DataError, match=r"row 32, column 'pixels'"):
        score(tmp_path / "faces.csv", exports, tmp_path / "out.parquet", device="cpu", batch_size=4)
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "faces.csv").write_text(csv_of(images))
    limit_bytes = 64
    code = (
        "import resource, signal, sys\n"
        "from fer_infer.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        "main(sys.argv[1:], prog_name='fer-infer')\n"
    )
    arguments = ["score", tmp_path / "faces.csv", "--model", exports, "--output", tmp_path / name, "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"fer-infer: {tmp_path / name}: cannot be written: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]


def test_without_pyarrow_the_extra_is_named(
    images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faces.csv").write_text(csv_of(images[:1]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "fer_infer.scoring.writers.parquet_writer")
    monkeypatch.delattr("fer_infer.scoring.writers.parquet_writer")
    with pytest.raises(FerError, match=r"^pyarrow is not installed; pip install 'fer-toolkit\[parquet\]', or "):
        score(tmp_path / "faces.csv", exports, tmp_path / "out.parquet", device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_is_written_escaped(tmp_path: Path) -> None:
    faces = faces_of(1, ids=np.array([os.fsdecode(b"caf\xe9.png")]))
    with prediction_writer("p.csv")(tmp_path / "p.csv", "id-label", ("a", "b")) as writer:
        writer.write(faces, *scores(1))
    assert "caf\\udce9.png," in (tmp_path / "p.csv").read_text(encoding="utf-8")
