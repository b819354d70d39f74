"""Drawn faces whose expression, and the regions that show it, are known by construction.

A face is painted from the action units of the Facial Action Coding System (Ekman & Friesen 1978; Ekman, Friesen &
Hager 2002): each unit moves, folds or opens the part of the face that its muscle does, and each label is the EMFACS
prototype of the emotion. The regions that express the emotion are therefore known, unlike in photographs, and
explanations of a classifier trained on these faces can be compared with the ground truth.

======== ===================== ==============================================================================
label    action units          names
======== ===================== ==============================================================================
angry    4, 5, 7, 23           brow lowerer, upper lid raiser, lid tightener, lip tightener
disgust  9, 15, 16             nose wrinkler, lip corner depressor, lower lip depressor
fear     1, 2, 4, 5, 7, 20, 26 inner and outer brow raiser, 4, 5, 7 as above, lip stretcher, jaw drop
happy    6, 12                 cheek raiser, lip corner puller
sad      1, 4, 15              inner brow raiser, brow lowerer, lip corner depressor
surprise 1, 2, 5, 26           inner and outer brow raiser, upper lid raiser, jaw drop
neutral  none
======== ===================== ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import ConfigError
from fer_core.fer2013 import EXPRESSIONS, IMAGE_SIZE
from fer_core.synthetic.painting import (
    PIXEL_CENTERS,
    Canvas,
    Face,
    Field,
    Units,
    paint_brows,
    paint_eyes,
    paint_glasses,
    paint_head,
    paint_mouth,
    paint_nose,
    paint_relief,
    photograph,
)

REGIONS: Final[tuple[str, ...]] = ("brows", "eyes", "lids", "nose", "mouth")
"""Parts of the face that action units change, in the order of the mask axis; `nose` includes the nasolabial folds."""

ACTION_UNITS: Final[Mapping[str, Mapping[int, float]]] = {
    "angry": {4: 1.0, 5: 0.4, 7: 0.9, 23: 0.9},
    "disgust": {9: 1.0, 15: 0.6, 16: 0.7},
    "fear": {1: 0.9, 2: 0.5, 4: 0.7, 5: 0.8, 7: 0.3, 20: 0.9, 26: 0.4},
    "happy": {6: 0.8, 12: 0.9},
    "sad": {1: 0.8, 4: 0.6, 15: 0.9},
    "surprise": {1: 0.9, 2: 0.9, 5: 0.7, 26: 0.9},
    "neutral": {},
}
"""Label name -> action unit of its prototype -> typical intensity, from 0 (absent) to 1 (maximum)."""

UNIT_REGIONS: Final[Mapping[int, tuple[str, ...]]] = {
    1: ("brows",),
    2: ("brows",),
    4: ("brows",),
    5: ("eyes", "lids"),
    6: ("eyes", "lids"),
    7: ("eyes", "lids"),
    9: ("nose", "mouth"),
    12: ("nose", "mouth"),
    15: ("mouth",),
    16: ("mouth",),
    20: ("mouth",),
    23: ("mouth",),
    26: ("mouth",),
}
"""Action unit -> regions it changes; the order is that of an intensity axis."""

ACTION_REGIONS: Final[Mapping[str, tuple[str, ...]]] = {
    label: tuple(region for region in REGIONS if any(region in UNIT_REGIONS[unit] for unit in units))
    for label, units in ACTION_UNITS.items()
}
"""Label name -> regions that define the label, in the order of `REGIONS`; none for neutral."""

_VARIATION: Final[Mapping[str, tuple[float, float]]] = {
    # pose: degrees, px, ratio
    "roll": (-8, 8),
    "shift_x": (-1.5, 1.5),
    "shift_y": (-1.5, 1.5),
    "scale": (0.93, 1.07),
    "yaw": (-2.5, 2.5),
    # identity: lengths in px, shades from 0 (black) to 1 (white), others are ratios
    "skin": (0.42, 0.82),
    "hair": (0.04, 0.4),
    "hair_volume": (0.5, 4.0),
    "hair_length": (-4.0, 40.0),
    "hairline": (-19.5, -15.0),
    "parting": (-6.0, 6.0),
    "face_width": (17.0, 20.5),
    "face_height": (21.5, 24.0),
    "jaw": (0.05, 0.3),
    "eye_spacing": (8.0, 9.8),
    "eye_height": (-6.2, -4.4),
    "eye_width": (3.5, 4.5),
    "eye_opening": (1.4, 2.1),
    "eye_tilt": (-0.5, 0.2),
    "iris": (0.08, 0.35),
    "gaze": (-0.9, 0.9),
    "brow_height": (-11.4, -10.0),
    "brow_arch": (0.2, 1.3),
    "brow_slope": (-0.7, 0.7),
    "brow_thickness": (1.1, 2.4),
    "nose_length": (4.8, 6.8),
    "nose_width": (2.6, 3.8),
    "fold": (0.0, 0.2),
    "mouth_height": (12.0, 13.8),
    "mouth_width": (5.6, 7.4),
    "mouth_curve": (-0.5, 0.5),
    "lips": (0.9, 1.7),
    "lip_shade": (0.55, 0.85),
    "lips_part": (-0.8, 0.9),
    "stubble": (-0.5, 0.35),
    "glasses": (0.0, 1.0),
    # light and camera
    "background": (0.1, 0.9),
    "light_angle": (0, 2 * np.pi),
    "light_gradient": (0.0, 0.4),
    "gamma": (0.75, 1.35),
    "contrast": (0.7, 1.2),
    "blur": (0.0, 1.0),
    "noise": (0.004, 0.035),
}
"""Property that varies independently of the label -> lowest and highest value, drawn uniformly."""

_FACES_AT_ONCE: Final = 64
"""Number of faces painted at once: enough to amortize calls of NumPy, few enough for the cache."""


@dataclass(frozen=True)
class DrawnFaces:
    """Drawn faces with labels and the regions that express them.

    Parameters
    ----------
    images : uint8 (N, 48, 48)
        Gray faces, 0 to 255.
    labels : int64 (N,)
        Positions in `EXPRESSIONS`, 0 to 6.
    regions : bool (N, 5, 48, 48)
        Masks of the regions, axis 1 in the order of `REGIONS`; regions may overlap.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    regions: NDArray[np.bool_]


