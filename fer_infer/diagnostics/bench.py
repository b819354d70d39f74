"""What scoring costs, part by part and together, the first time and afterwards, by the very code that scores."""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fer_core import ConfigError, DataError, DataWarning, Faces, iter_faces
from fer_core.io.compression import open_stream
from fer_core.io.csv.lines import MAX_LINE_BYTES
from fer_core.io.file_types import PARQUET_MAGIC
from fer_core.io.reader import available_cores
from fer_core.outputs.staging import scratch_folder, staged
from fer_core.terminal.progress import progress
from fer_infer.config import DEFAULT_BATCH_SIZE
from fer_infer.diagnostics.stopwatch import Stopwatch, Timing
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_infer.runtime.runners import LaneRunner, Scores
from fer_infer.scorer import Scorer
from fer_infer.scoring.pipeline import ROLES_READ, score
from fer_infer.scoring.predictions import prediction_writer

if TYPE_CHECKING:
    from rich.table import Table

SWEEP: Final = (1, 8, 32, 128, 512)
"""Batch sizes that are tried beside the one asked for."""

DEFAULT_ROWS: Final = 1000
DEFAULT_REPEATS: Final = 5


@dataclass(frozen=True)
class Benchmark:
    """What `bench` measured, and on what.

    Attributes
    ----------
    data, model : str
        The file that the rows came from, and the graph that was run.
    weights_sha256, precision, provider, provider_note : str
        Of the model, and of its session.
    rows, batch_size, repeats : int
        Faces, faces at once in all parts but the sweep, and timed calls after the first.
    threads : int or None
        CPU threads; None is one a physical core.
    machine : dict of str to str
        Processor, cores of this process, system, and the versions of what was measured.
    timings : tuple of Timing
        In the order of the work; `run` once for each batch size. There is no `copy` where nothing is copied.
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
        """Return all of it, with the derived figures of each timing, as JSON."""
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

        threads = "default threads" if self.threads is None else f"{self.threads} thread{'s' * (self.threads > 1)}"
        conditions = f"{self.rows:,} rows, {self.precision}, {self.provider}, {threads}, median of {self.repeats}"
        table = Table(title=Text(f"{self.model}: {conditions}"), caption=", ".join(self.machine.values()))
        table.add_column("part")
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
    rows: int = DEFAULT_ROWS,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = DEFAULT_BATCH_SIZE,
    threads: int | None = None,
    repeats: int = DEFAULT_REPEATS,
    output: str | Path | None = None,
    force: bool = False,
) -> Benchmark:
    """Time the parts of scoring, and scoring.

    Parameters
    ----------
    data : str or Path
        A CSV, plain or compressed. Its first `rows` rows are unpacked into a temporary file, which is then scored.
    model : str or Path
        An exports folder or an ONNX file.
    rows : int
        Faces to work on; fewer where `data` has fewer. They are kept in memory, 2,304 bytes each.
    device, precision, threads
        As for `Scorer`.
    batch_size : int
        Faces at once. The model is run at the sizes of `SWEEP` as well, as far as there are so many faces.
    repeats : int
        Timed calls of each part after its first.
    output : str or Path, optional
        Write the figures there as JSON, whole or not at all.
    force : bool
        Replace an existing output.

    Raises
    ------
    DataError
        If `data` is no CSV, has a wrong row among the first, or has none.
    ModelError, CardError, DeviceError, OutputError, ConfigError
        As from `fer_infer.score`.
    """
    for name, value in (("rows", rows), ("repeats", repeats), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, found {value}")
    settings: dict[str, Any] = {"device": device, "precision": precision, "threads": threads}
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DataWarning)  # it would name the temporary file
        target = None if output is None else staged(output, force=force, endings=(".json",), inputs=(data, model))
        stage = None if target is None else stack.enter_context(target)
        folder = stack.enter_context(scratch_folder())
        sample = folder / "faces.csv"
        n = _copy_rows(data, sample, rows)
        advance = stack.enter_context(progress("bench", None, "calls"))
        watch = Stopwatch(n, batch_size, repeats, advance)
        batches = watch.time("decode", lambda: _decode(data, sample, batch_size), lambda _: _size(sample))
        scorer = watch.time("load", lambda: Scorer(model, **settings), lambda scorer: _size(scorer.path), rows=0)
        _time_scoring(watch, scorer, batches, folder / "predictions.csv", batch_size)
        whole = partial(score, sample, model, folder / "together.csv", batch_size=batch_size, force=True)
        watch.time("together", lambda: whole(**settings), lambda _: _size(sample))
        done = Benchmark(
            data=str(data),
            model=str(scorer.path),
            weights_sha256=scorer.card.weights_sha256,
            precision=scorer.card.precision,
            provider=scorer.provider,
            provider_note=scorer.provider_note,
            rows=n,
            batch_size=batch_size,
            repeats=repeats,
            threads=threads,
            machine=_machine(),
            timings=tuple(watch.timings),
        )
        if stage is not None:
            stage.write_text(done.to_json(), encoding="utf-8")
    return done


def _time_scoring(watch: Stopwatch, scorer: Scorer, batches: list[Faces], output: Path, batch_size: int) -> None:
    """Time what lies between decoded faces and written predictions."""
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
    """Unpack the header and the first rows of a CSV into a file of their own; return how many rows there were."""
    n = -1
    with closing(_first_lines(data, rows + 1)) as lines, sample.open("wb") as file:
        for n, line in enumerate(lines):  # noqa: B007 - the last one counts
            file.write(line)
    if n < 1:
        raise DataError(str(data), "has no row to time")
    return n


def _first_lines(data: str | Path, n: int) -> Generator[bytes, None, None]:
    # A generator, so that an error of the disk that is written to does not pass through what reads.
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
    except DataError as error:  # of the same row, but in a file that the user does not know
        raise DataError(str(data), error.message, row=error.row, column=error.column) from None


def _write(batches: list[Faces], labels: Sequence[str], logits: Scores, probabilities: Scores, output: Path) -> None:
    start = 0
    with prediction_writer(output)(output, "id-label", labels) as writer:
        for faces in batches:
            batch = slice(start, start + len(faces))
            writer.write(faces, logits[batch].argmax(axis=1), logits[batch], probabilities[batch])
            start = batch.stop


def _machine() -> dict[str, str]:
    """Name what the figures depend on and the settings do not say."""
    return {
        "processor": f"{_processor()}, {available_cores()} cores",
        "system": platform.platform(),
        "python": f"Python {platform.python_version()}",
        "onnxruntime": f"ONNX Runtime {load_runtime().__version__}",
        "numpy": f"NumPy {np.__version__}",
        "fer-toolkit": f"fer-toolkit {version('fer-toolkit')}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
