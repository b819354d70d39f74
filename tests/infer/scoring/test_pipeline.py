"""Scoring a file: what is written, to the byte, and that an error leaves nothing behind."""

from __future__ import annotations

import csv
import gzip
import io
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError, DataError, Faces, ModelError, OutputError, iter_faces, read_faces
from fer_core.errors import DataWarning
from fer_core.io.compression import open_stream
from fer_core.io.read_ahead import READ_AHEAD
from fer_infer import Scorer, score
from fer_infer.config import COLUMNS, ScoreConfig
from fer_infer.evaluation.evaluate import evaluate
from fer_infer.scoring import pipeline

Images = NDArray[np.uint8]
CsvOf = Callable[..., str]
BAD_PIXELS = "1 2 3"


@pytest.fixture
def data(images: Images, csv_of: CsvOf, tmp_path: Path) -> Path:
    """Thirty faces without ids."""
    path = tmp_path / "faces.csv"
    path.write_text(csv_of(images))
    return path


@pytest.fixture
def labels(model: Any, images: Images) -> list[int]:
    """The reference's labels of those thirty faces."""
    return list(model.run(images)[0].argmax(axis=1).tolist())


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """An empty folder for outputs, in which nothing may be left over."""
    path = tmp_path / "work"
    path.mkdir()
    return path


def spoil(data: Path, *rows: int) -> None:
    """Overwrite rows (the header is row 1) with three pixels."""
    lines = data.read_text().splitlines()
    for row in rows:
        lines[row - 1] = BAD_PIXELS
    data.write_text("\n".join(lines) + "\n")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_split_keeps_the_ids_of_its_rows(data: Path, exports: Path, work: Path, labels: list[int]) -> None:
    header, *rows = data.read_text().splitlines()
    splits = ["Training" if n % 3 else "PublicTest" for n in range(len(rows))]
    lines = [f"{header},Usage", *(f"{row},{split}" for row, split in zip(rows, splits, strict=True))]
    data.write_text("\n".join(lines) + "\n")
    assert score(data, exports, work / "out.csv", device="cpu", split="publictest").rows == 10
    expected = "id,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(labels) if n % 3 == 0)
    assert (work / "out.csv").read_text() == expected
    with pytest.raises(DataError, match=r"faces\.csv: has no row of split 'PrivateTest'; found PublicTest, Training$"):
        score(data, exports, work / "none.csv", device="cpu", split="PrivateTest")
    assert names(work) == ["out.csv"]


def test_a_split_of_a_file_without_splits_is_refused(data: Path, exports: Path, work: Path) -> None:
    with pytest.raises(DataError, match=r"faces\.csv: has no Usage column; cannot select Training rows$"):
        score(data, exports, work / "out.csv", split="Training")
    assert names(work) == []


def test_id_label_is_exactly_two_columns_of_numbers(data: Path, exports: Path, work: Path, labels: list[int]) -> None:
    score(data, exports, work / "out.csv", device="cpu")
    expected = "id,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(labels))
    assert (work / "out.csv").read_bytes() == expected.encode()
    assert names(work) == ["out.csv"]


@pytest.mark.parametrize("columns", ["probabilities", "logits"])
def test_every_class_has_a_column_that_gives_its_float32_back(
    data: Path, exports: Path, work: Path, images: Images, labels: list[int], columns: str
) -> None:
    score(data, exports, work / "out.csv", columns=columns, device="cpu", batch_size=7)
    header, *rows = csv.reader((work / "out.csv").open(newline=""))
    assert header == ["id", "label", *EXPRESSIONS]
    assert [row[:2] for row in rows] == [[str(n), str(label)] for n, label in enumerate(labels)]
    logits, probabilities = Scorer(exports, "cpu").run(images, batch_size=7)
    expected = probabilities if columns == "probabilities" else logits
    np.testing.assert_array_equal(np.array([row[2:] for row in rows], np.float32), expected)


@pytest.mark.parametrize("batch_size", [1, 4, 29, 30, 31, 128])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_file_does_not_depend_on_batch_size_or_threads(
    data: Path, exports: Path, work: Path, labels: list[int], batch_size: int, threads: int
) -> None:
    score(data, exports, work / "out.csv", device="cpu", batch_size=batch_size, threads=threads)
    written = [int(line.split(",")[1]) for line in (work / "out.csv").read_text().splitlines()[1:]]
    assert written == labels


