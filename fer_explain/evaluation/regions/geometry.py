"""Divide a face into regions by its landmarks, and name the action units that each region shows.

Lengths are multiples of the distance between the eyes. The origin is the middle between the eyes; u points to the
person's left eye, and v points down, perpendicular to u. The regions therefore follow the position, size and roll of a
face. The nose is anchored at its tip and the mouth at its corners, so that these two also follow a face that is turned
or an expression that moves them. The head is an ellipse.

The constants were set by eye on the mean of FER2013's aligned faces. The parts of drawn faces are known exactly, and a
test compares the regions with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.synthetic.drawn_faces import ACTION_UNITS

OUTSIDE: Final = "outside"
REGIONS: Final = ("forehead", "brows", "eyes", "nose", "cheeks", "mouth", "chin", OUTSIDE)
"""Names of the regions, in the order of their numbers; `outside` is everything around the face."""

UNITS_OF_REGION: Final[Mapping[str, tuple[int, ...]]] = {
    "brows": (1, 2, 4),
    "eyes": (5, 7),
    "nose": (9,),
    "cheeks": (6,),
    "mouth": (12, 15, 16, 20, 23, 26),
}
"""Region -> action units of the prototypes in `fer_core.synthetic.drawn_faces.ACTION_UNITS` that are seen mainly in it
(Ekman and Friesen 1978; Ekman, Friesen and Hager 2002, Facial Action Coding System)."""

HEAD_CENTER: Final = 0.4
HEAD_WIDTH: Final = 1.1
HEAD_HEIGHT: Final = 1.4
"""Height v of the center of the head, and its half axes."""
BROWS_TOP: Final = -0.6
EYES_TOP: Final = -0.2
EYES_BOTTOM: Final = 0.25
"""Heights v that separate forehead, brows, eyes and the lower face."""
EYES_REACH: Final = 0.85
"""Distance of the outer end of the eyes from the origin."""
NOSE_ROOT: Final = 0.14
NOSE_BASE: Final = 0.32
"""Half width of the nose between the eyes and at its tip."""
NOSE_BELOW_TIP: Final = 0.12
"""Length of the nose below its tip."""
MOUTH_BEYOND: Final = 0.12
MOUTH_UP: Final = 0.2
MOUTH_DOWN: Final = 0.34
"""Reach of the mouth beyond its corners, and above and below the line between them."""
CHIN_REACH: Final = 0.5
"""Half width of the chin."""

FACES_AT_ONCE: Final = 256
"""Number of faces divided at once; more would need much memory."""
_SMALLEST: Final = 1e-6
"""Smallest length that is divided by; lengths are about 1."""


def partition(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Divide 48x48 faces into regions.

    Parameters
    ----------
    landmarks : ndarray of float, shape (N, 5, 2)
        x and y of `fer_infer.photos.found_face.LANDMARKS` in pixels of the face, whose first pixel has its center at
        (0.5, 0.5).

    Returns
    -------
    ndarray of uint8, shape (N, 48, 48)
        Number of the region of each pixel, a position in `REGIONS`.

    Raises
    ------
    ConfigError
        If landmarks are of another shape or not finite, or the eyes of a face coincide.
    """
    points = np.asarray(landmarks, np.float64)
    _require_landmarks(points)
    parts = [points[start : start + FACES_AT_ONCE] for start in range(0, len(points), FACES_AT_ONCE)]
    return np.concatenate([np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8), *map(_partition, parts)])


def units_shown(label: str, region: str) -> tuple[int, ...]:
    """Return the action units of a label's prototype that are seen in a region; empty for an unknown label.

    Examples
    --------
    >>> units_shown("fear", "brows"), units_shown("sad", "mouth"), units_shown("happy", "brows")
    ((1, 2, 4), (15,), ())
    """
    prototype = ACTION_UNITS.get(label, {})
    return tuple(unit for unit in UNITS_OF_REGION.get(region, ()) if unit in prototype)


def _require_landmarks(points: NDArray[np.float64]) -> None:
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise ConfigError(f"expected shape (N, 5, 2), found {points.shape}", parameter="landmarks")
    usable = np.isfinite(points).all(axis=(1, 2)) & (points[:, 0] != points[:, 1]).any(axis=1)
    if not usable.all():
        face = int(np.argmin(usable))
        found = f"{points[face].tolist()} for face {face}"
        raise ConfigError(f"expected finite positions and two eyes apart, found {found}", parameter="landmarks")


def _partition(points: NDArray[np.float64]) -> NDArray[np.uint8]:
    origin = points[:, :2].mean(axis=1)
    across = points[:, 1] - points[:, 0]
    unit = across / (across**2).sum(axis=1, keepdims=True)  # a product with it is a length over the distance
    axes = np.stack([unit, unit[:, ::-1] * (-1, 1)], axis=2)
    centers = np.arange(IMAGE_SIZE) + 0.5
    pixels = np.stack(np.meshgrid(centers, centers), axis=-1).reshape(-1, 2)
    placed = (pixels - origin[:, None]) @ axes
    anchors = (points - origin[:, None]) @ axes
    return _numbers(placed, anchors).reshape(-1, IMAGE_SIZE, IMAGE_SIZE).astype(np.uint8)


def _numbers(placed: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the regions of positions (N, P, 2), given the landmarks (N, 5, 2): the first one that contains each."""
    u, v = placed[..., 0], placed[..., 1]
    tip, corners = anchors[:, 2], anchors[:, 3:]
    along, below, half = _from_mouth(placed, corners)
    mouth = (along / (half + MOUTH_BEYOND)) ** 2 + (below / np.where(below < 0, MOUTH_UP, MOUTH_DOWN)) ** 2 < 1
    # The ridge of the nose leads from the origin to the tip, and goes on in the same direction.
    down = np.clip(v / np.maximum(tip[:, 1:], _SMALLEST), 0, None)
    nose = np.abs(u - down * tip[:, :1]) < NOSE_ROOT + (NOSE_BASE - NOSE_ROOT) * down
    regions = {
        OUTSIDE: (u / HEAD_WIDTH) ** 2 + ((v - HEAD_CENTER) / HEAD_HEIGHT) ** 2 > 1,
        "forehead": v < BROWS_TOP,
        "brows": v < EYES_TOP,
        "mouth": mouth,
        "nose": nose & (v < tip[:, 1:] + NOSE_BELOW_TIP),
        "eyes": (v < EYES_BOTTOM) & (np.abs(u) < EYES_REACH),
        "chin": (below > 0) & (np.abs(along) < CHIN_REACH),
    }
    return np.select(list(regions.values()), [REGIONS.index(name) for name in regions], REGIONS.index("cheeks"))


def _from_mouth(
    placed: NDArray[np.float64], corners: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how far positions (N, P, 2) are along and below the line of the corners (N, 2, 2), and its half length."""
    line = (corners[:, 1] - corners[:, 0]) / 2
    half = np.hypot(line[:, 0], line[:, 1])[:, None]
    direction = line / np.maximum(half, _SMALLEST)
    offset = placed - corners.mean(axis=1, keepdims=True)
    along = (offset * direction[:, None]).sum(axis=2)
    below = (offset * (direction[:, ::-1] * (-1, 1))[:, None]).sum(axis=2)
    return along, below, half
