"""Scoring many files on a Ray cluster: one actor a device holds the model, one part a file holds the predictions."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import ray
import ray.data
from ray.exceptions import RayError, RayTaskError

from fer_core import ConfigError, DataError, FerError, OutputError
from fer_core.errors import first_line
from fer_core.exports_folder import CARD_FILE
from fer_core.io.reader import OnError
from fer_core.outputs.claims import claimed
from fer_core.terminal.progress import progress
from fer_infer.cluster import storage
from fer_infer.cluster.manifest import Manifest, Part
from fer_infer.cluster.ray_cluster import find_room, native_messages_dropped, open_cluster
from fer_infer.cluster.worker import FileScorer, Work
from fer_infer.graph_selection import find_graph
from fer_infer.scorer import DEFAULT_BATCH_SIZE, Scorer
from fer_infer.scoring.prediction_writer import COLUMNS
from fer_infer.tta import views_of

SAVE_INTERVAL_S: Final = 2.0
"""How often the record is written at most: a run that is killed scores again what it did since."""


@dataclass(frozen=True)
class RaySummary:
    """What `score_files` did.

    Attributes
    ----------
    output : str
        The folder.
    files, reused : int
        Inputs, and those among them whose parts an earlier run had made.
    rows, rejected : int
        Predictions and rows left out, those of earlier runs included.
    rows_now : int
        Predictions that this run made.
    label_counts : dict of str to int
        Faces by predicted class.
    precision : {"fp32", "int8", "fp16"}
        Of the graph that ran.
    providers : dict of str to str
        On which the model ran, and why it was not CUDA.
    tta : {"none", "flip", "flip-shift"}
        Test-time augmentation.
    elapsed_s : float
        From the call to the last part, starting or reaching the cluster included.
    """

    output: str
    files: int
    reused: int
    rows: int
    rejected: int
    rows_now: int
    label_counts: dict[str, int]
    precision: str
    providers: dict[str, str]
    tta: str
    elapsed_s: float

    @property
    def faces_per_s(self) -> float:
        """Faces a second that this run scored."""
        return self.rows_now / self.elapsed_s


def score_files(
    data: Sequence[str],
    model: str | Path,
    output: str,
    *,
    columns: str = "id-label",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int = DEFAULT_BATCH_SIZE,
    threads: int | None = None,
    tta: str = "none",
    on_error: OnError = "fail",
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
) -> RaySummary:
    """Predict the expression of every face of many files, on the workers of a Ray cluster.

    The same call again goes on where an earlier one ended: parts that are whole, and whose input is as it was, stay.

    Parameters
    ----------
    data : sequence of str
        Files, folders and patterns, local or as URIs; see `fer_infer.cluster.storage.list_inputs`.
    model : str or Path
        An exports folder or an ONNX file, which the workers are sent.
    output : str
        The folder to fill, which all workers must reach: a local or shared one, or a URI. It gets a part a file,
        named by its position, CSV or, where `output` ends in `.parquet`, Parquet; a list of the rejected rows of each
        file that has some; and `manifest.json`. Each row of a part is what `score` writes for that file, after the
        column `source`.
    columns, batch_size, tta, on_error, input_columns
        As for `fer_infer.score`.
    device : {"auto", "cpu", "cuda"}
        `auto` gives each worker a GPU where the cluster has any.
    precision : {"auto", "fp32", "int8", "fp16"}
        As for `Scorer`, but `auto` is fp32 of an exports folder: the same on machines of whatever kind.
    threads : int, optional
        CPUs of each worker, 1 where None.
    force : bool
        Start anew in a folder with other predictions.
    workers : int, optional
        As many as the cluster has room for where None, and never more than files.
    ray_address : str, optional
        The cluster, as `ray.init` takes it; that of RAY_ADDRESS, or else a local one for this call, where None. A
        session that is already open is used as it is.

    Raises
    ------
    DataError, ModelError, CardError, DeviceError, OutputError, ConfigError, FerError
        Of a worker too. What was finished before stays, for the same call to go on with.
    """
    start_s = time.perf_counter()
    if columns not in COLUMNS:
        raise ConfigError(f"columns: expected one of {', '.join(COLUMNS)}, found {columns!r}")
    views_of(tta)
    folder = storage.absolute(output)
    for address in data:
        if storage.is_within(address, folder):
            raise OutputError(f"{output}: would overwrite the input {address}; choose another output")
    # An output below a folder that is scored is no input of the next run.
    inputs = tuple(file for file in storage.list_inputs(data) if not storage.is_within(file.source, folder))
    if not inputs:
        raise DataError(data[0], "expected files to score, found none but those of the output")
    fixed = "fp32" if precision == "auto" and Path(model).is_dir() else precision
    graph = find_graph(Path(model), fixed, "cpu")
    threads = 1 if threads is None else threads
    card = Scorer(graph, "cpu", fixed, threads=threads).card  # refused here rather than by every worker
    files = {path.name: path.read_bytes() for path in (graph, graph.with_name(CARD_FILE)) if path.is_file()}
    suffix = ".parquet" if Path(output).suffix.lower() == ".parquet" else ".csv"
    settings = {
        "model": {
            "architecture": card.architecture,
            "precision": card.precision,
            "weights_sha256": card.weights_sha256,
            "graph_sha256": hashlib.sha256(files[graph.name]).hexdigest(),
        },
        "columns": columns,
        "tta": tta,
        "on_error": on_error,
        "form": suffix.removeprefix("."),
    }
    if input_columns:
        settings["input_columns"] = dict(input_columns)
    manifest = Manifest(settings, inputs)
    place = storage.local_path(folder)
    with nullcontext() if place is None else claimed(place):
        left = manifest.take_over(folder, force=force)
        reused = len(manifest.parts)
        rows_before = sum(part.rows for part in manifest.parts.values())
        if reused < len(inputs):
            work = Work(
                model=str(graph),
                model_files=files,
                output=folder,
                suffix=suffix,
                columns=columns,
                device=device,
                threads=threads,
                batch_size=batch_size,
                tta=tta,
                on_error=on_error,
                input_columns=dict(input_columns or {}),
            )
            with open_cluster(ray_address):
                room = _room(work, workers)
                _clear(folder, left)  # not before there is something to score with
                manifest.save(folder)
                _score(manifest, work, *room)
        else:
            _clear(folder, left)
    parts = manifest.parts.values()
    counts = sum((Counter(part.label_counts) for part in parts), Counter())
    return RaySummary(
        output=output,
        files=len(inputs),
        reused=reused,
        rows=sum(part.rows for part in parts),
        rejected=sum(part.rejected for part in parts),
        rows_now=sum(part.rows for part in parts) - rows_before,
        label_counts={name: counts[name] for name in card.labels},
        precision=card.precision,
        providers={part.provider: part.provider_note for part in parts},
        tta=tta,
        elapsed_s=time.perf_counter() - start_s,
    )


def _clear(folder: str, names: Sequence[str]) -> None:
    for name in names:
        storage.remove(storage.join(folder, name))


def _room(work: Work, workers: int | None) -> tuple[int, bool]:
    """Return how many workers there are to be at most, and whether each has a GPU."""
    room, on_gpu = find_room(work.device, work.threads)
    if workers is not None and not 1 <= workers <= room:
        raise ConfigError(f"workers: expected 1 to {room}, which is what the cluster has room for, found {workers}")
    return workers or room, on_gpu


def _score(manifest: Manifest, work: Work, workers: int, on_gpu: bool) -> None:
    """Score the inputs that have no part yet, and record each part as it comes."""
    files = [
        {"position": position, "address": storage.absolute(file.source), "file": asdict(file)}
        for position, file in enumerate(manifest.inputs)
        if position not in manifest.parts
    ]
    if not on_gpu:
        work = replace(work, device="cpu", cpu_reason="" if work.device == "cpu" else "the Ray cluster has no GPU")
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
    """Yield each part with its position, in the order in which they are finished."""
    quiet = ray.data.DataContext.get_current().copy()
    quiet.enable_progress_bars = quiet.print_on_execution_start = False
    with ray.data.DataContext.current(quiet), native_messages_dropped():
        outcomes = ray.data.from_items(files, override_num_blocks=len(files)).map_batches(
            FileScorer,
            fn_constructor_args=(ray.put(work),),
            batch_size=1,
            # One file at a time each, so that no worker queues files while another one idles.
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=work.threads,
            num_gpus=1 if on_gpu else None,
        )
        try:
            for row in outcomes.iter_rows():
                outcome = pickle.loads(row["outcome"])  # noqa: S301 - made by our own worker
                if isinstance(outcome, FerError):
                    raise outcome
                yield row["position"], outcome
        except RayTaskError:
            raise  # a bug of ours, with the traceback of the worker
        except RayError as error:
            raise FerError(f"ray: a worker was lost for good: {first_line(error)}") from None
