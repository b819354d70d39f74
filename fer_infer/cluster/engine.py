"""Score many files on a Ray cluster: one actor per device, one part of the output per file."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import ray
import ray.data
from ray.exceptions import RayError, RayTaskError

from fer_core import ConfigError, DataError, DataWarning, FerError, ModelCard, OutputError
from fer_core.errors import first_line
from fer_core.exports_folder import CARD_FILE
from fer_core.fer2013 import split_of
from fer_core.io.crop import ALIGNED
from fer_core.outputs.claims import claimed
from fer_core.terminal.progress import progress, speed_text
from fer_infer.cluster import storage
from fer_infer.cluster.manifest import Manifest, Part
from fer_infer.cluster.ray_cluster import find_room, native_messages_dropped, open_cluster
from fer_infer.cluster.storage import InputFile
from fer_infer.cluster.worker import FileScorer, Work
from fer_infer.config import ScoreConfig
from fer_infer.graph_selection import find_graph
from fer_infer.runtime.session import provider_text
from fer_infer.scorer import Scorer
from fer_infer.scoring.summary import Counts

SAVE_INTERVAL_S: Final = 2.0
"""Minimum interval between two writes of the manifest; a killed run repeats at most the work of this interval."""


@dataclass(frozen=True)
class RaySummary(Counts):
    """Summary of files that were scored on a cluster.

    Attributes
    ----------
    rows, rejected : int
        Predictions and rejected rows, including those of earlier runs.
    label_counts : dict of str to int
        Faces per predicted class.
    output : str
        Folder of the parts.
    files, reused : int
        Number of input files, and of those whose parts an earlier run had made.
    rows_now : int
        Predictions that this run made.
    precision : {"fp32", "int8", "fp16"}
        Precision of the graph.
    providers : dict of str to str
        Execution providers, and why each was not CUDA.
    tta : {"none", "flip", "flip-shift"}
        Test-time augmentation.
    elapsed_s : float
        Wall time in seconds, including the time to start or reach the cluster.
    """

    output: str
    files: int
    reused: int
    rows_now: int
    precision: str
    providers: dict[str, str]
    tta: str
    elapsed_s: float

    @property
    def faces_per_s(self) -> float:
        """Faces per second that this run scored."""
        return self.rows_now / self.elapsed_s

    def to_text(self) -> str:
        """Return the summary as the lines that a command prints."""
        speed = f"{self.elapsed_s:.2f} s, {speed_text(self.faces_per_s, 'faces')}"
        lines = [f"{self.output}: {self.rows:,} rows from {self.files:,} files in {speed}"]
        if self.reused:
            lines.append(f"{self.output}: parts reused from an earlier run: {self.reused:,}")
        if self.rejected:
            lines.append(f"{self.output}: rows left out: {self.rejected:,}, listed in rejects-*.csv")
        ran = [provider_text(name, note, self.precision, self.tta) for name, note in self.providers.items()]
        return "\n".join([*lines, self.predicted_text(), *ran])


def score_files(
    data: Sequence[str],
    model: str | Path,
    output: str,
    *,
    workers: int | None = None,
    ray_address: str | None = None,
    force: bool = False,
    **settings: Any,
) -> RaySummary:
    """Predict the expression of every face in many files, on the workers of a Ray cluster.

    The same call resumes an interrupted run: complete parts whose inputs have not changed are kept.

    Parameters
    ----------
    data : sequence of str
        Files, folders and patterns, local or as URIs; see `fer_infer.cluster.storage.list_inputs`.
    model : str or Path
        Exports folder or ONNX file, which is sent to the workers.
    output : str
        Folder to fill, which all workers must reach: local, shared, or a URI. It gets one part per file, named by the
        file's position, in CSV or, if `output` ends in `.parquet`, in Parquet; one list of rejected rows per file that
        has some; and `manifest.json`. A part contains what `fer_infer.score` writes, after a column `source`.
    workers : int, optional
        Number of workers; by default as many as the cluster has room for, but at most one per file.
    ray_address : str, optional
        Address of the cluster, as `ray.init` takes it; by default that in RAY_ADDRESS, else a local cluster for this
        call. A session that is already open is used.
    force : bool
        Discard predictions of another run in the folder.
    **settings
        Settings of `fer_infer.config.ScoreConfig`, except `limit`. `device="auto"` gives each worker a GPU if the
        cluster has any; `precision="auto"` is fp32 for an exports folder, so that all machines predict alike;
        `threads` is the number of CPUs per worker, by default 1.

    Raises
    ------
    DataError, ModelError, CardError, DeviceError, OutputError, ConfigError, FerError
        Also those of workers. Parts that were complete before are kept, and the same call resumes.
    """
    start_s = time.perf_counter()
    config = _cluster_config(settings)
    folder = storage.absolute(output)
    inputs = _list_inputs(data, output, folder)
    work, card = _prepare(model, output, config)
    manifest = Manifest(_record(work, card), inputs)
    place = storage.local_path(folder)
    with nullcontext() if place is None else claimed(place):
        others = manifest.take_over(folder, force=force)
        before = Counts.total(manifest.parts.values(), card.labels)
        reused = len(manifest.parts)
        if reused < len(inputs):
            with open_cluster(ray_address):
                room = _room(config, workers)
                _remove(folder, others)  # only once there is something to score with
                manifest.save(folder)
                _score(manifest, work, *room)
        else:
            _remove(folder, others)
    counts = Counts.total(manifest.parts.values(), card.labels)
    return RaySummary(
        **vars(counts),
        output=output,
        files=len(inputs),
        reused=reused,
        rows_now=counts.rows - before.rows,
        precision=card.precision,
        providers={part.provider: part.provider_note for part in manifest.parts.values()},
        tta=config.tta,
        elapsed_s=time.perf_counter() - start_s,
    )


def _cluster_config(settings: dict[str, Any]) -> ScoreConfig:
    config = ScoreConfig(**settings)
    config.require_for_data_sets()
    if config.explain is not None:
        raise ConfigError("expected none on a cluster", parameter="explain")
    if config.faces != ALIGNED:
        raise ConfigError(f"expected {ALIGNED} on a cluster, found {config.faces}", parameter="faces")
    if config.limit is not None:
        raise ConfigError("expected no limit for files on a cluster", parameter="limit")
    return replace(config, threads=config.threads or 1)


def _list_inputs(data: Sequence[str], output: str, folder: str) -> tuple[InputFile, ...]:
    for address in data:
        if storage.is_within(address, folder):
            raise OutputError(f"{output}: would overwrite the input {address}; choose another output")
    # An output in a folder that is scored is not an input of the next run.
    inputs = tuple(file for file in storage.list_inputs(data) if not storage.is_within(file.source, folder))
    if not inputs:
        raise DataError(data[0], "expected files to score, found only those of the output")
    return inputs


def _prepare(model: str | Path, output: str, config: ScoreConfig) -> tuple[Work, ModelCard]:
    """Check the model on this machine, rather than on every worker; return what the workers need, and its card."""
    model = Path(os.path.expanduser(model))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    precision = "fp32" if config.precision == "auto" and model.is_dir() else config.precision
    graph = find_graph(model, precision, "cpu")
    with Scorer(graph, "cpu", precision, threads=1) as scorer:
        card = scorer.card
    work = Work(
        model=str(graph),
        model_files={path.name: path.read_bytes() for path in (graph, graph.with_name(CARD_FILE)) if path.is_file()},
        output=storage.absolute(output),
        suffix=".parquet" if Path(output).suffix.lower() == ".parquet" else ".csv",
        config=config,
    )
    return work, card


def _record(work: Work, card: ModelCard) -> dict[str, Any]:
    """Return everything that determines the predictions, for the manifest."""
    record: dict[str, Any] = {
        "model": {
            "architecture": card.architecture,
            "precision": card.precision,
            "weights_sha256": card.weights_sha256,
            "graph_sha256": hashlib.sha256(work.model_files[Path(work.model).name]).hexdigest(),
        },
        "columns": work.config.columns,
        "tta": work.config.tta,
        "on_error": work.config.on_error,
        "form": work.suffix.removeprefix("."),
    }
    if work.config.names:
        record["names"] = True
    if work.config.split is not None:
        record["split"] = split_of(work.config.split) or work.config.split
    if work.config.input_columns:
        record["input_columns"] = dict(work.config.input_columns)
    return record


def _remove(folder: str, names: Sequence[str]) -> None:
    for name in names:
        storage.remove(storage.join(folder, name))


def _room(config: ScoreConfig, workers: int | None) -> tuple[int, bool]:
    """Return the maximum number of workers, and whether each has a GPU."""
    room, on_gpu = find_room(config.device, config.threads or 1)
    if workers is not None and not 1 <= workers <= room:
        expected = f"expected 1 to {room}, the number that the cluster has room for, found {workers}"
        raise ConfigError(expected, parameter="workers")
    return workers or room, on_gpu


def _score(manifest: Manifest, work: Work, workers: int, on_gpu: bool) -> None:
    """Score the inputs that have no part yet, and record each part when it is complete."""
    files = [
        {"position": position, "address": storage.absolute(file.source), "file": asdict(file)}
        for position, file in enumerate(manifest.inputs)
        if position not in manifest.parts
    ]
    if not on_gpu:
        reason = "" if work.config.device == "cpu" else "the Ray cluster has no GPU"
        work = replace(work, config=replace(work.config, device="cpu"), cpu_reason=reason)
    saved_s = time.monotonic()
    try:
        with (
            progress("score", None) as advance,
            closing(_parts(files, work, min(workers, len(files)), on_gpu)) as parts,
        ):
            for position, part in parts:
                _require_here(part, work.output)
                manifest.parts[position] = part
                advance(part.rows, f"{len(manifest.parts)} of {len(manifest.inputs)} files")
                if time.monotonic() - saved_s > SAVE_INTERVAL_S:
                    manifest.save(work.output)
                    saved_s = time.monotonic()
    finally:
        manifest.save(work.output)


def _require_here(part: Part, folder: str) -> None:
    """Raise OutputError if a worker wrote its part to a disk of its own."""
    place = storage.join(folder, part.name)
    if not storage.exists(place):
        expected = "expected a folder that all machines of the cluster share, or a URI"
        raise OutputError(f"{place}: was written by a worker and is not on this machine; {expected}")


def _parts(
    files: list[dict[str, Any]], work: Work, workers: int, on_gpu: bool
) -> Generator[tuple[int, Part], None, None]:
    """Yield each part with its position, in the order of completion."""
    quiet = ray.data.DataContext.get_current().copy()
    quiet.enable_progress_bars = quiet.print_on_execution_start = False
    with ray.data.DataContext.current(quiet), native_messages_dropped():
        outcomes = ray.data.from_items(files, override_num_blocks=len(files)).map_batches(
            FileScorer,
            fn_constructor_args=(ray.put(work),),
            batch_size=1,
            # One file at a time per actor, so that no actor queues files while another one idles.
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=work.config.threads,
            num_gpus=1 if on_gpu else None,
        )
        try:
            for row in outcomes.iter_rows():
                for note in row["notes"].splitlines():
                    warnings.warn(note, DataWarning, stacklevel=2)
                outcome = pickle.loads(row["outcome"])  # noqa: S301 - made by our own worker
                if isinstance(outcome, FerError):
                    raise outcome
                yield row["position"], outcome
        except RayTaskError:
            raise  # a bug of this package, with the traceback of the worker
        except RayError as error:
            raise FerError(f"ray: a worker was lost: {first_line(error)}") from None
