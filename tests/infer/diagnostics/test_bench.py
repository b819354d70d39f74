"""The benchmark's figures are consistent and say what they were measured on; how fast it is, no test says."""

from __future__ import annotations

import errno
import gzip
import io
import json
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from fer_core import ConfigError, DataError, OutputError
from fer_infer import Scorer
from fer_infer import scorer as session
from fer_infer.cli import main
from fer_infer.diagnostics.bench import SWEEP, Benchmark, bench
from fer_infer.diagnostics.stopwatch import Stopwatch, Timing
from fer_infer.runtime.cuda import CudaOptions
from fer_infer.runtime.runners import LaneRunner

Images = NDArray[np.uint8]


@pytest.fixture
def data(images: Images, csv_of: Callable[..., str], tmp_path: Path) -> Path:
    """Thirty faces."""
    path = tmp_path / "faces.csv"
    path.write_text(csv_of(images, emotion=[n % 7 for n in range(30)]))
    return path


@pytest.fixture
def measured(data: Path, exports: Path) -> Benchmark:
    return bench(data, exports, rows=20, device="cpu", batch_size=6, threads=1, repeats=3)


def of(benchmark: Benchmark, part: str) -> list[Timing]:
    return [timing for timing in benchmark.timings if timing.part == part]


def test_every_part_is_timed_once_and_the_model_at_every_batch_size(measured: Benchmark) -> None:
    assert [timing.part for timing in measured.timings] == ["decode", "load", *["run"] * 3, "write", "together"]
    assert [timing.batch_size for timing in of(measured, "run")] == [1, 6, 8], "32 and more are more than there are"
    assert all(timing.batch_size == 6 for timing in measured.timings if timing.part != "run")


def test_the_figures_follow_from_the_seconds(measured: Benchmark) -> None:
    for timing in measured.timings:
        assert len(timing.repeats_s) == 3
        assert min(timing.first_s, *timing.repeats_s) > 0
        assert timing.median_s == statistics.median(timing.repeats_s)
        assert timing.rows_per_s == pytest.approx(timing.rows / timing.median_s)
        assert timing.megabytes_per_s == pytest.approx(timing.size_bytes / timing.median_s / 1e6)


def test_what_passed_through_is_counted_in_bytes(measured: Benchmark, data: Path, exports: Path) -> None:
    text = len(b"".join(data.read_bytes().splitlines(keepends=True)[:21]))
    sizes = {timing.part: timing.size_bytes for timing in measured.timings}
    assert sizes["decode"] == sizes["together"] == text
    assert sizes["load"] == (exports / "model.onnx").stat().st_size
    assert sizes["run"] == 20 * 48 * 48
    assert sizes["write"] == len("id,label\n") + sum(len(f"{n},0\n") for n in range(20))
    assert {timing.rows for timing in measured.timings if timing.part != "load"} == {20}
    assert of(measured, "load")[0].rows == 0


def test_what_was_measured_is_said(measured: Benchmark, data: Path, exports: Path) -> None:
    card = Scorer(exports, "cpu").card
    assert (measured.data, measured.model) == (str(data), str(exports / "model.onnx"))
    assert (measured.weights_sha256, measured.precision) == (card.weights_sha256, "fp32")
    assert (measured.provider, measured.provider_note) == ("CPUExecutionProvider", "CPU requested")
    assert (measured.rows, measured.batch_size, measured.repeats, measured.threads) == (20, 6, 3, 1)
    wheel = {"onnxruntime", "onnxruntime-gpu"} & set(measured.machine)
    assert set(measured.machine) - wheel == {"processor", "system", "python", "numpy", "fer-toolkit"}
    assert len(wheel) == 1


def test_a_file_with_fewer_rows_is_taken_whole(data: Path, exports: Path) -> None:
    assert bench(data, exports, rows=1000, device="cpu", repeats=1).rows == 30


def test_a_compressed_file_is_unpacked_before_it_is_timed(data: Path, exports: Path, tmp_path: Path) -> None:
    packed = tmp_path / "faces.csv.gz"
    packed.write_bytes(gzip.compress(data.read_bytes()))
    timings = bench(packed, exports, rows=1000, device="cpu", repeats=1).timings
    assert timings[0].size_bytes == data.stat().st_size


def test_copying_is_timed_where_faces_are_copied(data: Path, exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "runner_of", lambda made, options, threads: LaneRunner(made, "cpu", CudaOptions()))
    measured = bench(data, exports, rows=20, device="cpu", batch_size=6, repeats=2)
    [copy] = of(measured, "copy")
    assert (copy.rows, copy.size_bytes, len(copy.repeats_s)) == (20, 20 * 48 * 48, 2)


