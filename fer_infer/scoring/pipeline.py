"""Score a file of any length in constant memory: one thread decodes, some run the model, the caller's thread writes."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataWarning, Faces, iter_faces
from fer_core.cores import available_cores
from fer_core.io.crop import ALIGNED
from fer_core.io.read_ahead import read_ahead
from fer_core.io.reader import check_layout, no_such_split
from fer_core.outputs.staging import require_apart, require_free, staged
from fer_core.terminal.progress import Advance, progress
from fer_infer.config import InferenceConfig, ScoreConfig
from fer_infer.runtime.runners import SMALLEST_CALL, CallRunner
from fer_infer.saliency import SaliencyModel
from fer_infer.scorer import Scorer
from fer_infer.scoring.explained import BATCH_FACES, open_model, predicted
from fer_infer.scoring.summary import Counts, FilmSummary, PhotoSummary, ScoreSummary, run_facts
from fer_infer.scoring.writers.map_writer import open_maps, with_maps_written
from fer_infer.scoring.writers.prediction_writer import PredictionWriter
from fer_infer.scoring.writers.predictions import ENDINGS, prediction_writer
from fer_infer.scoring.writers.rejects import RejectWriter

GPU_BATCHES: Final = 8
CPU_BATCHES: Final = 4
"""Batches scored by one call: a GPU overlaps copying and computing them, CPU cores share them."""

ROLES_READ: Final = ("id",)
"""Columns read besides the pixels: an invalid label must not keep a face from being scored."""

SEVERAL: Final = "photos may be several, with `faces='detect'` or `faces='whole'`"


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
        ExitStack() as stack,
    ):
        require_apart(rejects.path, (data, model))
        maps = open_maps(stack, config, (data, model), force=force)
        check_layout(
            data, split=config.split, roles=ROLES_READ, columns=config.input_columns
        )  # fails faster than loading the model
        scorer = open_model(model, config)
        with (
            read_ahead(
                lambda: predicted(lambda: batches_for(scorer, data, config), scorer, config, row_name, rows_of)
            ) as batches,
            closing(scorer),  # before the reading thread is waited for
            progress("score", None) as advance,
            prediction_writer(target)(
                stage, config.columns, scorer.card.labels, name=target, names=config.names
            ) as predictions,
        ):
            scores = (result[:3] for result in with_maps_written(batches, maps, scorer))
            counts = write_predictions(scores, predictions, rejects, scorer.card.labels, advance)
        if config.split is not None and not counts.rows:
            raise no_such_split(data, config.split, columns=config.input_columns)
        require_free(target, force=force)  # or the rejects would be renamed into place before the predictions cannot be
    if not counts.rows:
        warnings.warn(f"{data}: contains no face, so {target} contains no prediction", DataWarning, stacklevel=2)
    return ScoreSummary(
        **vars(counts),
        **run_facts(scorer, config.tta, start_s, target, maps),
        rejects=rejects.path if rejects.n else None,
    )


def write_predictions(
    batches: Iterable[tuple[Faces, NDArray[np.float32], NDArray[np.float32]]],
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
    scorer: Scorer | SaliencyModel, data: str | Path, config: InferenceConfig, *, decoders: int | None = None
) -> Iterator[Faces]:
    """Read faces in batches of a size that suits a scorer.

    Parameters
    ----------
    scorer : Scorer or SaliencyModel
        Model that will score them.
    data : str or Path
        Faces, as `fer_core.iter_faces` takes them.
    config : InferenceConfig
        Settings.
    decoders : int, optional
        Decoding threads for a GPU, by default one per core; with a CPU, one thread decodes and the others score.
    """
    if isinstance(scorer, SaliencyModel):
        rows, threads = BATCH_FACES, 1
    elif isinstance(scorer.runner, CallRunner):
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


def rows_of(faces: Faces) -> NDArray[np.int64]:
    """Return the row numbers of faces."""
    return faces.rows


def row_name(faces: Faces, face: int) -> str:
    """Return the name of a face in errors."""
    return f"{faces.source}, row {faces.rows[face]}"
