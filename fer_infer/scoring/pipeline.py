"""Scoring a file of any length in constant memory: one thread decodes, some run the model, and the caller's writes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces, ModelError, iter_faces
from fer_core.cores import available_cores
from fer_core.io.read_ahead import read_ahead
from fer_core.io.reader import OnError, check_layout
from fer_core.outputs.staging import require_apart, require_free, staged
from fer_core.terminal.progress import progress
from fer_infer.runtime.runners import SMALLEST_CALL, CallRunner
from fer_infer.scorer import DEFAULT_BATCH_SIZE, NotFiniteError, Scorer
from fer_infer.scoring.predictions import ENDINGS, prediction_writer
from fer_infer.scoring.rejects import RejectWriter
from fer_infer.tta import views_of

Scored = tuple[Faces, NDArray[np.float32], NDArray[np.float32]]
"""Faces with their logits and probabilities."""

GPU_BATCHES: Final = 8
CPU_BATCHES: Final = 4
"""Batches that are scored in one go: a GPU overlaps copying and running them, and a CPU's cores share them."""

ROLES_READ: Final = ("id",)
"""What scoring reads besides pixels: a wrong label must not keep a face from being scored."""

IN_FLIGHT: Final = 2
"""Goes that are scored at once: a core that is done with its part of one begins with the next."""


@dataclass(frozen=True)
class ScoreSummary:
    """What `score` did.

    Attributes
    ----------
    rows : int
        Faces scored.
    rejected : int
        Rows left out by ``on_error="skip"``.
    label_counts : dict of str to int
        Faces by predicted class.
    precision : {"fp32", "int8", "fp16"}
        Of the graph that ran.
    provider : str
        On which the model ran, as the session itself reports it.
    provider_note : str
        Why it is not CUDA; empty where it is.
    tta : {"none", "flip", "flip-shift"}
        Test-time augmentation.
    elapsed_s : float
        From the call to the last row, loading the model included.
    output : Path
        The predictions.
    rejects : Path or None
        The list of rejected rows, where there are any.
    """

    rows: int
    rejected: int
    label_counts: dict[str, int]
    precision: str
    provider: str
    provider_note: str
    tta: str
    elapsed_s: float
    output: Path
    rejects: Path | None

    @property
    def faces_per_s(self) -> float:
        """Faces a second of `elapsed_s`."""
        return self.rows / self.elapsed_s


def score(
    data: str | Path,
    model: str | Path,
    output: str | Path,
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
) -> ScoreSummary:
    """Predict the expression of every face of a file.

    Parameters
    ----------
    data : str or Path
        What `fer_core.iter_faces` takes: a CSV (plain, gzip or zstandard), `-` for standard input, an image tree.
    model : str or Path
        An exports folder or an ONNX file.
    output : str or Path
        The file to write, whole or not at all: Parquet if its name ends in `.parquet`; CSV if it ends in `.csv`,
        `.csv.gz` or `.csv.zst`, packed so.
    columns : {"id-label", "probabilities", "logits"}
        What it holds beside `id` and `label`, the number of the class with the largest logit.
    device : {"auto", "cpu", "cuda"}
        As for `Scorer`.
    precision : {"auto", "fp32", "int8", "fp16"}
        As for `Scorer`.
    batch_size : int
        As for `Scorer.run`.
    threads : int, optional
        As for `Scorer`.
    tta : {"none", "flip", "flip-shift"}
        As for `Scorer.run`.
    on_error : {"fail", "skip"}
        At a wrong row, stop and leave no output, or list it in `OUTPUT.rejects.csv` and go on.
    force : bool
        Replace an existing output.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`. Only pixels and ids are read.

    Returns
    -------
    ScoreSummary

    Raises
    ------
    DataError, ModelError, CardError, DeviceError, OutputError, ConfigError
        In every case no output is left, nor a part of one.
    """
    start_s = time.perf_counter()
    views_of(tta)
    output = Path(output)
    with (
        staged(output, force=force, endings=ENDINGS, inputs=(data, model)) as stage,
        RejectWriter(output, force=force, needed=on_error == "skip") as rejects,
    ):
        require_apart(rejects.path, (data, model))
        check_layout(data, roles=ROLES_READ, columns=input_columns)  # before the model, which takes longer
        scorer = Scorer(model, device, precision, threads=threads)
        counts = np.zeros(len(scorer.card.labels), np.int64)
        with (
            read_ahead(lambda: scored(data, scorer, batch_size, tta, on_error, columns=input_columns)) as batches,
            closing(scorer),  # before what runs ahead is waited for
            progress("score", None) as advance,
            prediction_writer(output)(stage, columns, scorer.card.labels, name=output) as predictions,
        ):
            for faces, logits, probabilities in batches:
                labels = logits.argmax(axis=1)
                predictions.write(faces, labels, logits, probabilities)
                rejects.write(faces.rejected)
                counts += np.bincount(labels, minlength=len(counts))
                advance(len(faces))
        require_free(output, force=force)  # or the rejects would be in place before the predictions cannot be
    return ScoreSummary(
        rows=int(counts.sum()),
        rejected=rejects.n,
        label_counts=dict(zip(scorer.card.labels, counts.tolist(), strict=True)),
        precision=scorer.card.precision,
        provider=scorer.provider,
        provider_note=scorer.provider_note,
        tta=tta,
        elapsed_s=time.perf_counter() - start_s,
        output=output,
        rejects=rejects.path if rejects.n else None,
    )


def scored(
    data: str | Path,
    scorer: Scorer,
    batch_size: int,
    tta: str,
    on_error: OnError,
    *,
    decoders: int | None = None,
    source: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Scored]:
    """Score what another thread decodes.

    Parameters
    ----------
    data, batch_size, tta, on_error
        As for `score`.
    scorer : Scorer
        Of the model.
    decoders : int, optional
        Threads that decode for a GPU, which takes as many faces as all cores decode; a CPU is busy with its own.
    source : str, optional
        What errors of the model call `data`, where that is a copy.
    columns : mapping of str to str, optional
        Role to column name, as for `fer_core.iter_faces`.

    Yields
    ------
    Scored
        A batch of faces.

    Raises
    ------
    DataError, ModelError, ConfigError
        As from `iter_faces` and `Scorer.run`; a face whose logits are not finite is named by its row.
    """
    if isinstance(scorer.runner, CallRunner):
        # as many faces as give every thread a call of its own
        rows, threads = CPU_BATCHES * max(batch_size, min(batch_size, SMALLEST_CALL) * scorer.runner.threads), 1
    else:
        rows, threads = GPU_BATCHES * batch_size, decoders or available_cores()

    def run(faces: Faces) -> Scored:
        try:
            return faces, *scorer.run(faces.images, batch_size=batch_size, tta=tta)
        except NotFiniteError as error:
            row = faces.rows[error.face]
            raise ModelError(f"{scorer.path}: the logits of {source or data}, row {row}, are not finite") from None

    with _pool() as pool:

        def started() -> Iterator[Future[Scored]]:
            for faces in iter_faces(
                data, batch_rows=rows, on_error=on_error, threads=threads, roles=ROLES_READ, columns=columns
            ):
                yield pool.submit(run, faces)

        with read_ahead(started) as goes:
            for go in goes:
                yield go.result()


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Yield threads for what is in flight; what has not begun when they are no longer needed never does."""
    pool, process = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="score"), os.getpid()
    try:
        yield pool
    finally:
        if os.getpid() == process:  # a forked child has neither the threads nor, perhaps, the lock
            pool.shutdown(cancel_futures=True)
