"""Many files on a Ray cluster: the parts are what the local engine writes, and a run goes on where one ended."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import pickle
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, ConfigError, DataError, DataWarning, DeviceError, FerError, ModelError, OutputError
from fer_core.outputs.claims import claimed
from fer_infer import score
from fer_infer.cli import main

ray = pytest.importorskip("ray")
from fer_infer.cluster import engine, ray_cluster, storage  # noqa: E402
from fer_infer.cluster.engine import RaySummary, score_files  # noqa: E402
from fer_infer.cluster.manifest import Part  # noqa: E402
from fer_infer.cluster.worker import FileScorer, Work  # noqa: E402
from fer_infer.config import ScoreConfig  # noqa: E402

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two CPUs of this machine, for the module."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.delenv("RAY_ADDRESS", raising=False)
        ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.fixture
def inputs(images: Images, csv_of: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four files in the working folder's `in`, of 12, 9, 9 and no faces, in three forms, with and without ids."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text(csv_of(images[:12], emotion=[n % 7 for n in range(12)]))
    (folder / "b.csv.gz").write_bytes(
        gzip.compress(csv_of(images[12:21], "feature", id=[f"ü {n}" for n in range(9)]).encode())
    )
    pq.write_table(pa.table({"pixels": [image.tobytes() for image in images[21:]]}), folder / "c.parquet")
    (folder / "d.csv").write_text("pixels\n")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def local_rows(inputs: Path, exports: Path, folder: Path, columns: str) -> list[list[list[str]]]:
    """What the local engine writes of each file, each row after its source."""
    tables = []
    for n, path in enumerate(sorted(inputs.iterdir())):
        score(path, exports, folder / f"{n}.csv", columns=columns, device="cpu", threads=1)
        header, *rows = rows_of(folder / f"{n}.csv")
        tables.append([["source", *header], *([f"in/{path.name}", *row] for row in rows)])
    return tables


def never(*_: object) -> None:
    raise AssertionError("a cluster was asked for")


def test_the_parts_are_what_the_local_engine_writes_and_stay_when_run_again(
    cluster: None, inputs: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "local").mkdir()
    expected = local_rows(inputs, exports, tmp_path / "local", "probabilities")
    done = score_files(["in"], exports, "out", columns="probabilities")
    out = tmp_path / "out"
    assert names(out) == ["manifest.json", *(f"part-0000{n}.csv" for n in range(4))]
    assert [rows_of(out / f"part-0000{n}.csv") for n in range(4)] == expected
    assert (done.files, done.reused, done.rows, done.rows_now, done.rejected) == (4, 0, 30, 30, 0)
    assert done.providers == {"CPUExecutionProvider": "the Ray cluster has no GPU"}
    labels = [row[2] for table in expected for row in table[1:]]
    assert done.label_counts == {name: labels.count(str(n)) for n, name in enumerate(EXPRESSIONS)}

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert [file["source"] for file in manifest["inputs"]] == [f"in/{name}" for name in names(inputs)]
    assert manifest["settings"]["model"]["weights_sha256"] == "0" * 64
    for n, rows in enumerate((12, 9, 9, 0)):
        part = manifest["parts"][str(n)]
        assert part["sha256"] == hashlib.sha256((out / part["name"]).read_bytes()).hexdigest()
        assert (part["rows"], part["input"]) == (rows, manifest["inputs"][n])

    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr(engine, "open_cluster", never)
    again = score_files(["in"], exports, "out", columns="probabilities", device="cpu", threads=2, batch_size=5)
    assert (again.reused, again.rows, again.rows_now, again.label_counts) == (4, 30, 0, done.label_counts)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(OutputError, match=r"was made with columns 'probabilities', not 'logits'; `force=True`"):
        score_files(["in"], exports, "out", columns="logits")
    with pytest.raises(OutputError, match=r"was made with tta 'none', not 'flip'; `force=True` discards it$"):
        score_files(["in"], exports, "out", columns="probabilities", tta="flip")
    with pytest.raises(OutputError, match=r"was made with split None, not 'Training'; `force=True` discards it$"):
        score_files(["in"], exports, "out", columns="probabilities", split="train")


def test_an_output_below_what_is_scored_is_no_input_of_the_next_run(cluster: None, inputs: Path, exports: Path) -> None:
    assert score_files(["in"], exports, "in/out").files == 4
    again = score_files(["in"], exports, "in/out")
    assert (again.files, again.reused) == (4, 4)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_folder_that_another_run_fills_is_refused(
    inputs: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(engine, "open_cluster", never)
    with (
        claimed(tmp_path / "out"),
        pytest.raises(OutputError, match=r"out: is being written by another run \(process \d+ on "),
    ):
        score_files(["in"], exports, f"{scheme}{tmp_path}/out", force=True)
    assert names(tmp_path) == ["in"]


@pytest.mark.parametrize("data", ["in", "in/a.csv", "./in/*.csv"])
def test_an_output_that_holds_what_is_scored_is_refused(inputs: Path, exports: Path, data: str) -> None:
    with pytest.raises(OutputError, match=r"^in: would overwrite the input .*; choose another output$"):
        score_files([data], exports, "in", force=True)
    assert names(inputs) == ["a.csv", "b.csv.gz", "c.parquet", "d.csv"]


def test_a_wrong_row_ends_the_run_and_once_mended_it_goes_on(
    cluster: None, inputs: Path, exports: Path, tmp_path: Path
) -> None:
    whole = (inputs / "a.csv").read_text()
    (inputs / "a.csv").write_text(whole + "3,1 2 3\n")
    command = [
        "score",
        "in/d.csv",
        "in/a.csv",
        "--model",
        str(exports),
        "--output",
        "out",
        "--engine",
        "ray",
        "--workers",
        "1",
    ]
    failed = CliRunner().invoke(main, command)
    assert failed.exit_code == 1, failed.output
    assert failed.stderr == "fer-infer: in/a.csv row 14, column 'pixels': expected 2304 integers in 0..255, found 3\n"
    assert names(tmp_path / "out") == ["manifest.json", "part-00000.csv"]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["complete"] is False

    (inputs / "a.csv").write_text(whole)
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    first, second, predicted, provider = done.stdout.splitlines()
    assert first.startswith("out: 12 rows from 2 files in ")
    assert second == "out: parts reused from an earlier run: 1"
    assert predicted.startswith("predicted: angry ")
    assert provider == "ran on CPUExecutionProvider in fp32 (the Ray cluster has no GPU)"
    assert len(rows_of(tmp_path / "out" / "part-00001.csv")) == 13


def work_of(exports: Path, **changes: Any) -> Work:
    files = {name: (exports / name).read_bytes() for name in ("model.onnx", "card.json")}
    settings: dict[str, Any] = {
        "model": str(exports / "model.onnx"),
        "model_files": files,
        "output": "memory://out",
        "suffix": ".csv",
    }
    chosen = {name: value for name, value in changes.items() if name not in ("output", "suffix")}
    config = ScoreConfig(**{"device": "cpu", "threads": 1, "batch_size": 4} | chosen)
    return Work(**settings | {name: value for name, value in changes.items() if name not in chosen}, config=config)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Score one file as a worker does, in this process; outputs are in memory, and `memory://` holds inputs too."""
    monkeypatch.setattr("ray.get", lambda reference: reference)
    system = fsspec.filesystem("memory")
    system.store.clear()

    def call(work: Work, address: str, answers: list[Any] | None = None) -> Any:
        (file,) = storage.list_inputs([address])
        address_there = np.array([storage.absolute(file.source)])
        batch = {"position": np.array([7]), "address": address_there, "file": np.array([vars(file)], object)}
        answer = FileScorer(work)(batch)
        assert answer["position"] == [7]
        if answers is not None:
            answers.append(answer)
        return pickle.loads(answer["outcome"][0])  # noqa: S301 - made in this process

    yield call
    system.store.clear()