def draw_faces(n: int, *, seed: int, labels: NDArray[np.integer[Any]] | None = None) -> DrawnFaces:
    """Draw `n` faces with the action units of their labels at random intensities.

    The strength of the expression and of each unit varies, and faces also show weak action units of other labels.
    Identity, pose, light and noise depend only on `seed` and the position of the face: the same seed with other labels
    draws the same people with other expressions.

    Parameters
    ----------
    n : int
        Number of faces, at least 1.
    seed : int
        Random seed, at least 0. The same seed, `n` and labels give the same bytes.
    labels : integers (n,), optional
        Positions in `EXPRESSIONS`, 0 to 6. By default the numbers of faces per label differ by at most one, in an order
        that depends on `seed` and `n`.

    Returns
    -------
    DrawnFaces
        If `labels` are given, the first k faces do not depend on `n`.

    Raises
    ------
    ConfigError
        If `n`, `seed` or `labels` are outside their range or `labels` are not of shape (n,).

    Examples
    --------
    >>> drawn = draw_faces(14, seed=0)
    >>> drawn.images.shape, np.bincount(drawn.labels).tolist()
    ((14, 48, 48), [2, 2, 2, 2, 2, 2, 2])
    """
    if n < 1:
        raise ConfigError(f"expected at least 1, found {n}", parameter="n")
    order, mood = _streams(seed)[:2]
    if labels is None:
        labels = order.permutation(np.arange(n) % len(EXPRESSIONS))
    labels = np.asarray(labels)
    if labels.shape != (n,) or not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(
            f"expected integers of shape ({n},), found {labels.dtype} of shape {labels.shape}", parameter="labels"
        )
    if labels.min() < 0 or labels.max() >= len(EXPRESSIONS):
        raise ConfigError(
            f"expected 0..{len(EXPRESSIONS) - 1}, found {labels.min()}..{labels.max()}", parameter="labels"
        )
    images, regions = draw_action_units(_intensities(labels, mood), seed=seed)
    return DrawnFaces(images, labels.astype(np.int64), regions)


