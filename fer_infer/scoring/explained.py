"""Predictions, with attribution maps in the same pass if they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError
from fer_infer.attribution.maps import AttributionMaps, attributions_of
from fer_infer.config import ScoreConfig
from fer_infer.saliency import PREDICTED, SaliencyModel
from fer_infer.scorer import Scorer
from fer_infer.scoring.concurrent_calls import B, concurrently, naming_faces, scored

if TYPE_CHECKING:
    from fer_infer.scoring.photo_search import HasFace

BATCH_FACES: Final = 64
"""Faces that are explained by one call, which bounds memory."""


Result = tuple[B, NDArray[np.float32], NDArray[np.float32], AttributionMaps | None]
"""A batch with its logits and probabilities, and its maps if they were asked for."""


class HasRows(Protocol):
    """A batch of rows, some of which have a face."""

    @property
    def rows(self) -> Sequence[HasFace]:
        """Rows of the table."""


def open_model(model: str | Path, config: ScoreConfig) -> Scorer | SaliencyModel:
    """Open the graph that predicts, or the one that also explains; errors are those of `Scorer` and `SaliencyModel`."""
    if config.explain is None:
        return Scorer(model, config.device, config.precision, threads=config.threads)
    explainer = SaliencyModel(model, config.device, threads=config.threads)
    if config.target != "predicted" and config.target not in explainer.card.labels:
        known = ", ".join(explainer.card.labels)
        raise ConfigError(f"expected predicted or one of {known}, found {config.target!r}", parameter="target")
    return explainer


def predicted(
    start: Callable[[], Iterator[B]],
    model: Scorer | SaliencyModel,
    config: ScoreConfig,
    name_of: Callable[[B, int], str],
    rows_of: Callable[[B], NDArray[np.int64]],
) -> Iterator[Result[B]]:
    """Predict, and explain if `model` is a `SaliencyModel`, batches that another thread reads.

    Parameters
    ----------
    start : callable
        Returns the batches; called in the reading thread.
    model : Scorer or SaliencyModel
        Model.
    config : ScoreConfig
        Settings.
    name_of : callable
        Returns the name of a face of a batch in errors.
    rows_of : callable
        Returns the row numbers of the faces of a batch; called for each batch in order.

    Yields
    ------
    batch, logits, probabilities, maps
        Batches in order.

    Raises
    ------
    DataError, ModelError, ConfigError
        As raised by `start` and the model. If a logit is not finite, the error names the face.
    """
    if isinstance(model, Scorer):
        for batch, logits, probabilities in scored(start, model, config, name_of):
            yield batch, logits, probabilities, None
        return
    target = target_of(config, model)

    def run(numbered: tuple[B, NDArray[np.int64]]) -> Result[B]:
        batch, rows = numbered
        with naming_faces(model.path, lambda face: name_of(batch, face)):
            maps = attributions_of(model, batch.images, target, rows=rows, config=config)
        return batch, maps.logits, maps.probabilities, maps

    yield from concurrently(lambda: ((batch, rows_of(batch)) for batch in start()), run)


def target_of(config: ScoreConfig, model: SaliencyModel) -> int:
    """Return the class to explain, or -1 for the predicted one."""
    return PREDICTED if config.target == "predicted" else model.card.labels.index(config.target)


class RowNumbers:
    """Counts the rows of a table of photos or frames: the row of the header is 1.

    Called with a batch, it returns the numbers of the rows that have a face, int64 (N,).
    """

    def __init__(self) -> None:
        self._row = 1

    def __call__(self, batch: HasRows) -> NDArray[np.int64]:
        """Return the row numbers of the faces of the next batch."""
        first = self._row + 1
        self._row += len(batch.rows)
        return np.array([first + place for place, row in enumerate(batch.rows) if row.face is not None], np.int64)