def test_ids_are_kept_as_they_were_written(
    images: Images, csv_of: CsvOf, exports: Path, work: Path, labels: list[int]
) -> None:
    ids = ["007", '"Doe, Jane"', '"say ""cheese"""', "1e3", "None", "ü-1", "-5"]
    (work / "faces.csv").write_text(csv_of(images[:7], "feature", id=ids), encoding="utf-8")
    score(work / "faces.csv", exports, work / "out.csv", device="cpu")
    expected = "id,label\n" + "".join(f"{i},{label}\n" for i, label in zip(ids, labels, strict=False))
    assert (work / "out.csv").read_text(encoding="utf-8") == expected


def test_labels_and_splits_need_not_be_right_to_score(
    images: Images, csv_of: CsvOf, exports: Path, work: Path, labels: list[int]
) -> None:
    cells = {"emotion": ["contempt", "", "7", "-1"], "Usage": ["dev", "", "x", "Training"]}
    (work / "faces.csv").write_text(csv_of(images[:4], **cells))
    score(work / "faces.csv", exports, work / "out.csv", device="cpu")
    assert (work / "out.csv").read_text() == "id,label\n" + "".join(f"{n},{labels[n]}\n" for n in range(4))


def test_blank_lines_are_not_counted_in_ids(data: Path, exports: Path, work: Path, labels: list[int]) -> None:
    data.write_text(data.read_text().replace("\n", "\n\n"))
    score(data, exports, work / "out.csv", device="cpu", batch_size=4)
    expected = "id,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(labels))
    assert (work / "out.csv").read_text() == expected


def test_columns_can_be_chosen(images: Images, csv_of: CsvOf, exports: Path, work: Path, labels: list[int]) -> None:
    (work / "faces.csv").write_text(csv_of(images[:2], "gray", name=["x", "y"], id=["a", "b"]))
    chosen = {"pixels": "gray", "id": "name"}
    score(work / "faces.csv", exports, work / "out.csv", device="cpu", input_columns=chosen)
    assert (work / "out.csv").read_text() == f"id,label\nx,{labels[0]}\ny,{labels[1]}\n"


def test_images_of_a_tree_go_by_their_path(images: Images, exports: Path, work: Path, labels: list[int]) -> None:
    folder = work / "tree" / "test" / "sad"
    folder.mkdir(parents=True)
    for name, image in zip("ba", images[:2], strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")
    score(work / "tree", exports, work / "out.csv", device="cpu")
    expected = f"id,label\ntest/sad/a.png,{labels[1]}\ntest/sad/b.png,{labels[0]}\n"
    assert (work / "out.csv").read_text() == expected


def test_the_summary_says_what_was_done(data: Path, exports: Path, work: Path, labels: list[int]) -> None:
    done = score(data, exports, work / "out.csv", device="cpu")
    assert (done.rows, done.rejected, done.rejects, done.output) == (30, 0, None, work / "out.csv")
    assert done.label_counts == {name: labels.count(n) for n, name in enumerate(EXPRESSIONS)}
    assert (done.provider, done.provider_note) == ("CPUExecutionProvider", "CPU requested")
    assert done.faces_per_s == pytest.approx(30 / done.elapsed_s)


def test_a_header_alone_gives_a_header_alone(exports: Path, work: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("pixels\n")
    done = score(tmp_path / "empty.csv", exports, work / "out.csv", device="cpu")
    assert (work / "out.csv").read_text() == "id,label\n"
    assert done.rows == 0
    assert done.label_counts == dict.fromkeys(EXPRESSIONS, 0)


def test_gzip_is_read(data: Path, exports: Path, work: Path, labels: list[int]) -> None:
    data.write_bytes(gzip.compress(data.read_bytes()))
    assert score(data, exports, work / "out.csv", device="cpu").rows == len(labels)


def test_standard_input_is_read(
    data: Path, exports: Path, work: Path, labels: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin = SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(data.read_bytes())))
    monkeypatch.setattr("sys.stdin", stdin)
    score("-", exports, work / "out.csv", device="cpu")
    assert len((work / "out.csv").read_text().splitlines()) == 1 + len(labels)


def test_a_wrong_row_leaves_no_output_and_no_part_of_one(data: Path, exports: Path, work: Path) -> None:
    spoil(data, 20)
    with pytest.raises(DataError, match=r"faces\.csv row 20, column 'pixels': expected 2304 integers.*found 3$"):
        score(data, exports, work / "out.csv", device="cpu", batch_size=4)
    assert names(work) == []


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "folder"])
def test_a_wrong_layout_is_found_before_the_model_is_loaded(kind: str, tmp_path: Path, work: Path) -> None:
    table = tmp_path / f"faces.{kind}"
    if kind == "csv":
        table.write_text("emotion,face\n3,1 2 3\n")
    elif kind == "csv.gz":
        table.write_bytes(gzip.compress(b"emotion,face\n3,1 2 3\n"))
    elif kind == "parquet":
        pq.write_table(pa.table({"emotion": [3], "face": ["1 2 3"]}), table)
    else:
        (table / "somebody").mkdir(parents=True)
    expected = "expected images as SPLIT/LABEL" if kind == "folder" else "expected a column 'pixels' or 'feature'"
    for run, output in ((score, work / "p.csv"), (evaluate, work / "evaluation")):
        with pytest.raises(DataError, match=expected):
            run(table, tmp_path / "no-such-model", output)
    assert not list(work.iterdir())


