"""Benchmark scoring, stage by stage and end to end, with the production code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fer_core import DataError, DataWarning, Faces, iter_faces
from fer_core.io.compression import open_stream
from fer_core.io.csv.lines import MAX_LINE_BYTES
from fer_core.io.file_types import PARQUET_MAGIC
from fer_core.outputs.staging import scratch_folder, staged
from fer_core.terminal.progress import progress
from fer_infer.config import BenchmarkConfig
from fer_infer.diagnostics.machine import describe_machine
from fer_infer.diagnostics.stopwatch import Stopwatch, Timing
from fer_infer.runtime.runners import LaneRunner, Scores
from fer_infer.scorer import Scorer
from fer_infer.scoring.pipeline import ROLES_READ, score
from fer_infer.scoring.writers.predictions import prediction_writer

if TYPE_CHECKING:
    from rich.table import Table

SWEEP: Final = (1, 8, 32, 128, 512)
"""Batch sizes that are measured in addition to the requested one."""

PACKAGES: Final = ("fer-toolkit", "onnxruntime", "onnxruntime-gpu", "numpy")
"""Packages whose versions are recorded."""


@dataclass(frozen=True)
class Benchmark:
    """Result of `bench`.

    Attributes
    ----------
    data, model : str
        File of the rows, and graph that was run.
    weights_sha256, precision, provider, provider_note : str
        Attributes of the model and its session.
    rows, batch_size, repeats : int
        Number of faces, batch size except in the sweep, and timed repetitions after a first call.
    threads : int or None
        Number of CPU threads; None means one per physical core.
    machine : dict of str to str
        Processor, cores of this process, system, and the versions of what was measured.
    timings : tuple of Timing
        Timings in the order of the stages; `run` once per batch size. There is no `copy` on a CPU.
    """

    data: str
    model: str
    weights_sha256: str
    precision: str
    provider: str
    provider_note: str
    rows: int
    batch_size: int
    repeats: int
    threads: int | None
    machine: dict[str, str]
    timings: tuple[Timing, ...]

    def to_json(self) -> str:
        """Return the result as JSON, with the derived figures of each timing."""
        table = asdict(self)
        table["timings"] = [
            asdict(timing) | {name: getattr(timing, name) for name in ("median_s", "rows_per_s", "megabytes_per_s")}
            for timing in self.timings
        ]
        return json.dumps(table, indent=2) + "\n"

    def to_table(self) -> Table:
        """Return the timings as a table for `rich`."""
        from rich.table import Table
        from rich.text import Text

        threads = (
            "default threads" if self.threads is None else f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        )
        conditions = f"{self.rows:,} rows, {self.precision}, {self.provider}, {threads}, median of {self.repeats}"
        table = Table(title=Text(f"{self.model}: {conditions}"), caption=", ".join(self.machine.values()))
        table.add_column("stage")
        for name in ("batch", "first s", "median s", "spread s", "rows/s", "MB/s"):
            table.add_column(name, justify="right", no_wrap=True)
        for timing in self.timings:
            table.add_row(
                timing.part,
                str(timing.batch_size) if timing.rows else "n/a",
                f"{timing.first_s:.4f}",
                f"{timing.median_s:.4f}",
                f"{min(timing.repeats_s):.4f} to {max(timing.repeats_s):.4f}",
                f"{timing.rows_per_s:,.0f}" if timing.rows else "n/a",
                f"{timing.megabytes_per_s:,.1f}",
            )
            if timing.part == "load" and not any(other.part == "copy" for other in self.timings):
                table.add_row("copy", *["n/a"] * 6)
        return table


def bench(
    data: str | Path,
    model: str | Path,
    *,
    output: str | Path | None = None,
    force: bool = False,
    **settings: Any,
) -> Benchmark:
    """Benchmark scoring, stage by stage and end to end.

    Parameters
    ----------
    data : str or Path
        CSV, plain or compressed. Its first rows are decompressed into a temporary file, which is then scored.
    model : str or Path
        Exports folder or ONNX file.
    output : str or Path, optional
        JSON file for all timings; it appears complete or not at all.
    force : bool
        Replace an existing output.
    **settings
        Settings of `fer_infer.config.BenchmarkConfig`. The rows are kept in memory, 2,304 bytes per face. The model is
        also run at those batch sizes in `SWEEP` for which there are enough faces.

    Raises
    ------
    DataError
        If `data` is not a CSV, has no row, or one of the rows cannot be read.
    ModelError, CardError, DeviceError, OutputError, ConfigError
        Errors of `fer_infer.score`.
    """
    config = BenchmarkConfig(**settings)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DataWarning)  # it would name the temporary file
        target = None if output is None else staged(output, force=force, endings=(".json",), inputs=(data, model))
        stage = None if target is None else stack.enter_context(target)
        done = _measure(data, model, config, stack)
        if stage is not None:
            stage.write_text(done.to_json(), encoding="utf-8")
    return done


def _measure(data: str | Path, model: str | Path, config: BenchmarkConfig, stack: ExitStack) -> Benchmark:
    runtime: dict[str, Any] = {"device": config.device, "precision": config.precision, "threads": config.threads}
    folder = stack.enter_context(scratch_folder())
    sample = folder / "faces.csv"
    rows = _copy_rows(data, sample, config.rows)
    advance = stack.enter_context(progress("bench", None, "calls"))
    watch = Stopwatch(rows, config.batch_size, config.repeats, advance)
    batches = watch.time("decode", lambda: _decode(data, sample, config.batch_size), lambda _: _size(sample))
    scorer = watch.time("load", lambda: Scorer(model, **runtime), lambda scorer: _size(scorer.path), rows=0)
    _time_scoring(watch, scorer, batches, folder / "predictions.csv", config.batch_size)
    whole = partial(score, sample, model, folder / "together.csv", batch_size=config.batch_size, force=True, **runtime)
    watch.time("together", whole, lambda _: _size(sample))
    return Benchmark(
        data=str(data),
        model=str(scorer.path),
        weights_sha256=scorer.card.weights_sha256,
        precision=scorer.card.precision,
        provider=scorer.provider,
        provider_note=scorer.provider_note,
        rows=rows,
        batch_size=config.batch_size,
        repeats=config.repeats,
        threads=config.threads,
        machine=describe_machine(PACKAGES),
        timings=tuple(watch.timings),
    )


def _time_scoring(watch: Stopwatch, scorer: Scorer, batches: list[Faces], output: Path, batch_size: int) -> None:
    """Time copying, running and writing."""
    images = np.concatenate([faces.images for faces in batches])
    runner = scorer.runner
    if isinstance(runner, LaneRunner):
        watch.time("copy", lambda: runner.copy(images, batch_size), lambda _: images.nbytes)
    for size in sorted({batch_size, *(size for size in SWEEP if size <= len(images))}):
        watch.time("run", partial(scorer.run, images, batch_size=size), lambda _: images.nbytes, batch_size=size)
    logits, probabilities = scorer.run(images, batch_size=batch_size)
    write = partial(_write, batches, scorer.card.labels, logits, probabilities, output)
    watch.time("write", write, lambda _: _size(output))


def _size(path: Path) -> int:
    return path.stat().st_size


def _copy_rows(data: str | Path, sample: Path, rows: int) -> int:
    """Decompress the header and the first rows of a CSV into a file; return the number of rows."""
    n = -1
    with closing(_first_lines(data, rows + 1)) as lines, sample.open("wb") as file:
        for n, line in enumerate(lines):  # noqa: B007 - the last one counts
            file.write(line)
    if n < 1:
        raise DataError(str(data), "has no row to time")
    return n


def _first_lines(data: str | Path, n: int) -> Generator[bytes, None, None]:
    # A generator, so that errors of the disk that is written to do not pass through the reader.
    with open_stream(data) as stream:
        for row in range(1, n + 1):
            line = stream.readline(MAX_LINE_BYTES)
            if line.startswith(PARQUET_MAGIC):
                raise DataError(str(data), "expected a CSV to time, found Parquet")
            if len(line) == MAX_LINE_BYTES:
                raise DataError(str(data), f"expected at most {MAX_LINE_BYTES} bytes, found more", row=row)
            if not line:
                return
            yield line


def _decode(data: str | Path, sample: Path, batch_size: int) -> list[Faces]:
    try:
        return list(iter_faces(sample, batch_rows=batch_size, roles=ROLES_READ))
    except DataError as error:  # the same row, but in a file that the user does not know
        raise DataError(str(data), error.message, row=error.row, column=error.column) from None


def _write(batches: list[Faces], labels: Sequence[str], logits: Scores, probabilities: Scores, output: Path) -> None:
    start = 0
    with prediction_writer(output)(output, "id-label", labels) as writer:
        for faces in batches:
            batch = slice(start, start + len(faces))
            writer.write(faces, logits[batch].argmax(axis=1), logits[batch], probabilities[batch])
            start = batch.stop
