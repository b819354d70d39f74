"""Faithfulness of attribution maps and their matched controls: deletion, insertion, infidelity and sparsity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import ConfigError
from fer_core.terminal.progress import Advance
from fer_explain.config import FaithfulnessConfig
from fer_explain.evaluation.compared_maps import require_maps
from fer_explain.evaluation.comparison import Better
from fer_explain.evaluation.controls.control_maps import STREAM, control_maps
from fer_explain.evaluation.metrics.deletion_insertion import (
    Curves,
    CurveSettings,
    CurveTracer,
    even_shares,
    pixel_ranks,
)
from fer_explain.evaluation.metrics.infidelity import draw_squares, infidelity, logit_drops
from fer_explain.evaluation.metrics.sparsity import gini

RANKED_BY: Final = "insertion_minus_deletion"

SCORES: Final[Mapping[str, Better]] = {
    "deletion_auc": "lower",
    "insertion_auc": "higher",
    RANKED_BY: "higher",
    "infidelity": "lower",
    "gini": None,
    "max_sensitivity": None,
}
"""Score -> which values are more faithful. A map can be sparse or robust and still be wrong."""


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Scores of N faces by M methods.

    Attributes
    ----------
    methods : tuple of str
        Names of the methods and controls.
    rows : ndarray of int64, shape (N,)
        Row numbers of the faces.
    curves : mapping of str to Curves
        Deletion and insertion curves of each method.
    scores : mapping of str to ndarray of float64, shape (M, N)
        By the names in `SCORES`; NaN for faces that were left out.
    controls : mapping of str to ndarray of float64, shape (M, N)
        Mean score of each map's matched controls, for scores with a better direction.
    """

    methods: tuple[str, ...]
    rows: NDArray[np.int64]
    curves: Mapping[str, Curves]
    scores: Mapping[str, NDArray[np.float64]]
    controls: Mapping[str, NDArray[np.float64]]

    def of(self, method: str) -> dict[str, NDArray[np.float64]]:
        """Return the scores of each face by one method, (N,) each."""
        index = self.methods.index(method)
        return {name: values[index] for name, values in self.scores.items()}


def measure_maps(
    model: nn.Module,
    maps: Mapping[str, NDArray[np.float32]],
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    config: FaithfulnessConfig | None = None,
    *,
    temperature: float = 1.0,
    advance: Advance | None = None,
) -> Faithfulness:
    """Measure the faithfulness of maps and of matched controls of each.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its mode is
        restored.
    maps : mapping of str to ndarray of float32, shape (N, 48, 48)
        Maps of each method.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face that its maps explain.
    rows : ndarray of int64, shape (N,)
        Row numbers, which seed random numbers: the scores of a face do not depend on the other faces.
    config : FaithfulnessConfig, optional
        AttributionConfig.
    temperature : float
        Divisor of the logits before the softmax.
    advance : callable, optional
        Called with the number of images scored; `FaithfulnessConfig.count_passes` returns their total.

    Returns
    -------
    Faithfulness
        All scores except ``max_sensitivity``, which needs the methods, not their maps.

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    ModelError
        If a probability is not finite.
    """
    config = config or FaithfulnessConfig()
    removed = draw_squares(rows, squares=config.squares, side=config.square_side, seed=config.seed)
    drops = logit_drops(model, images, targets, removed, batch_size=config.batch_size, advance=advance)
    count = config.count_controls(len(rows))
    settings = CurveSettings(even_shares(config.steps), config.blur_sigma, config.batch_size, temperature)
    tracer = CurveTracer(model, images, targets, settings, advance=advance)
    traced_faces = np.tile(np.arange(len(rows)), 1 + count)
    curves: dict[str, Curves] = {}
    scores = {name: np.empty((len(maps), len(rows))) for name, better in SCORES.items() if better is not None}
    controls = {name: np.empty((len(maps), len(rows))) for name in scores}
    for m, (method, attributions) in enumerate(maps.items()):
        try:
            drawn = _with_controls(attributions, rows, count, config.seed)
            ranks = np.concatenate([pixel_ranks(each, rows, seed=config.seed) for each in drawn])
        except ConfigError as error:
            raise ConfigError(f"{method}: {error}") from None
        traced = tracer.trace(traced_faces, ranks)
        curves[method] = traced.take(slice(len(rows)))
        found = {
            "deletion_auc": traced.deletion_auc.reshape(1 + count, -1),
            "insertion_auc": traced.insertion_auc.reshape(1 + count, -1),
            RANKED_BY: traced.gap.reshape(1 + count, -1),
            "infidelity": np.stack([infidelity(each, removed, drops) for each in drawn]),
        }
        for name, values in found.items():
            scores[name][m], controls[name][m] = values[0], values[1:].mean(axis=0)
    sparsity = np.stack([gini(attributions) for attributions in maps.values()])
    return Faithfulness(tuple(maps), rows, curves, {**scores, "gini": sparsity}, controls)


def _with_controls(
    attributions: NDArray[np.float32], rows: NDArray[np.int64], count: int, seed: int
) -> NDArray[np.float32]:
    """Return maps and their controls, (1 + count, N, 48, 48)."""
    require_maps(attributions)
    drawn = np.empty((1 + count, *attributions.shape), np.float32)
    drawn[0] = attributions
    for i, row in enumerate(rows.tolist()):
        drawn[1:, i] = control_maps(attributions[i], count, np.random.default_rng([seed, row, STREAM]))
    return drawn
