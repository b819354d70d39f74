"""Score a file of any length in constant memory: one thread decodes, some run the model, the caller's thread writes."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataWarning, Faces, ModelError, iter_faces
from fer_core.cores import available_cores
from fer_core.io.crop import ALIGNED
from fer_core.io.read_ahead import read_ahead
from fer_core.io.reader import check_layout, no_such_split
from fer_core.outputs.staging import require_apart, require_free, staged
from fer_core.terminal.progress import Advance, progress
from fer_infer.config import InferenceConfig, ScoreConfig
from fer_infer.runtime.runners import SMALLEST_CALL, CallRunner, NotFiniteError
from fer_infer.scorer import Scorer
from fer_infer.scoring.prediction_writer import PredictionWriter
from fer_infer.scoring.predictions import ENDINGS, prediction_writer
from fer_infer.scoring.rejects import RejectWriter
from fer_infer.scoring.summary import Counts, FilmSummary, PhotoSummary, ScoreSummary, run_facts

Scored = tuple[Faces, NDArray[np.float32], NDArray[np.float32]]
"""Faces with their logits and probabilities."""

GPU_BATCHES: Final = 8
CPU_BATCHES: Final = 4
"""Batches scored by one call: a GPU overlaps copying and computing them, CPU cores share them."""

ROLES_READ: Final = ("id",)
"""Columns read besides the pixels: an invalid label must not keep a face from being scored."""

SEVERAL: Final = "photos may be several, with `faces='detect'` or `faces='whole'`"

IN_FLIGHT: Final = 2
"""Calls scored concurrently: a core that finishes its share of one call starts on the next."""


def score(
    data: str | Path | Sequence[str | Path],
    model: str | Path,
    output: str | Path,
    *,
    force: bool = False,
    **settings: Any,
) -> ScoreSummary | PhotoSummary | FilmSummary:
    """Predict the expression of every face in a file, or in photos, and write the predictions to a file.

    Parameters
    ----------
    data : str, Path or sequence of them
        CSV (plain or compressed), `-` for a CSV on standard input, Parquet file, or folder of 48x48 images; see
        `fer_core.iter_faces`. Only pixels and ids are read. With ``faces="detect"`` or ``"whole"``: photos, folders of
        photos and patterns, also several, as `fer_infer.photos.listing.list_photos` takes them. With ``"detect"``
        also one film.
    model : str or Path
        Exports folder, or an ONNX file in one.
    output : str or Path
        File to write: `.csv`, `.csv.gz`, `.csv.zst` or `.parquet`. It appears complete or not at all. It has the
        columns `id` and `label` (the number of the predicted class) and those that the setting `columns` adds. For
        photos it has one row per face, and one for each photo without a face: `file`, `face`, `left`, `top`, `width`,
        `height`, `detection`, `label`, one column per class, and `reason`, why there is no prediction.
    force : bool
        Replace an existing output.
    **settings
        Settings of `fer_infer.config.ScoreConfig`, e.g. ``columns="probabilities"``. For photos, `columns` is
        ``"probabilities"`` and `on_error` ``"skip"`` by default.

    Returns
    -------
    ScoreSummary, PhotoSummary or FilmSummary
        With ``on_error="skip"``, rejected rows of a data set are listed in the file `OUTPUT.rejects.csv`.

    Raises
    ------
    DataError, ModelError, CardError, DeviceError, OutputError, ConfigError
        After an error, no output is left.

    Examples
    --------
    >>> from fer_infer import score
    >>> done = score("faces.csv", "exports/compact", "predictions.csv", columns="probabilities")
    >>> done.rows
    64
    """
    inputs = [data] if isinstance(data, str | os.PathLike) else list(data)
    if settings.get("faces", ALIGNED) != ALIGNED:
        from fer_infer.photos.listing import is_film
        from fer_infer.scoring.photos import score_photos
        from fer_infer.scoring.video import score_film

        config = ScoreConfig.of_photos(settings)
        if len(inputs) == 1 and is_film(os.path.expanduser(inputs[0])):  # noqa: PTH111 - as below
            return score_film(inputs[0], model, output, config, force=force)
        return score_photos(inputs, model, output, config, force=force)
    if len(inputs) != 1:
        raise ConfigError(f"expected one file or folder, found {len(inputs)}; {SEVERAL}", parameter="data")
    return _score_data_set(inputs[0], model, output, ScoreConfig(**settings), force=force)


def _score_data_set(
    data: str | Path, model: str | Path, output: str | Path, config: ScoreConfig, *, force: bool
) -> ScoreSummary:
    start_s = time.perf_counter()
    config.require_for_data_sets()
    data, model, target = (os.path.expanduser(path) for path in (data, model, output))  # noqa: PTH111 - no Path: `-`
    with (
        staged(target, force=force, endings=ENDINGS, inputs=(data, model)) as stage,
        RejectWriter(Path(target), force=force, needed=config.on_error == "skip") as rejects,
    ):
        require_apart(rejects.path, (data, model))
        check_layout(
            data, split=config.split, roles=ROLES_READ, columns=config.input_columns
        )  # fails faster than loading the model
        scorer = Scorer(model, config.device, config.precision, threads=config.threads)
        with (
            read_ahead(lambda: scored(lambda: batches_for(scorer, data, config), scorer, config, row_name)) as batches,
            closing(scorer),  # before the reading thread is waited for
            progress("score", None) as advance,
            prediction_writer(target)(
                stage, config.columns, scorer.card.labels, name=target, names=config.names
            ) as predictions,
        ):
            counts = write_predictions(batches, predictions, rejects, scorer.card.labels, advance)
        if config.split is not None and not counts.rows:
            raise no_such_split(data, config.split, columns=config.input_columns)
        require_free(target, force=force)  # or the rejects would be renamed into place before the predictions cannot be
    if not counts.rows:
        warnings.warn(f"{data}: contains no face, so {target} contains no prediction", DataWarning, stacklevel=2)
    return ScoreSummary(
        **vars(counts),
        **run_facts(scorer, config.tta, start_s, target),
        rejects=rejects.path if rejects.n else None,
    )


def write_predictions(
    batches: Iterable[Scored],
    predictions: PredictionWriter,
    rejects: RejectWriter,
    class_names: Sequence[str],
    advance: Advance | None = None,
) -> Counts:
    """Write scored batches and their rejected rows; return how many there were."""
    by_class = np.zeros(len(class_names), np.int64)
    for faces, logits, probabilities in batches:
        labels = logits.argmax(axis=1)
        predictions.write(faces, labels, logits, probabilities)
        rejects.write(faces.rejected)
        by_class += np.bincount(labels, minlength=len(by_class))
        if advance is not None:
            advance(len(faces))
    return Counts(int(by_class.sum()), rejects.n, dict(zip(class_names, by_class.tolist(), strict=True)))


def batches_for(
    scorer: Scorer, data: str | Path, config: InferenceConfig, *, decoders: int | None = None
) -> Iterator[Faces]:
    """Read faces in batches of a size that suits a scorer.

    Parameters
    ----------
    scorer : Scorer
        Model that will score them.
    data : str or Path
        Faces, as `fer_core.iter_faces` takes them.
    config : InferenceConfig
        Settings.
    decoders : int, optional
        Decoding threads for a GPU, by default one per core; with a CPU, one thread decodes and the others score.
    """
    if isinstance(scorer.runner, CallRunner):
        # enough faces for every thread to get a call of its own
        per_call = max(config.batch_size, min(config.batch_size, SMALLEST_CALL) * scorer.runner.threads)
        rows, threads = CPU_BATCHES * per_call, 1
    else:
        rows, threads = GPU_BATCHES * config.batch_size, decoders or available_cores()
    batches = iter_faces(
        data,
        batch_rows=rows,
        split=config.split,
        on_error=config.on_error,
        threads=threads,
        roles=ROLES_READ,
        columns=config.input_columns,
    )
    return batches if config.limit is None else first_faces(batches, config.limit)


def first_faces(batches: Iterable[Faces], limit: int) -> Iterator[Faces]:
    """Yield the first faces of batches, `limit` at most."""
    left = limit
    for faces in batches:
        yield faces if len(faces) <= left else first_of(faces, left)
        left -= len(faces)
        if left <= 0:
            return


def first_of(faces: Faces, n: int) -> Faces:
    """Return the first `n` faces of a batch, and the rejected rows before the last of them."""
    taken = faces.take(slice(n))
    return replace(taken, rejected=tuple(error for error in faces.rejected if (error.row or 0) < taken.rows[-1]))


class HasImages(Protocol):
    """A batch of faces: `images` are uint8 (N, 48, 48)."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """Gray levels."""


B = TypeVar("B", bound=HasImages)


def row_name(faces: Faces, face: int) -> str:
    """Return the name of a face in errors."""
    return f"{faces.source}, row {faces.rows[face]}"


def scored(
    start: Callable[[], Iterator[B]], scorer: Scorer, config: InferenceConfig, name_of: Callable[[B, int], str]
) -> Iterator[tuple[B, NDArray[np.float32], NDArray[np.float32]]]:
    """Score batches that another thread reads.

    Parameters
    ----------
    start : callable
        Returns the batches; called in the reading thread.
    scorer : Scorer
        Model that scores them.
    config : InferenceConfig
        Settings, of which `batch_size` and `tta` are used.
    name_of : callable
        Returns the name of a face of a batch in errors.

    Yields
    ------
    batch, logits, probabilities
        Batches in order.

    Raises
    ------
    DataError, ModelError, ConfigError
        As raised by `start` and `Scorer.run`. If a logit is not finite, the error names the face.
    """

    def run(batch: B) -> tuple[B, NDArray[np.float32], NDArray[np.float32]]:
        try:
            return batch, *scorer.run(batch.images, batch_size=config.batch_size, tta=config.tta)
        except NotFiniteError as error:
            where = name_of(batch, error.face)
            raise ModelError(f"{scorer.path}: the logits of {where}, are not finite") from None

    with _pool() as pool:

        def submitted() -> Iterator[Future[tuple[B, NDArray[np.float32], NDArray[np.float32]]]]:
            for batch in start():
                yield pool.submit(run, batch)

        with read_ahead(submitted) as calls:
            for call in calls:
                yield call.result()


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Yield threads for the calls in flight; at the end, calls that have not started are cancelled."""
    pool, process = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="score"), os.getpid()
    try:
        yield pool
    finally:
        if os.getpid() == process:  # a forked child has neither the threads nor, perhaps, the lock
            pool.shutdown(cancel_futures=True)