def test_a_worker_reads_a_remote_file_and_names_it_as_its_user_did(
    call: Callable[..., Any], inputs: Path, exports: Path
) -> None:
    fsspec.filesystem("memory").pipe("/in/a.csv", (inputs / "a.csv").read_bytes() + b"3,1 2 3\n")
    failure = call(work_of(exports), "memory://in/a.csv")
    assert isinstance(failure, DataError)
    assert str(failure) == "memory://in/a.csv row 14, column 'pixels': expected 2304 integers in 0..255, found 3"
    assert storage.names_in("memory://out") == []

    part = call(work_of(exports, on_error="skip"), "memory://in/a.csv")
    assert (part.rows, part.rejected) == (12, 1)
    assert storage.names_in("memory://out") == ["part-00007.csv", "rejects-00007.csv"]
    assert storage.sha256("memory://out/part-00007.csv") == part.sha256
    assert storage.sha256("memory://out/rejects-00007.csv") == part.rejects_sha256
    assert storage.read("memory://out/part-00007.csv").startswith(b"source,id,label\nmemory://in/a.csv,0,")
    assert storage.read("memory://out/rejects-00007.csv").splitlines()[1] == (
        b'memory://in/a.csv,14,pixels,"expected 2304 integers in 0..255, found 3"'
    )


