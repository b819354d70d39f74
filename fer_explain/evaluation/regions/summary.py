"""Where the maps of a method lie, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer_explain.evaluation.intervals import LEAST_FACES
from fer_explain.evaluation.method_names import CONTROLS
from fer_explain.evaluation.regions.geometry import OUTSIDE
from fer_explain.evaluation.regions.shares import RegionShare

LEGEND = (
    "1.0x is the share of a map that has no preference. In parentheses: action units (AU) of the class that are seen "
    "in the region. Controls: random maps with the values, roughness and centering of each map."
)


@dataclass(frozen=True)
class RegionResults:
    """Where attribution maps lie on the faces of a data set.

    Attributes
    ----------
    shares : tuple of RegionShare
        By method, all faces before the faces of each class, and region by region.
    n : int
        Number of faces with landmarks, whose maps were measured.
    faces_per_class : mapping of str to int
        Number of these faces by the class that their maps explain.
    rows_without_landmarks : tuple of int
        Row numbers of the faces without landmarks, which were left out.
    """

    shares: tuple[RegionShare, ...]
    n: int
    faces_per_class: Mapping[str, int]
    rows_without_landmarks: tuple[int, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, the controls among them."""
        return tuple(dict.fromkeys(each.method for each in self.shares))

    def of(self, method: str, label: str | None = None) -> tuple[RegionShare, ...]:
        """Return the regions of one method and class, or of all faces."""
        return tuple(each for each in self.shares if each.method == method and each.label == label)

    def __str__(self) -> str:
        lines = [f"{self.n:,} faces with landmarks; left out without landmarks: {len(self.rows_without_landmarks):,}"]
        for method in self.methods:
            lines.append(f"{method}{' (control)' if method in CONTROLS else ''}")
            labels = [None] if method in CONTROLS else [None, *self.faces_per_class]
            lines += [f"  {describe(found)}" for label in labels if (found := self.of(method, label))]
        return "\n".join([*lines, LEGEND])


def describe(regions: Sequence[RegionShare]) -> str:
    """Describe the maps of one method and class: the regions that they prefer, and how much lies outside the face.

    Regions are preferred if the interval of their ratio lies above 1. Those whose ratio is not above that of the
    matched controls are named separately.

    Examples
    --------
    >>> from fer_explain.evaluation.intervals import Estimate
    >>> from fer_explain.evaluation.regions.shares import RegionShare
    >>> estimates = Estimate(1.8, 1.6, 2.0, 30), Estimate(1.2, 1.1, 1.3, 30), Estimate(0.6, 0.4, 0.8, 30)
    >>> describe([RegionShare("saliency", "fear", "brows", (1, 2, 4), 0.18, 0.1, *estimates)])
    'fear, 30 faces: brows (AU1+2+4) 1.8x its area'
    """
    first = regions[0]
    name = f"{first.label or 'all'}, {first.ratio.n:,} faces: "
    if first.ratio.n < LEAST_FACES:
        return f"{name}too few for intervals"
    preferred = sorted(
        (each for each in regions if each.is_preferred and each.region != OUTSIDE), key=lambda each: -each.ratio.mean
    )
    specific = [each for each in preferred if each.state == "more" or each.method in CONTROLS]
    common = [each for each in preferred if each not in specific]
    parts = [_listed(specific)] if specific else []
    if common:
        parts.append(f"{_listed(common)}, no more than controls")
    if not preferred:
        parts.append("no region above its area")
    parts += [f"outside the face {each.ratio.mean:.1f}x" for each in regions if each.region == OUTSIDE]
    return name + "; ".join(parts)


def _listed(shares: Sequence[RegionShare]) -> str:
    """Return regions with their ratios, such as ``mouth 2.0x, nose 1.4x their areas``."""
    areas = "its area" if len(shares) == 1 else "their areas"
    return f"{', '.join(map(_named, shares))} {areas}"


def _named(share: RegionShare) -> str:
    units = f" (AU{'+'.join(map(str, share.action_units))})" if share.action_units else ""
    return f"{share.region}{units} {share.ratio.mean:.1f}x"