def test_columns_left_out_are_named_once_although_the_header_is_read_twice(
    images: Images, csv_of: CsvOf, exports: Path, work: Path, tmp_path: Path
) -> None:
    data = tmp_path / "faces.csv"
    first, *rows = csv_of(images).splitlines()
    data.write_text("\n".join([f",{first}", *(f"{n},{row}" for n, row in enumerate(rows))]))
    with pytest.warns(DataWarning) as caught:
        score(data, exports, work / "p.csv", device="cpu")
    assert [str(one.message) for one in caught] == [f"{data}: columns left out: ''"]


@pytest.mark.parametrize("batch_size", [1, 4, 128])
def test_skipped_rows_are_listed_and_do_not_shift_ids(
    data: Path, exports: Path, work: Path, labels: list[int], batch_size: int
) -> None:
    spoil(data, 2, 9, 10, 31)
    done = score(data, exports, work / "out.csv", device="cpu", on_error="skip", batch_size=batch_size)
    kept = [n for n in range(30) if n + 2 not in (2, 9, 10, 31)]
    assert (work / "out.csv").read_text() == "id,label\n" + "".join(f"{n},{labels[n]}\n" for n in kept)
    rejects = list(csv.reader((work / "out.csv.rejects.csv").open(newline="")))
    message = "expected 2304 integers in 0..255, found 3"
    assert rejects[0] == ["file", "row", "column", "message"]
    assert rejects[1:] == [[str(data), row, "pixels", message] for row in ("2", "9", "10", "31")]
    assert (done.rows, done.rejected, done.rejects) == (26, 4, work / "out.csv.rejects.csv")
    assert names(work) == ["out.csv", "out.csv.rejects.csv"]


def test_without_rejects_there_is_no_list_of_them(data: Path, exports: Path, work: Path) -> None:
    assert score(data, exports, work / "out.csv", device="cpu", on_error="skip").rejects is None
    assert names(work) == ["out.csv"]


def test_rejects_of_an_earlier_run_need_force_and_then_go(data: Path, exports: Path, work: Path) -> None:
    (work / "out.csv.rejects.csv").write_text("old")
    with pytest.raises(OutputError, match=r"out\.csv\.rejects\.csv: exists already; `force=True` replaces it$"):
        score(data, exports, work / "out.csv", device="cpu")
    assert names(work) == ["out.csv.rejects.csv"]
    score(data, exports, work / "out.csv", device="cpu", force=True)
    assert names(work) == ["out.csv"]


def test_rejects_of_an_earlier_run_are_replaced_with_force(data: Path, exports: Path, work: Path) -> None:
    (work / "out.csv.rejects.csv").write_text("old")
    spoil(data, 5)
    score(data, exports, work / "out.csv", device="cpu", on_error="skip", force=True)
    assert (work / "out.csv.rejects.csv").read_text().splitlines()[1].startswith(f"{data},5,pixels,")


