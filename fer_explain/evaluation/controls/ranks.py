"""Maps compared with matched controls: a rank test for one map, and paired differences for a method."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces
from fer_core.terminal.progress import Advance
from fer_explain.config import CONTROLS_PER_MAP, CONTROLS_PER_METHOD
from fer_explain.evaluation.controls.control_maps import STREAM, control_maps
from fer_explain.evaluation.metrics.deletion_insertion import CurveSettings, CurveTracer, pixel_ranks

MOST_FIRST: Final = 20
"""Largest number of controls that every map is compared with first."""
ROUND: Final = 5
"""Number of controls that a map which beats all or none of the controls so far is compared with next."""
FACES_AT_ONCE: Final = 16
"""Number of faces whose maps and controls are held in memory."""
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
        Means over the first controls of each map.
    ranks : mapping of str to tuple of ControlRank
        By method, the rank of each map by insertion minus deletion.
    first : int
        Number of controls that every map was compared with first.
    """

    methods: tuple[str, ...]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    control_deletion: NDArray[np.float64]
    control_insertion: NDArray[np.float64]
    ranks: Mapping[str, tuple[ControlRank, ...]]
    first: int

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

    Every map is first compared with as many controls as give about `CONTROLS_PER_METHOD` per method. A map that beats
    some of its controls and not others is no different, whatever further controls would show. The others are compared
    with more, round by round, up to `CONTROLS_PER_MAP`. This is a sequential Monte Carlo test (Besag and Clifford 1991,
    Sequential Monte Carlo p-values) and gives each map the state that all its controls would give it.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its mode is
        restored.
    maps : mapping of str to ndarray of float32, shape (N, 48, 48)
        Maps of each method.
    faces : Faces
        N faces. Their row numbers seed the controls: the state of a map does not depend on the other faces.
    targets : ndarray of int64, shape (N,)
        The class of each face that its maps explain.
    settings : CurveSettings
        Settings of the curves of maps and controls.
    briefly : collection of str
        Methods whose maps are compared only with the first controls, which is enough for means over faces.
    seed : int
        Random seed.
    advance : callable, optional
        Called with the number of maps after each group of faces.

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
    first = first_controls(len(faces))
    areas = np.empty((4, len(maps), len(faces)))
    ranks = {name: list[ControlRank]() for name in maps}
    for start in range(0, len(faces), FACES_AT_ONCE):
        group = slice(start, start + FACES_AT_ONCE)
        tested = [
            _TestedMap(i, name, attributions[group][i], np.random.default_rng([seed, row, STREAM]))
            for i, row in enumerate(faces.rows[group].tolist())
            for name, attributions in maps.items()
        ]
        tracer = CurveTracer(model, faces.images[group], targets[group], settings)
        _trace_first(tracer, tested, first, faces.rows[group], seed)
        for m in range(len(maps)):
            areas[:, m, group] = np.transpose([each.areas for each in tested[m :: len(maps)]])
        undecided = [each for each in tested if each.name not in briefly]
        while undecided := [each for each in undecided if not each.is_decided]:
            _compare_next(tracer, undecided, faces.rows[group], seed)
        for each in tested:
            ranks[each.name].append(each.rank)
        if advance is not None:
            advance(len(tested))
    names = ("deletion", "insertion", "control_deletion", "control_insertion")
    ranked = {name: tuple(each) for name, each in ranks.items()}
    return ControlComparison(tuple(maps), **dict(zip(names, areas, strict=True)), ranks=ranked, first=first)


def first_controls(faces: int) -> int:
    """Return the number of controls that every map of `faces` faces is compared with first."""
    return min(max(math.ceil(CONTROLS_PER_METHOD / max(faces, 1)), ROUND), MOST_FIRST)


@dataclass(eq=False)
class _TestedMap:
    """A map and its controls so far.

    Attributes
    ----------
    face : int
        Position of its face.
    name : str
        Its method.
    attributions : ndarray of float32, shape (48, 48)
        Its values.
    generator : numpy.random.Generator
        Source of its controls.
    areas : tuple of float
        Deletion and insertion AUC of the map, and their means over the first controls.
    signs : list of int
        For each control: 1 if the map is better, -1 if the control is, else 0.
    """

    face: int
    name: str
    attributions: NDArray[np.float32]
    generator: np.random.Generator
    areas: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    signs: list[int] = field(default_factory=list)

    @property
    def rank(self) -> ControlRank:
        """Rank of the map among its controls so far."""
        return ControlRank(self.signs.count(1), self.signs.count(-1), len(self.signs))

    @property
    def is_decided(self) -> bool:
        """Whether more controls could not change the state, or all have been compared."""
        return self.rank.is_decided or len(self.signs) == CONTROLS_PER_MAP


def _trace_first(
    tracer: CurveTracer, tested: Sequence[_TestedMap], controls: int, rows: NDArray[np.int64], seed: int
) -> None:
    """Trace the curves of maps and of their first controls, all of them together."""
    maps = [
        np.concatenate([each.attributions[None], control_maps(each.attributions, controls, each.generator)])
        for each in tested
    ]
    faces = np.repeat([each.face for each in tested], 1 + controls)
    curves = tracer.trace(faces, pixel_ranks(np.concatenate(maps), rows[faces], seed=seed))
    both = np.stack([curves.deletion_auc, curves.insertion_auc]).reshape(2, len(tested), 1 + controls)
    for each, (deletion, insertion) in zip(tested, both.transpose(1, 0, 2), strict=True):
        each.areas = (deletion[0], insertion[0], deletion[1:].mean(), insertion[1:].mean())
        gains = (insertion - deletion)[0] - (insertion - deletion)[1:]
        each.signs += ((gains > MARGIN).astype(int) - (gains < -MARGIN)).tolist()


def _compare_next(tracer: CurveTracer, undecided: Sequence[_TestedMap], rows: NDArray[np.int64], seed: int) -> None:
    """Compare maps with their next controls, all of them together."""
    count = min(ROUND, CONTROLS_PER_MAP - len(undecided[0].signs))
    controls = [control_maps(each.attributions, count, each.generator) for each in undecided]
    faces = np.repeat([each.face for each in undecided], count)
    own = np.repeat([each.areas[1] - each.areas[0] for each in undecided], count)
    ranks = pixel_ranks(np.concatenate(controls), rows[faces], seed=seed)
    signs = tracer.compare(faces, ranks, own, MARGIN).reshape(-1, count)
    for each, compared in zip(undecided, signs.tolist(), strict=True):
        each.signs += compared
