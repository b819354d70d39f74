"""Share of an attribution map in each region of the face, compared with the region's share of the area."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fer_core.terminal.progress import progress
from fer_explain.evaluation.controls.control_maps import STREAM, control_maps
from fer_explain.evaluation.intervals import LEAST_FACES, Answer, Estimate, estimate_ratios
from fer_explain.evaluation.method_names import CONTROLS
from fer_explain.evaluation.metrics.localization import mass_share
from fer_explain.evaluation.regions.geometry import REGIONS, partition, units_shown

State = Literal["more", "no different", "less", "too few faces"]
"""Result of the comparison with matched controls."""
STATES: Final[Mapping[Answer, State]] = {"yes": "more", "no": "less", "undecided": "no different"}


_ENDS: Final = {"": "mean", "_low": "low", "_high": "high"}
"""End of a column's name -> attribute of an estimate."""


@dataclass(frozen=True)
class RegionShare:
    """How much of the maps of one method lies in one region.

    Attributes
    ----------
    method : str
        Name of the method.
    label : str or None
        Class that the maps explain; None for the maps of all faces.
    region : str
        One of `fer_explain.evaluation.regions.geometry.REGIONS`.
    action_units : tuple of int
        Action units of the label's prototype that are seen in the region.
    share : float
        Mean fraction of the absolute values of a map that lies in the region, 0..1.
    area : float
        Mean fraction of the pixels that the region covers, 0..1.
    ratio : Estimate
        Share divided by area: 1 if the maps do not prefer the region.
    controls : Estimate or None
        The same ratio of matched controls; None for ``random`` and ``center``, which are controls themselves.
    difference : Estimate or None
        Ratio less that of the controls, by the same resamples.
    """

    method: str
    label: str | None
    region: str
    action_units: tuple[int, ...]
    share: float
    area: float
    ratio: Estimate
    controls: Estimate | None
    difference: Estimate | None

    @property
    def is_preferred(self) -> bool:
        """Whether the interval of the ratio lies above 1."""
        return self.ratio.exceeds(1.0) == "yes"

    @property
    def state(self) -> State | None:
        """Whether the ratio is more or less than that of the controls, by the interval of the difference."""
        if self.difference is None:
            return None
        return "too few faces" if self.difference.n < LEAST_FACES else STATES[self.difference.exceeds(0.0)]

    def table_row(self) -> dict[str, object]:
        """Return the results as one flat row; None where there is no value."""
        row: dict[str, object] = {"method": self.method, "is_control": self.method in CONTROLS, "class": self.label}
        row |= {"region": self.region, "action_units": "+".join(map(str, self.action_units))}
        row |= {"n": self.ratio.n, "share": self.share, "area": self.area}
        for name, value in (("ratio", self.ratio), ("controls", self.controls), ("difference", self.difference)):
            row |= {f"{name}{end}": value and getattr(value, key) for end, key in _ENDS.items()}
        return {**row, "than_controls": self.state}

    def as_json(self) -> dict[str, object]:
        """Return the results for a JSON file."""
        return {**asdict(self), "than_controls": self.state}


@dataclass(frozen=True, eq=False)
class FaceShares:
    """Shares of the maps of N faces in each region.

    Attributes
    ----------
    shares : mapping of str to ndarray of float64, shape (N, regions)
        By method, the fraction of the absolute values of each map that lies in each region.
    controls : mapping of str to ndarray of float64, shape (N, regions)
        The same, as means over the matched controls of each map; without ``random`` and ``center``.
    areas : ndarray of float64, shape (N, regions)
        Fraction of the image that each region covers.
    """

    shares: Mapping[str, NDArray[np.float64]]
    controls: Mapping[str, NDArray[np.float64]]
    areas: NDArray[np.float64]


