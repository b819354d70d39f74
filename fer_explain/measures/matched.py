"""Maps held to matched controls: a rank test for one map, and paired differences for a method."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core.progress import Advance
from fer_explain.measures.controls import STREAM, control_maps
from fer_explain.measures.perturbation import Curves, pixel_ranks, trace_curves

MATCHED: Final = 39
"""Controls of a map. A map that is one of them by nature beats all others in 1 of 40 draws: 2.5%, one-sided."""
FIRST: Final = 13
"""Controls that are tried first. A map that beats some of them and not others can no longer beat all, or none, so the
other controls would not change its state."""
LEVEL: Final = 1 / (MATCHED + 1)
"""Rate at which a map that is no different from its controls is called better, and the rate at which it is called
worse."""
MARGIN: Final = 1e-6
"""Difference of two scores below which neither is better; rounding alone makes such differences."""

MapState = Literal["better", "no different", "worse"]


@dataclass(frozen=True)
class Standing:
    """The rank of a map's score among those of its controls.

    Attributes
    ----------
    beaten : int
        Controls with a worse score than the map.
    beaten_by : int
        Controls with a better score than the map; ties count on neither side.
    n : int
        Controls.
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
class HeldMaps:
    """Deletion and insertion of M methods' maps of N faces, and of matched controls.

    Attributes
    ----------
    methods : tuple of str
        M names.
    deletion, insertion : ndarray of float64, shape (M, N)
        Areas under the curves of the maps, 0..1.
    control_deletion, control_insertion : ndarray of float64, shape (M, N)
        Means over each map's first `FIRST` controls.
    standings : mapping of str to tuple of Standing
        By method, N each: the rank of insertion minus deletion.
    """

    methods: tuple[str, ...]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    control_deletion: NDArray[np.float64]
    control_insertion: NDArray[np.float64]
    standings: Mapping[str, tuple[Standing, ...]]


def hold_to_controls(
    model: nn.Module,
    maps: Mapping[str, NDArray[np.float32]],
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    shares: NDArray[np.float64],
    blur_sigma: float,
    batch_size: int,
    temperature: float = 1.0,
    briefly: Collection[str] = (),
    seed: int = 0,
    advance: Advance | None = None,
) -> HeldMaps:
    """Rank each map among its controls by insertion minus deletion.

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
        Row numbers, which seed the controls: the result of a face does not depend on the others.
    shares, blur_sigma, batch_size, temperature
        As for `fer_explain.measures.perturbation.trace_curves`; map and controls use the same.
    briefly : collection of str
        Methods whose maps are held to the first controls only, which is enough for means over faces.
    seed : int
        Random seed.
    advance : callable, optional
        Called with the number of maps after each face.

    Returns
    -------
    HeldMaps

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    ModelError
        If a probability is not finite.
    """
    found = np.empty((4, len(maps), len(images)))
    standings: dict[str, list[Standing]] = {name: [] for name in maps}
    for i, row in enumerate(rows.tolist()):

        def trace(drawn: NDArray[np.float32], i: int = i, row: int = row) -> tuple[Curves, ...]:
            ranks = pixel_ranks(drawn, np.full(len(drawn), row), seed=seed)
            return trace_curves(
                model,
                images[i : i + 1],
                targets[i : i + 1],
                list(ranks[:, None]),
                shares=shares,
                blur_sigma=blur_sigma,
                batch_size=batch_size,
                temperature=temperature,
            )

        for m, (name, attributions) in enumerate(maps.items()):
            generator = np.random.default_rng([seed, row, STREAM])
            controls = control_maps(attributions[i], FIRST, generator)
            own, *others = trace(np.concatenate([attributions[i : i + 1], controls]))
            found[:2, m, i] = own.deletion_auc[0], own.insertion_auc[0]
            found[2:, m, i] = (
                np.mean([curve.deletion_auc for curve in others]),
                np.mean([curve.insertion_auc for curve in others]),
            )
            standing = _stand(own, others)
            if name not in briefly and not standing.is_decided:
                controls = control_maps(attributions[i], MATCHED - FIRST, generator)
                standing = _stand(own, [*others, *trace(controls)])
            standings[name].append(standing)
        if advance is not None:
            advance(len(maps))
    areas = dict(zip(("deletion", "insertion", "control_deletion", "control_insertion"), found, strict=True))
    return HeldMaps(tuple(maps), **areas, standings={name: tuple(each) for name, each in standings.items()})


def _stand(own: Curves, controls: list[Curves]) -> Standing:
    gains = np.array([own.gap[0] - control.gap[0] for control in controls])
    return Standing(int((gains > MARGIN).sum()), int((gains < -MARGIN).sum()), len(gains))
