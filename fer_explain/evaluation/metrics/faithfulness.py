"""Faithfulness of given maps: deletion, insertion, infidelity and sparsity, next to matched controls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, PIXELS, ConfigError
from fer_core.terminal.progress import Advance
from fer_explain.evaluation.compared_maps import require_maps
from fer_explain.evaluation.comparison import Better
from fer_explain.evaluation.controls import STREAM, control_maps
from fer_explain.evaluation.matched import MATCHED
from fer_explain.evaluation.metrics.deletion_insertion import Curves, even_shares, pixel_ranks, trace_curves
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
"""Score -> which values are the more faithful. A map can be sparse, or hold still, and be wrong."""
CONTROL_MAPS: Final = 300
"""Control maps per method that are enough to average over, shared out among the faces."""


@dataclass(frozen=True)
class FaithfulnessConfig:
    """How faithfulness is measured."""

    steps: int = 16
    """Steps of deletion and of insertion, each of 2304 / steps pixels."""
    blur_sigma: float = 6.0
    """Of the face that insertion begins with, in pixels: no more than its light and dark is left."""
    squares: int = 64
    """Patches removed from each face for infidelity."""
    square_side: int = 12
    """Of a patch, in pixels: about an eye or half a mouth."""
    controls: int | None = None
    """Control maps per face and method; by default as many as make 300 per method, at least 1 and at most 39."""
    sensitivity_faces: int = 20
    """Faces that max-sensitivity is measured on, spread over all; 0 for none. Each costs `sensitivity_samples` maps."""
    sensitivity_samples: int = 5
    """Changed faces for each of them."""
    sensitivity_radius: int = 5
    """Largest change of a pixel, in gray levels; 5 of 255 are hard to see."""
    batch_size: int = 32
    """Images a forward pass; it changes speed and memory, not the results."""
    seed: int = 0
    """Of sample, patches, noise, the order of equal pixels and the resamples."""

    def __post_init__(self) -> None:
        lowest = {"sensitivity_faces": 0, "seed": 0}
        for name in asdict(self):
            low = lowest.get(name, 1)
            if getattr(self, name) is not None and not low <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: expected at least {low}, found {getattr(self, name)}")
        if self.sensitivity_faces == 1:
            raise ConfigError("sensitivity_faces: expected none, or at least 2 to estimate from, found 1")
        for name, high in (("steps", PIXELS), ("square_side", IMAGE_SIZE)):
            if getattr(self, name) > high:
                raise ConfigError(f"{name}: expected at most {high}, found {getattr(self, name)}")

    def count_controls(self, faces: int) -> int:
        """Return how many control maps are drawn for each of so many faces, per method."""
        return self.controls or min(max(math.ceil(CONTROL_MAPS / max(faces, 1)), 1), MATCHED)

    def count_passes(self, methods: int, faces: int) -> int:
        """Return how many images `measure_faithfulness` passes through the network."""
        maps = methods * (1 + self.count_controls(faces))
        return faces * (maps * 2 * (self.steps - 1) + self.squares + 1 + 3 * methods)


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Every score of every face by every method.

    Attributes
    ----------
    methods : tuple of str
        M names, the controls among them.
    rows : ndarray of int64, shape (N,)
        Row numbers of the faces.
    curves : mapping of str to Curves
        Of each method.
    scores : mapping of str to ndarray of float64, shape (M, N)
        By the names in `SCORES`; NaN where a face was left out.
    controls : mapping of str to ndarray of float64, shape (M, N)
        Mean score of each map's matched controls, for the scores that are better one way.
    """

    methods: tuple[str, ...]
    rows: NDArray[np.int64]
    curves: Mapping[str, Curves]
    scores: Mapping[str, NDArray[np.float64]]
    controls: Mapping[str, NDArray[np.float64]]

    def of(self, method: str) -> dict[str, NDArray[np.float64]]:
        """Return the scores of each face by one method, (N,) each."""
        place = self.methods.index(method)
        return {name: values[place] for name, values in self.scores.items()}


def measure_faithfulness(
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
    """Measure maps, and matched controls of each, by deletion, insertion, infidelity and sparsity.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes); run in evaluation mode, left in its own.
    maps : mapping of str to ndarray of float32, shape (N, 48, 48)
        Maps of each method.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face that its maps explain.
    rows : ndarray of int64, shape (N,)
        Row numbers, which seed what is random: the scores of a face do not depend on the others.
    config : FaithfulnessConfig, optional
        AttributionConfig.
    temperature : float
        By which the scorer divides logits before the softmax.
    advance : callable, optional
        Called with the number of images passed; `FaithfulnessConfig.count_passes` tells how many there will be.

    Returns
    -------
    Faithfulness
        All scores but ``max_sensitivity``, which needs the methods, not their maps.

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
    curves: dict[str, Curves] = {}
    scores = {name: np.empty((len(maps), len(rows))) for name, better in SCORES.items() if better is not None}
    controls = {name: np.empty((len(maps), len(rows))) for name in scores}
    for place, (method, attributions) in enumerate(maps.items()):
        try:
            drawn = _with_controls(attributions, rows, count, config.seed)
            ranks = [pixel_ranks(each, rows, seed=config.seed) for each in drawn]
        except ConfigError as error:
            raise ConfigError(f"{method}: {error}") from None
        traced = trace_curves(
            model,
            images,
            targets,
            ranks,
            shares=even_shares(config.steps),
            blur_sigma=config.blur_sigma,
            batch_size=config.batch_size,
            temperature=temperature,
            advance=advance,
        )
        curves[method] = traced[0]
        found = {
            "deletion_auc": np.stack([curve.deletion_auc for curve in traced]),
            "insertion_auc": np.stack([curve.insertion_auc for curve in traced]),
            RANKED_BY: np.stack([curve.gap for curve in traced]),
            "infidelity": np.stack([infidelity(each, removed, drops) for each in drawn]),
        }
        for name, values in found.items():
            scores[name][place], controls[name][place] = values[0], values[1:].mean(axis=0)
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