def test_an_existing_output_is_kept_without_force_and_replaced_with_it(data: Path, exports: Path, work: Path) -> None:
    (work / "out.csv").write_text("precious")
    with pytest.raises(OutputError, match=r"out\.csv: exists already; `force=True` replaces it$"):
        score(data, exports, work / "out.csv", device="cpu")
    assert (work / "out.csv").read_text() == "precious"
    score(data, exports, work / "out.csv", device="cpu", force=True)
    assert (work / "out.csv").read_text().startswith("id,label\n")


def test_a_failed_run_keeps_what_force_would_have_replaced(data: Path, exports: Path, work: Path) -> None:
    for name in ("out.csv", "out.csv.rejects.csv"):
        (work / name).write_text("precious")
    spoil(data, 20)
    with pytest.raises(DataError, match="row 20"):
        score(data, exports, work / "out.csv", device="cpu", force=True)
    assert [(work / name).read_text() for name in names(work)] == ["precious", "precious"]


def test_the_data_is_never_its_own_output(data: Path, exports: Path) -> None:
    before = data.read_bytes()
    with pytest.raises(OutputError, match=r"faces\.csv: would overwrite the input .*; choose another output$"):
        score(data, exports, data, device="cpu", force=True)
    assert data.read_bytes() == before


def test_an_error_of_the_reader_after_good_batches_leaves_nothing(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, **options: Any) -> Iterator[Faces]:
        for n, faces in enumerate(iter_faces(path, **options)):
            if n == 3:
                raise DataError(str(path), "cannot be read: input/output error")
            yield faces

    monkeypatch.setattr(pipeline, "iter_faces", broken)
    with pytest.raises(DataError, match=r"faces\.csv: cannot be read: input/output error$"):
        score(data, exports, work / "out.csv", device="cpu", batch_size=1, threads=1)
    assert names(work) == []


