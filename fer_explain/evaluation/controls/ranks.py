"""Maps compared with matched controls: a rank test for one map, and paired differences for a method."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.terminal.progress import Advance
from fer_explain.config import CONTROLS_PER_MAP
from fer_explain.evaluation.controls.control_maps import STREAM, control_maps
from fer_explain.evaluation.metrics.deletion_insertion import Curves, CurveSettings, pixel_ranks, trace_curves

FIRST: Final = 20
"""Number of controls that every map is compared with first. If a map beats some of them and not others, more controls
cannot change its state and are not drawn."""
LEVEL: Final = 1 / (CONTROLS_PER_MAP + 1)
"""Error rate: probability that a map that is like its controls is called better, and that it is called worse."""
MARGIN: Final = 1e-6
"""Difference of two scores up to which neither is better; rounding causes such differences."""

MapState = Literal["better", "no different", "worse"]


@dataclass(frozen=True)
class ControlRank:
    """The rank of a map's score among those of its controls.

    Attributes
    ----------
    beaten : int
        Number of controls with a worse score than the map.
    beaten_by : int
        Number of controls with a better score than the map; ties are not counted.
    n : int
        Number of controls.
    """

    beaten: int
    beaten_by: int
    n: int

    @property
    def state(self) -> MapState:
        """Result of the rank test: better if the map beats all controls, worse if all beat it, at level `LEVEL`."""
        if 1 / (self.n + 1) > LEVEL:
            return "no different"
        return "better" if self.beaten == self.n else "worse" if self.beaten_by == self.n else "no different"

    @property
    def is_decided(self) -> bool:
        """Whether more controls could not change the state."""
        return self.beaten < self.n and self.beaten_by < self.n


@dataclass(frozen=True, eq=False)
class ControlComparison:
    """Deletion and insertion of the maps of N faces by M methods, and of matched controls.

    Attributes
    ----------
    methods : tuple of str
        Names of M methods.
    deletion, insertion : ndarray of float64, shape (M, N)
        Areas under the curves of the maps, 0..1.
    control_deletion, control_insertion : ndarray of float64, shape (M, N)
        Means over the first `FIRST` controls of each map.
    ranks : mapping of str to tuple of ControlRank
        By method, the rank of each map by insertion minus deletion.
    """

    methods: tuple[str, ...]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    control_deletion: NDArray[np.float64]
    control_insertion: NDArray[np.float64]
    ranks: Mapping[str, tuple[ControlRank, ...]]

    @property
    def gains(self) -> NDArray[np.float64]:
        """Insertion minus deletion, less that of the controls: float64 (M, N), positive if the map is better."""
        return self.insertion - self.deletion - (self.control_insertion - self.control_deletion)


def compare_with_controls(
    model: nn.Module,
    maps: Mapping[str, NDArray[np.float32]],
    faces: Faces,
    targets: NDArray[np.int64],
    settings: CurveSettings,
    *,
    briefly: Collection[str] = (),
    seed: int = 0,
    advance: Advance | None = None,
) -> ControlComparison:
    """Rank each map among its controls by insertion minus deletion.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its mode is
        restored.
    maps : mapping of str to ndarray of float32, shape (N, 48, 48)
        Maps of each method.
    faces : Faces
        N faces. Their row numbers seed the controls: the result of a face does not depend on the other faces.
    targets : ndarray of int64, shape (N,)
        The class of each face that its maps explain.
    settings : CurveSettings
        Settings of the curves of maps and controls.
    briefly : collection of str
        Methods whose maps are compared only with the first controls, which is enough for means over faces.
    seed : int
        Random seed.
    advance : callable, optional
        Called with the number of maps after each face.

    Returns
    -------
    ControlComparison

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    ModelError
        If a probability is not finite.
    """
    areas = np.empty((4, len(maps), len(faces)))
    ranks: dict[str, list[ControlRank]] = {name: [] for name in maps}
    for i, row in enumerate(faces.rows.tolist()):
        for m, (name, attributions) in enumerate(maps.items()):
            generator = np.random.default_rng([seed, row, STREAM])

            def trace_maps(drawn: NDArray[np.float32], i: int = i, row: int = row) -> tuple[Curves, ...]:
                order = pixel_ranks(drawn, np.full(len(drawn), row), seed=seed)
                return trace_curves(model, faces.images[i : i + 1], targets[i : i + 1], list(order[:, None]), settings)

            controls = control_maps(attributions[i], FIRST, generator)
            own, *others = trace_maps(np.concatenate([attributions[i : i + 1], controls]))
            areas[:, m, i] = [*_areas([own]), *_areas(others)]
            rank = _rank(own, others)
            if name not in briefly and not rank.is_decided:
                controls = control_maps(attributions[i], CONTROLS_PER_MAP - FIRST, generator)
                rank = _rank(own, [*others, *trace_maps(controls)])
            ranks[name].append(rank)
        if advance is not None:
            advance(len(maps))
    names = ("deletion", "insertion", "control_deletion", "control_insertion")
    ranked = {name: tuple(each) for name, each in ranks.items()}
    return ControlComparison(tuple(maps), **dict(zip(names, areas, strict=True)), ranks=ranked)


def _areas(curves: list[Curves]) -> tuple[float, float]:
    """Return mean deletion and insertion AUC of maps of one face."""
    deletion, insertion = ([getattr(curve, name)[0] for curve in curves] for name in ("deletion_auc", "insertion_auc"))
    return float(np.mean(deletion)), float(np.mean(insertion))


def _rank(own: Curves, controls: list[Curves]) -> ControlRank:
    gains = np.array([own.gap[0] - control.gap[0] for control in controls])
    return ControlRank(int((gains > MARGIN).sum()), int((gains < -MARGIN).sum()), len(gains))