def draw_action_units(
    intensities: NDArray[np.floating[Any]], *, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw faces from intensities of action units, to see the effect of each unit.

    Parameters
    ----------
    intensities : float (N, 13)
        Intensities of the action units, from 0 (absent) to 1 (maximum), axis 1 in the order of `UNIT_REGIONS`.
    seed : int
        Random seed, at least 0; as in `draw_faces`, it determines everything except the action units.

    Returns
    -------
    images : uint8 (N, 48, 48)
        Gray faces, 0 to 255.
    regions : bool (N, 5, 48, 48)
        Masks of the regions, axis 1 in the order of `REGIONS`.

    Raises
    ------
    ConfigError
        If `seed` or an intensity is outside its range or `intensities` are not of shape (N, 13).
    """
    intensities = np.asarray(intensities, np.float32)
    if intensities.ndim != 2 or intensities.shape[1] != len(UNIT_REGIONS):
        raise ConfigError(
            f"expected shape (N, {len(UNIT_REGIONS)}), found {intensities.shape}", parameter="intensities"
        )
    if not np.all((intensities >= 0) & (intensities <= 1)):
        raise ConfigError("expected values in 0..1", parameter="intensities")
    n = len(intensities)
    looks, grain = _streams(seed)[2:]
    low, high = np.array(list(_VARIATION.values()), np.float32).T
    variation = low + (high - low) * looks.random((n, len(_VARIATION)), np.float32)
    images = np.empty((n, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    regions = np.zeros((n, len(REGIONS), IMAGE_SIZE, IMAGE_SIZE), np.bool_)
    for start in range(0, n, _FACES_AT_ONCE):
        some = slice(start, start + _FACES_AT_ONCE)
        face = dict(zip(_VARIATION, variation[some].T[..., None, None], strict=True))
        units = dict(zip(UNIT_REGIONS, intensities[some].T[..., None, None], strict=True))
        gray = photograph(_paint(face, units, regions[some]), face)
        gray += face["noise"] * grain.standard_normal(gray.shape, np.float32)
        images[some] = np.rint(255 * np.clip(gray, 0, 1))
    return images, regions


def _streams(seed: int) -> list[np.random.Generator]:
    """Return independent generators for the order of labels, intensities, identities and noise."""
    if seed < 0:
        raise ConfigError(f"expected at least 0, found {seed}", parameter="seed")
    return np.random.default_rng(seed).spawn(4)


def _intensities(labels: NDArray[np.integer[Any]], mood: np.random.Generator) -> NDArray[np.float64]:
    """Return random intensities (N, 13) of the action units of faces with these labels."""
    prototypes = np.array([[ACTION_UNITS[label].get(unit, 0.0) for unit in UNIT_REGIONS] for label in EXPRESSIONS])
    count = len(UNIT_REGIONS)
    strength, emphasis, stray = np.split(mood.random((len(labels), 1 + 2 * count)), [1, 1 + count], axis=1)
    acted = prototypes[labels] * (0.3 + 0.8 * strength) * (0.6 + 0.8 * emphasis)
    intensities: NDArray[np.float64] = np.clip(acted + 0.25 * stray**3, 0, 1)
    return intensities


def _paint(face: Face, units: Units, regions: NDArray[np.bool_]) -> Field:
    """Return the brightness (F, 48, 48) of faces in even light; fill `regions` (F, 5, 48, 48)."""
    x, y, outline_x = _pose(face)
    gray = np.empty_like(x)
    canvas = Canvas(gray, {name: regions[:, i] for i, name in enumerate(REGIONS)}, x, y)
    paint_head(replace(canvas, x=outline_x), face)
    paint_relief(canvas, face)
    # These rows contain each part in every pose.
    paint_eyes(canvas.rows(9, 30), face, units)
    paint_brows(canvas.rows(0, 25), face, units)
    paint_nose(canvas.rows(13, 45), face, units)
    paint_mouth(canvas.rows(27, 48), face, units)
    paint_glasses(canvas.rows(7, 32), face)
    return gray


def _pose(face: Face) -> tuple[Field, Field, Field]:
    """Return coordinates x and y of the features, and x of the outline, at each pixel (F, 48, 48)."""
    row, column = PIXEL_CENTERS
    right, down = column - face["shift_x"], row - face["shift_y"]
    roll = np.deg2rad(face["roll"])
    cosine, sine = np.cos(roll) / face["scale"], np.sin(roll) / face["scale"]
    x, y = right * cosine + down * sine, down * cosine - right * sine
    # Turning the head shifts the features sideways, most in the middle and not at the edge, but not the outline.
    return x - face["yaw"] * np.maximum(1 - (x / 22) ** 2, 0), y, x