def test_an_error_of_the_third_batch_leaves_nothing_and_stops_the_reader(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls, read = Scorer._run, [], []
    third = read_faces(data).images[2:3]

    def third_fails(scorer: Scorer, faces: Images, batch_size: int) -> Any:
        calls.append(len(faces))
        if np.array_equal(faces, third):
            raise ModelError("model.onnx: failed on 1 faces: out of memory")
        return run(scorer, faces, batch_size)

    def counted(path: Path, **options: Any) -> Iterator[Faces]:
        for faces in iter_faces(path, **options):
            read.append(faces.rows)
            yield faces

    monkeypatch.setattr(Scorer, "_run", third_fails)
    monkeypatch.setattr(pipeline, "iter_faces", counted)
    monkeypatch.setattr(pipeline, "CPU_BATCHES", 1)
    with pytest.raises(ModelError, match=r"^model\.onnx: failed on 1 faces: out of memory$"):
        score(data, exports, work / "out.csv", device="cpu", batch_size=1, threads=1)
    assert names(work) == []
    # Cleaning up may let the reader deliver one more batch than could wait.
    assert 3 <= len(calls) <= len(read) <= 3 + READ_AHEAD + 3 < len(read_faces(data))


def test_what_onnx_runtime_says_while_running_is_one_line(
    exports: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(exports, "cpu")

    def failing(*_: Any) -> None:
        raise RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Conv node failed\n  at line 3")

    monkeypatch.setattr(scorer.runner._session, "run", failing)
    with pytest.raises(ModelError, match=r"model\.onnx: failed on 30 faces: Conv node failed$"):
        scorer.run(images)[1]


def test_batches_in_memory_are_few_however_long_the_file(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    seen: list[int] = []

    class Counted(Faces):
        __hash__ = object.__hash__

    def counted(path: Path, **options: Any) -> Iterator[Faces]:
        for faces in iter_faces(path, **options):
            batch = Counted(**vars(faces))
            alive.add(batch)
            seen.append(len(alive))
            yield batch
            del batch

    monkeypatch.setattr(pipeline, "iter_faces", counted)
    monkeypatch.setattr(pipeline, "CPU_BATCHES", 1)
    score(data, exports, work / "out.csv", device="cpu", batch_size=1, threads=1)
    assert len(seen) == 30
    assert max(seen) <= 2 * (READ_AHEAD + 3)  # before the model and behind it


def test_a_face_without_finite_logits_is_named_by_its_row(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, face = Scorer._run, read_faces(data).images[11]

    def poisoned(scorer: Scorer, images: Images, batch_size: int) -> Any:
        logits, probabilities = whole(scorer, images, batch_size)
        logits[(images == face).all(axis=(1, 2))] = np.nan
        return logits, probabilities

    monkeypatch.setattr(Scorer, "_run", poisoned)
    monkeypatch.setattr(pipeline, "CPU_BATCHES", 1)
    with pytest.raises(ModelError, match=rf"model\.onnx: the logits of {data}, row 13, are not finite$"):
        score(data, exports, work / "out.csv", batch_size=8, threads=1)  # header, 8 faces, and the fourth of the next
    assert names(work) == []


def test_what_still_runs_after_an_error_is_stopped(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes while the writer waits for the model."""
    closed = []
    monkeypatch.setattr(Scorer, "close", lambda scorer: closed.append(scorer))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fer_infer.scoring.writers.predictions.CsvPredictionWriter.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score(data, exports, work / "out.csv")
    assert len(closed) == 1
    assert names(work) == []


def test_an_output_that_others_make_meanwhile_is_kept_and_no_rejects_are_left(
    data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(data, 5)
    whole = Scorer.run

    def slow(scorer: Scorer, *arguments: Any, **settings: Any) -> Any:
        (work / "out.csv").write_text("theirs")
        return whole(scorer, *arguments, **settings)

    monkeypatch.setattr(Scorer, "run", slow)
    with pytest.raises(OutputError, match=r"out\.csv: exists already; `force=True` replaces it$"):
        score(data, exports, work / "out.csv", on_error="skip")
    assert names(work) == ["out.csv"]
    assert (work / "out.csv").read_text() == "theirs"


def test_a_processor_of_many_cores_gets_a_call_for_each(
    data: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []

    def recorded(data: Any, *, batch_rows: int, **settings: Any) -> Iterator[Faces]:
        rows.append(batch_rows)
        return iter_faces(data, batch_rows=batch_rows, **settings)

    monkeypatch.setattr(pipeline, "iter_faces", recorded)
    for threads, batch_size in ((2, 128), (64, 128), (64, 1)):
        scorer = Scorer(exports, "cpu", threads=threads)
        config = ScoreConfig(batch_size=batch_size)
        assert sum(map(len, pipeline.batches_for(scorer, data, config))) == 30
    assert rows == [512, 4096, 256]


@pytest.mark.parametrize("columns", ["labels", ""])
def test_unknown_columns_are_refused(data: Path, exports: Path, work: Path, columns: str) -> None:
    with pytest.raises(ConfigError, match=rf"^columns: expected one of {', '.join(COLUMNS)}, found '{columns}'$"):
        score(data, exports, work / "out.csv", columns=columns, device="cpu")
    assert names(work) == []


@pytest.mark.parametrize("limit", [1, 4, 9, 30, 31])
@pytest.mark.parametrize("batch_size", [1, 128])
def test_a_limit_scores_the_first_faces_only(
    data: Path, exports: Path, work: Path, labels: list[int], limit: int, batch_size: int
) -> None:
    done = score(data, exports, work / "out.csv", device="cpu", limit=limit, batch_size=batch_size)
    expected = "id,label\n" + "".join(f"{n},{label}\n" for n, label in enumerate(labels[:limit]))
    assert (work / "out.csv").read_text() == expected
    assert done.rows == min(limit, 30)


def test_a_limit_counts_rejected_rows_before_the_last_face_only(data: Path, exports: Path, work: Path) -> None:
    spoil(data, 3, 9, 20)
    done = score(data, exports, work / "out.csv", device="cpu", limit=10, on_error="skip")
    assert (done.rows, done.rejected) == (10, 2)


def test_a_home_folder_is_expanded(data: Path, exports: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(work))
    monkeypatch.chdir(data.parent)
    assert score(data, exports, "~/out.csv", device="cpu").output == work / "out.csv"
    assert score("~/../faces.csv", exports, Path("~/again.csv"), device="cpu").rows == 30
    assert names(work) == ["again.csv", "out.csv"]


def test_a_summary_is_printed_as_the_command_prints_it(data: Path, exports: Path, work: Path) -> None:
    spoil(data, 4)
    first, left_out, predicted, ran = (
        score(data, exports, work / "out.csv", device="cpu", tta="flip", on_error="skip").to_text().splitlines()
    )
    assert re.fullmatch(rf"{work}/out\.csv: 29 rows in \d+\.\d\d s, [\d,.]+ faces/s", first)
    assert left_out == f"{work}/out.csv.rejects.csv: rows left out: 1"
    assert predicted.startswith("predicted: angry ")
    assert ran == "ran on CPUExecutionProvider in fp32 (CPU requested), test-time augmentation flip"


def test_a_misspelled_setting_is_a_type_error(data: Path, exports: Path, work: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colums'"):
        score(data, exports, work / "out.csv", colums="logits")


# Names and packing


@pytest.mark.parametrize("columns", ["id-label", "probabilities"])
@pytest.mark.parametrize("name", ["out.csv.gz", "out.csv.zst", "OUT.CSV.GZ"])
def test_a_packed_output_holds_the_bytes_of_the_plain_one(
    data: Path, exports: Path, work: Path, name: str, columns: str
) -> None:
    for output in ("out.csv", name, f"again-{name}"):
        score(data, exports, work / output, device="cpu", columns=columns)
    with open_stream(work / name) as stream:
        assert stream.read() == (work / "out.csv").read_bytes()
    assert not (work / name).read_bytes().startswith(b"id,")
    assert (work / name).read_bytes() == (work / f"again-{name}").read_bytes()


@pytest.mark.parametrize("name", ["out.json", "out.xlsx", "out.zip", "out.csv.xz", "out", "thesis.tex"])
def test_an_output_of_another_form_is_refused_before_any_work(exports: Path, work: Path, name: str) -> None:
    expected = f"{name}: expected the name of an output to end in .csv, .csv.gz, .csv.zst or .parquet$"
    with pytest.raises(OutputError, match=expected):
        score("absent.csv", exports, work / name, device="cpu")
    assert names(work) == []


@pytest.mark.parametrize("length", [241, 243, 244, 255])
def test_a_name_may_be_as_long_as_the_file_system_allows(data: Path, exports: Path, work: Path, length: int) -> None:
    output = work / f"{'x' * (length - 4)}.csv"
    score(data, exports, output, device="cpu")
    assert names(work) == [output.name]


@pytest.mark.parametrize(("length", "fits"), [(243, True), (244, False), (255, False)])
def test_a_name_too_long_for_its_list_of_rejects_is_refused_before_any_work(
    data: Path, exports: Path, work: Path, length: int, fits: bool
) -> None:
    output = work / f"{'x' * (length - 4)}.csv"
    if fits:
        spoil(data, 5)
        score(data, exports, output, device="cpu", on_error="skip")
        assert names(work) == [output.name, f"{output.name}.rejects.csv"]
        return
    expected = (
        r"expected a name of at most 243 bytes, so that the list of rejected rows can be named OUTPUT\.rejects\.csv$"
    )
    with pytest.raises(OutputError, match=expected):
        score("absent.csv", exports, output, device="cpu", on_error="skip")
    assert names(work) == []


def test_two_scorings_into_one_file_do_not_mix_predictions_and_rejects(data: Path, exports: Path, work: Path) -> None:
    other = data.with_name("other.csv")
    other.write_bytes(data.read_bytes())
    spoil(data, 5)
    spoil(other, 7, 8)
    outcomes: dict[Path, Exception | None] = {}
    begin = threading.Barrier(2)

    def run(faces: Path) -> None:
        begin.wait()
        try:
            score(faces, exports, work / "out.csv", device="cpu", on_error="skip", force=True)
            outcomes[faces] = None
        except OutputError as error:
            outcomes[faces] = error

    for _ in range(5):
        threads = [threading.Thread(target=run, args=(faces,)) for faces in (data, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in outcomes.values():
            assert error is None or "out.csv: is being written by another run" in str(error)
        rows = len((work / "out.csv").read_text().splitlines()) - 1
        sources = [row["file"] for row in csv.DictReader((work / "out.csv.rejects.csv").open(newline=""))]
        assert (rows, sources) in [(29, [str(data)]), (28, [str(other)] * 2)]
        assert names(work) == ["out.csv", "out.csv.rejects.csv"]