def region_shares(attributions: NDArray[np.float32], numbers: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the fraction of each map's absolute values in each region.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    numbers : ndarray of uint8, shape (N, 48, 48)
        Regions, see `fer_explain.evaluation.regions.geometry.partition`.

    Returns
    -------
    ndarray of float64, shape (N, regions)
        0..1 with a sum of 1; for a map of zeros, the fractions of the area.

    Raises
    ------
    ConfigError
        If a map is not finite or not of shape (48, 48).
    """
    return np.stack([mass_share(attributions, numbers == region) for region in range(len(REGIONS))], axis=1)


def measure_shares(
    maps: Mapping[str, NDArray[np.float32]],
    landmarks: NDArray[np.float64],
    rows: NDArray[np.int64],
    *,
    controls: int,
    seed: int = 0,
) -> FaceShares:
    """Measure how much of each map, and of its matched controls, lies in each region.

    Parameters
    ----------
    maps : mapping of str to ndarray of float32, shape (N, 48, 48)
        Maps of each method.
    landmarks : ndarray of float64, shape (N, 5, 2)
        Landmarks of the faces in pixels, see `fer_explain.evaluation.regions.geometry.partition`.
    rows : ndarray of int64, shape (N,)
        Row numbers, which seed the controls together with `seed`.
    controls : int
        Number of matched controls of each map.
    seed : int
        Random seed.

    Returns
    -------
    FaceShares

    Raises
    ------
    ConfigError
        If a map is not finite or not of shape (48, 48), or landmarks are not finite.
    """
    numbers = partition(landmarks)
    shares = {method: region_shares(attributions, numbers) for method, attributions in maps.items()}
    compared = [method for method in maps if method not in CONTROLS]
    matched = {method: np.empty(shares[method].shape) for method in compared}
    with progress("control maps", len(compared) * len(rows), "maps") as advance:
        for method in compared:
            for i, row in enumerate(rows.tolist()):
                drawn = control_maps(maps[method][i], controls, np.random.default_rng([seed, row, STREAM]))
                matched[method][i] = region_shares(drawn, np.broadcast_to(numbers[i], drawn.shape)).mean(axis=0)
                advance(1)
    areas = np.stack([(numbers == region).mean(axis=(1, 2)) for region in range(len(REGIONS))], axis=1)
    return FaceShares(shares, matched, areas)


def compare_regions(
    measured: FaceShares, classes: NDArray[np.int64], labels: Sequence[str], *, seed: int = 0
) -> list[RegionShare]:
    """Estimate the ratio of share and area in each region, for all faces and for those of each class.

    The ratio is that of the mean share and the mean area, so that a region of which a face shows only a few pixels has
    little weight. Groups of fewer than two faces, and regions that no face of a group shows, are omitted.

    Parameters
    ----------
    measured : FaceShares
        Shares of N faces.
    classes : ndarray of int64, shape (N,)
        Class of each face that its maps explain.
    labels : sequence of str
        Names of the classes.
    seed : int
        Random seed of the resamples.

    Returns
    -------
    list of RegionShare
        By method, all faces before the classes, and regions in the order of `REGIONS`.
    """
    groups: list[tuple[str | None, NDArray[np.intp]]] = [(None, np.arange(len(classes)))]
    groups += [(label, np.flatnonzero(classes == c)) for c, label in enumerate(labels)]
    found: list[RegionShare] = []
    for label, faces in groups:
        for region in range(len(REGIONS)):
            area = measured.areas[faces, region]
            if len(faces) > 1 and area.any():
                own = {method: values[faces, region] for method, values in measured.shares.items()}
                matched = {method: values[faces, region] for method, values in measured.controls.items()}
                found += _compare(label, REGIONS[region], own, matched, area, seed)
    methods = list(measured.shares)
    return sorted(found, key=lambda each: methods.index(each.method))


def _compare(
    label: str | None,
    region: str,
    shares: Mapping[str, NDArray[np.float64]],
    controls: Mapping[str, NDArray[np.float64]],
    area: NDArray[np.float64],
    seed: int,
) -> list[RegionShare]:
    """Compare the methods in one region, by shares and areas (N,) of the faces of one label."""
    differences = [shares[method] - controls[method] for method in controls]
    ratios = estimate_ratios(np.array([*shares.values(), *controls.values(), *differences]), area, seed=seed)
    own, others = ratios[: len(shares)], ratios[len(shares) :]
    matched = dict(zip(controls, others[: len(controls)], strict=True))
    more = dict(zip(controls, others[len(controls) :], strict=True))
    return [
        RegionShare(
            method=method,
            label=label,
            region=region,
            action_units=() if label is None else units_shown(label, region),
            share=float(values.mean()),
            area=float(area.mean()),
            ratio=ratio,
            controls=matched.get(method),
            difference=more.get(method),
        )
        for (method, values), ratio in zip(shares.items(), own, strict=True)
    ]