def test_a_worker_augments_as_the_local_engine_does(
    call: Callable[..., Any], inputs: Path, exports: Path, tmp_path: Path
) -> None:
    work = work_of(exports, output=str(tmp_path / "out"), columns="probabilities", tta="flip-shift")
    part = call(work, "in/b.csv.gz")
    score(inputs / "b.csv.gz", exports, tmp_path / "local.csv", columns="probabilities", device="cpu", tta="flip-shift")
    found = [row[1:] for row in rows_of(tmp_path / "out" / part.name)]
    expected = rows_of(tmp_path / "local.csv")
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    values = ([[float(cell) for cell in row[2:]] for row in rows[1:]] for rows in (found, expected))
    np.testing.assert_allclose(*values, atol=1e-6)


def test_a_worker_writes_parquet(call: Callable[..., Any], inputs: Path, exports: Path, tmp_path: Path) -> None:
    part = call(work_of(exports, output=str(tmp_path / "out"), suffix=".parquet", columns="logits"), "in/b.csv.gz")
    assert (part.name, part.rows) == ("part-00007.parquet", 9)
    table = pq.read_table(tmp_path / "out" / part.name)
    assert table.column_names == ["source", "id", "label", *EXPRESSIONS]
    assert table["source"].to_pylist() == ["in/b.csv.gz"] * 9
    assert table["id"].to_pylist() == [f"ü {n}" for n in range(9)]


def test_a_model_that_fails_in_a_worker_goes_by_the_name_its_user_gave(
    call: Callable[..., Any], inputs: Path, model_class: Any, tmp_path: Path
) -> None:
    folder = model_class(poison=True).save(tmp_path / "poisoned")
    failure = call(work_of(folder), "in/a.csv")
    assert isinstance(failure, ModelError)
    assert str(failure) == f"{folder / 'model.onnx'}: the logits of in/a.csv, row 2, are not finite"


def test_what_a_worker_cannot_write_is_one_line(
    call: Callable[..., Any], inputs: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inputs.parent / "file").write_text("in the way")
    failure = call(work_of(exports, output=str(inputs.parent / "file")), "in/a.csv")
    assert isinstance(failure, OutputError)
    assert re.fullmatch(r".*/file/part-00007\.csv: cannot be written: [^\n]+", str(failure))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fer_infer.cluster.worker.prediction_writer", full)
    failure = call(work_of(exports), "in/a.csv")
    assert type(failure) is FerError
    assert str(failure) == "in/a.csv: cannot be scored: No space left on device"


