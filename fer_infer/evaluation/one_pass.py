"""Score the labeled faces of a data set and find its Training faces, in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, DataError, Faces, iter_faces
from fer_core.faces import no_split_column
from fer_core.io.crop import Crop
from fer_core.io.read_ahead import read_ahead
from fer_core.io.reader import no_such_split, splits_of_folder, threads_for
from fer_core.outputs.rejects import rejects_text
from fer_core.terminal.progress import progress
from fer_infer.config import EvaluationConfig
from fer_infer.evaluation.metrics import Evaluation, evaluate_predictions
from fer_infer.evaluation.seen_in_training import TrainingFaces, digests_of
from fer_infer.photos.crops import crop_for
from fer_infer.tta import average_views

BATCH_ROWS: Final = 1024
"""Faces read at once; the model runs them in batches of its own size."""

Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Maps images, uint8 (N, 48, 48), to probabilities of the expressions, float32 (N, classes)."""


class DataEvaluation(NamedTuple):
    """Evaluation of a data set: with augmentation, without it (None if there was none), and the rejected rows."""

    evaluation: Evaluation
    plain: Evaluation | None
    rejected: tuple[DataError, ...]


class _Scored:
    """Labels, probabilities and digests of the faces scored so far."""

    def __init__(self) -> None:
        self.n = 0
        self.labels: list[NDArray[np.int64]] = []
        self.plain: list[NDArray[np.float32]] = []
        self.averaged: list[NDArray[np.float32]] = []
        self.digests: list[bytes] = []

    def add(self, faces: Faces, score: Score, tta: str) -> None:
        self.n += len(faces)
        self.labels.append(faces.require_labels())
        plain, averaged = average_views(score, faces.images, tta)
        self.plain.append(plain)
        self.averaged.append(averaged)
        self.digests += digests_of(faces.images)

    def evaluate(self, probabilities: list[NDArray[np.float32]], known: TrainingFaces) -> Evaluation:
        seen = known.seen_digests(self.digests) if len(known) else None
        joined = np.concatenate(self.labels), np.concatenate(probabilities)
        return evaluate_predictions(*joined, EXPRESSIONS, in_training=seen)


def evaluate_data(
    data: str | Path, score: Score, config: EvaluationConfig, *, training: str | Path | None = None
) -> DataEvaluation:
    """Evaluate a model on the labeled faces of a data set.

    Parameters
    ----------
    data : str or Path
        Faces with labels, as `fer_core.iter_faces` takes them.
    score : callable
        Returns probabilities, float32 (N, classes), for images, uint8 (N, 48, 48).
    config : EvaluationConfig
        Settings.
    training : str or Path, optional
        Data set with the Training faces; by default the Training rows of `data`, if it has any.

    Raises
    ------
    DataError
        If the data has no labels, no face, or no face of the split.
    """
    crop = crop_for(config.faces)
    known = TrainingFaces() if training is None else TrainingFaces.read(training, on_error=config.on_error, crop=crop)
    scored = _Scored()
    rejected: list[DataError] = []
    # Training rows may follow the last evaluated row, except in a folder, of which they are read first.
    in_order = config.split is not None and bool(splits_of_folder(data))
    with (
        read_ahead(lambda: _batches(data, config, crop, with_training=training is None)) as batches,
        progress("evaluate", None) as advance,
    ):
        for faces in batches:
            rejected += faces.rejected
            if training is None and faces.splits is not None:
                known.add(faces.images[faces.splits == "Training"])
            chosen = _chosen(faces, config, scored.n)
            if len(chosen):
                scored.add(chosen, score, config.tta)
                advance(len(chosen))
            needs_no_more = training is not None or faces.splits is None or in_order
            if scored.n == config.limit and needs_no_more:
                break
    if not scored.n:
        raise _nothing_to_evaluate(data, config, crop, rejected)
    plain = None if config.tta == "none" else scored.evaluate(scored.plain, known)
    return DataEvaluation(scored.evaluate(scored.averaged, known), plain, tuple(rejected))


def _batches(data: str | Path, config: EvaluationConfig, crop: Crop | None, *, with_training: bool) -> Iterator[Faces]:
    """Read each face once; in a folder that states the splits of its files, open only those that are needed."""
    splits: list[str | None] = [None]
    if config.split is not None and (stated := splits_of_folder(data)):
        training = ["Training"] if with_training and "Training" in stated else []
        splits = [*training, *({config.split_name} - set(training))]
    roles = ("label", "split") if with_training or config.split is not None else ("label",)
    for split in splits:
        yield from iter_faces(
            data,
            batch_rows=BATCH_ROWS,
            split=split,
            on_error=config.on_error,
            threads=threads_for(crop),
            roles=roles,
            columns=config.input_columns,
            crop=crop,
        )


def _chosen(faces: Faces, config: EvaluationConfig, scored: int) -> Faces:
    """Return the faces of a batch that are evaluated."""
    if config.split is not None:
        if faces.splits is None:
            raise no_split_column(faces.source, config.split_name)
        faces = faces.take(faces.splits == config.split_name)
    return faces if config.limit is None else faces.take(slice(config.limit - scored))


def _nothing_to_evaluate(
    data: str | Path, config: EvaluationConfig, crop: Crop | None, rejected: list[DataError]
) -> DataError:
    if config.split is not None:
        return no_such_split(data, config.split_name, columns=config.input_columns, crop=crop)
    rows = f"; {rejects_text(rejected, None)}" if rejected else ""
    return DataError(str(data), f"has no row to evaluate{rows}")