def test_the_json_holds_everything(data: Path, exports: Path, tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    measured = bench(data, exports, rows=20, device="cpu", repeats=2, output=output)
    table = json.loads(output.read_text())
    assert output.read_text() == measured.to_json()
    assert table["rows"] == 20
    for found, timing in zip(table["timings"], measured.timings, strict=True):
        assert found["repeats_s"] == list(timing.repeats_s)
        assert found["median_s"] == timing.median_s
        assert found["rows_per_s"] == timing.rows_per_s


def test_an_existing_output_is_refused_before_anything_is_timed(data: Path, exports: Path, tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    output.write_text("precious")
    with pytest.raises(OutputError, match=r"bench\.json: exists already; `force=True` replaces it$"):
        bench(data, tmp_path / "no model", output=output)
    assert output.read_text() == "precious"
    bench(data, exports, rows=20, device="cpu", repeats=1, output=output, force=True)
    assert json.loads(output.read_text())["repeats"] == 1


def test_a_wrong_row_is_named_in_the_file_that_was_given_and_leaves_nothing(
    data: Path, exports: Path, tmp_path: Path
) -> None:
    lines = data.read_text().splitlines()
    lines[4] = "0,1 2 3"
    data.write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"/faces\.csv row 5, column 'pixels': expected 2304 integers") as caught:
        bench(data, exports, device="cpu", output=tmp_path / "bench.json")
    assert str(caught.value).startswith(str(data))
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pixels\n", "has no row to time"),
        (b"", "has no row to time"),
        (b"PAR1\n\x00\x01", "expected a CSV to time, found Parquet"),
        (b"pixels" * 100_000, "row 1: expected at most 131072 bytes, found more"),
    ],
)
def test_data_that_cannot_be_timed_is_refused(exports: Path, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "faces"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"/faces:? {message}$"):
        bench(path, exports, device="cpu")


def test_a_full_disk_is_not_blamed_on_the_data(data: Path, exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, line: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *_: Full())
    with pytest.raises(OutputError, match=r"temporary files cannot be written: No space left on device; TMPDIR"):
        bench(data, exports, device="cpu")


@pytest.mark.parametrize("setting", ["rows", "repeats", "batch_size"])
def test_a_setting_below_one_is_refused(data: Path, exports: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting}: expected at least 1, found 0$"):
        bench(data, exports, **{setting: 0})


def test_a_stopwatch_calls_once_and_then_repeats() -> None:
    told: list[tuple[int, str]] = []
    calls: list[None] = []
    watch = Stopwatch(5, 2, repeats=3, advance=lambda n, note="": told.append((n, note)))

    def call() -> int:
        calls.append(None)
        return len(calls)

    assert watch.time("work", call, lambda last: 100 * last) == 4
    [timing] = watch.timings
    assert (timing.part, timing.rows, timing.batch_size, timing.size_bytes) == ("work", 5, 2, 400)
    assert len(timing.repeats_s) == 3
    assert told == [(1, "work")] * 4


def test_the_program_prints_a_table_and_writes_the_json(data: Path, exports: Path, tmp_path: Path) -> None:
    arguments: list[Any] = ["bench", data, "--model", exports, "--device", "cpu", "--limit", 20, "--repeats", 2]
    output = tmp_path / "bench.json"
    done = CliRunner().invoke(main, [str(argument) for argument in [*arguments, "--json", output]])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    for part in ("decode", "load", "copy", "run", "write", "together"):
        assert any(part in line.split() for line in lines), part
    assert any("copy" in line and line.count("n/a") == 6 for line in lines), "nothing is copied on a CPU"
    assert lines[-2:] == [
        "ran on CPUExecutionProvider in fp32 (CPU requested)",
        f"{output}: all timings",
    ]
    assert json.loads(output.read_text())["rows"] == 20


def test_the_help_names_the_batch_sizes_that_are_measured() -> None:
    help_text = click.Context(main.commands["bench"]).get_help()
    assert all(str(size) in help_text for size in SWEEP)


def test_the_name_of_a_model_is_no_markup(data: Path, exports: Path, tmp_path: Path) -> None:
    model = tmp_path / "models[v1][/b]"
    shutil.copytree(exports, model)
    done = CliRunner().invoke(main, ["bench", str(data), "--model", str(model), "--repeats", "1"])
    assert done.exit_code == 0, done.output
    assert str(model) in "".join(done.stdout.split())