def test_columns_left_out_are_named_by_the_users_name_of_the_file(
    call: Callable[..., Any], images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir(exist_ok=True)
    fsspec.filesystem("memory").pipe("/in/a.csv", csv_of(images[:3], note=["x"] * 3).encode())
    answers: list[dict[str, Any]] = []
    assert call(work_of(exports), "memory://in/a.csv", answers).rows == 3
    assert answers[0]["notes"] == ["memory://in/a.csv: columns left out: 'note'"]


def test_the_cluster_names_columns_left_out_as_the_local_engine_does(
    cluster: None, images: Images, csv_of: Callable[..., str], exports: Path, tmp_path: Path
) -> None:
    data = tmp_path / "a.csv"
    data.write_text(csv_of(images[:3], note=["x"] * 3))
    with pytest.warns(DataWarning) as caught:
        score_files([str(data)], exports, str(tmp_path / "out"))
    assert [str(one.message) for one in caught] == [f"{data}: columns left out: 'note'"]


def test_a_limit_is_refused_on_a_cluster(inputs: Path, exports: Path) -> None:
    with pytest.raises(ConfigError, match=r"^limit: expected no limit for files on a cluster$"):
        score_files(["in"], exports, "out", limit=3)


def nodes(*resources: dict[str, float]) -> Callable[[], list[dict[str, Any]]]:
    return lambda: (
        [{"Alive": True, "Resources": each} for each in resources] + [{"Alive": False, "Resources": {"CPU": 99}}]
    )


@pytest.mark.parametrize(
    ("device", "threads", "machines", "expected"),
    [
        ("auto", 1, [{"CPU": 2}], (2, False)),
        ("auto", 4, [{"CPU": 6}, {"CPU": 3}, {"CPU": 8}], (3, False)),
        ("auto", 1, [{"CPU": 16, "GPU": 4}, {"CPU": 2, "GPU": 8}, {"CPU": 64}], (6, True)),
        ("cuda", 2, [{"CPU": 16, "GPU": 1}], (1, True)),
        ("cpu", 1, [{"CPU": 16, "GPU": 4}], (16, False)),
    ],
)
def test_workers_get_a_gpu_each_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, device: str, threads: int, machines: list[Any], expected: tuple[int, bool]
) -> None:
    monkeypatch.setattr(ray, "nodes", nodes(*machines))
    assert ray_cluster.find_room(device, threads) == expected


def test_a_cluster_without_room_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", nodes({"CPU": 2}))
    with pytest.raises(
        DeviceError, match=r"^CUDA was requested but is not available: no machine of the Ray cluster has a"
    ):
        ray_cluster.find_room("cuda", 1)
    with pytest.raises(ConfigError, match=r"^threads: expected at most the number of CPUs of a machine .*, found 3$"):
        ray_cluster.find_room("auto", 3)


def test_a_part_on_a_disk_of_its_worker_is_one_line(
    inputs: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Part(
        rows=0,
        rejected=0,
        label_counts={},
        input=storage.list_inputs(["in/d.csv"])[0],
        name="part-00000.csv",
        sha256="0",
        rejects_name=None,
        rejects_sha256=None,
        provider="",
        provider_note="",
    )

    def elsewhere(*_: object) -> Iterator[tuple[int, Part]]:
        yield 0, part

    monkeypatch.setattr(engine, "open_cluster", lambda _: nullcontext())
    monkeypatch.setattr(engine, "find_room", lambda *_: (1, False))
    monkeypatch.setattr(engine, "_parts", elsewhere)
    expected = r"/out/part-00000\.csv: was written by a worker and is not on this machine; expected a folder that all "
    with pytest.raises(OutputError, match=expected):
        score_files(["in/d.csv"], exports, "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["parts"] == {}


def test_more_workers_than_there_is_room_for_are_refused(
    cluster: None, inputs: Path, exports: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"^workers: expected 1 to 2, the number that the cluster has room for, found 3$"
    ):
        score_files(["in"], exports, "out", workers=3)


def test_predictions_stay_until_there_is_something_to_make_new_ones_with(
    cluster: None, inputs: Path, exports: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    for name in ("manifest.json", "part-00000.csv"):
        (tmp_path / "out" / name).write_text("of an earlier run")
    with pytest.raises(ConfigError, match=r"^workers: expected 1 to 2"):
        score_files(["in"], exports, "out", workers=3, force=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "part-00000.csv"]


def test_an_unreachable_cluster_is_one_line(inputs: Path, exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:  # bound and not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", never)
        with pytest.raises(DeviceError, match=rf"^ray: no cluster is available at {address}: .*Connection refused$"):
            score_files(["in"], exports, "out", ray_address=address)

    def broken(**_: object) -> None:
        raise RuntimeError("the raylet died\nlike this")

    monkeypatch.setattr(ray, "init", broken)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(DeviceError, match=r"^ray: no cluster is available on this machine: the raylet died$"):
        score_files(["in"], exports, "out")


def test_what_is_wrong_is_told_before_a_cluster_is_asked_for(
    inputs: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "open_cluster", never)
    with pytest.raises(DataError, match=r"^absent: cannot be listed: No such file or directory$"):
        score_files(["absent"], exports, "out")
    with pytest.raises(ModelError, match=r"^absent: expected an exports folder or an ONNX file, found none$"):
        score_files(["in"], "absent", "out")
    with pytest.raises(ConfigError, match=r"^columns: expected one of id-label, probabilities, logits, found 'all'$"):
        score_files(["in"], exports, "out", columns="all")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.csv").touch()
    with pytest.raises(OutputError, match=r"/other: expected a folder with only predictions, found 'a\.csv' in it$"):
        score_files(["in"], exports, "other", force=True)
    assert not (tmp_path / "out").exists()


def test_the_command_passes_its_options_on_and_tells_what_was_done(
    inputs: Path, exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def stub(data: Any, **settings: Any) -> RaySummary:
        asked.update(settings, data=data)
        return RaySummary(
            rows=30,
            rejected=4,
            label_counts={"happy": 30},
            output="out",
            files=3,
            reused=2,
            rows_now=10,
            precision="fp16",
            providers={"CUDAExecutionProvider": ""},
            tta="none",
            elapsed_s=2.0,
        )

    monkeypatch.setattr(engine, "score_files", stub)
    options = ["--columns", "logits", "--workers", "4", "--threads", "2", "--ray-address", "auto", "--on-error", "skip"]
    done = CliRunner().invoke(
        main, ["score", "a", "b", "--model", "m", "--output", "s3://b/out", "--engine", "ray", *options]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "out: 30 rows from 3 files in 2.00 s, 5.0 faces/s",
        "out: parts reused from an earlier run: 2",
        "out: rows left out: 4, listed in rejects-*.csv",
        "predicted: happy 30",
        "ran on CUDAExecutionProvider in fp16",
    ]
    assert asked["data"] == ("a", "b")
    chosen = {name: asked[name] for name in ("output", "columns", "workers", "threads", "ray_address", "on_error")}
    assert chosen == {
        "output": "s3://b/out",
        "columns": "logits",
        "workers": 4,
        "threads": 2,
        "ray_address": "auto",
        "on_error": "skip",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv", "b.csv"], "expected one DATA, found 2; --engine ray and photos (--faces detect) may be several"),
        (["a.csv", "--workers", "2"], "--workers and --ray-address require --engine ray"),
        (["a.csv", "--ray-address", "auto"], "--workers and --ray-address require --engine ray"),
    ],
)
def test_the_options_of_one_engine_are_wrong_usage_for_the_other(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["score", *arguments, "--model", "m", "--output", "o"])
    assert done.exit_code == 2
    assert message in done.stderr


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "fer_infer.cluster.engine")
    monkeypatch.delattr("fer_infer.cluster.engine")
    done = CliRunner().invoke(main, ["score", "a.csv", "--model", "m", "--output", "o", "--engine", "ray"])
    assert done.exit_code == 1
    assert done.stderr.startswith("fer-infer: ray is not installed; pip install 'fer-toolkit[ray]', or ")
