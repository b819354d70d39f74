"""Painting of faces: anti-aliased shapes by signed distance, and the parts of a face built from them.

A shape is a function of pixel coordinates that returns the coverage of each pixel, from 0 (outside) to 1 (inside),
computed from a signed distance in pixels. Coordinates have shape (faces, height, width) and properties of faces have
shape (faces, 1, 1), so one call draws the same part on every face. Both sides of a face are drawn at once, from the
distance to its midline.

The parts take `face`, the lengths (px), shades (0 black to 1 white) and ratios of each face by name, and `units`, the
intensity (0 to 1) of each action unit of the Facial Action Coding System by number. The effect of each unit follows its
description in Ekman, Friesen & Hager (2002).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fer_core.fer2013 import IMAGE_SIZE

Field: TypeAlias = NDArray[np.floating[Any]]
Amount: TypeAlias = Field | float
Face: TypeAlias = Mapping[str, Field]
Units: TypeAlias = Mapping[int, Field]

PIXEL_CENTERS: Final = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(np.float32) - np.float32((IMAGE_SIZE - 1) / 2)
"""Rows and columns (2, 48, 48) of the pixels, relative to the center of the image."""


@dataclass(frozen=True)
class Canvas:
    """Images that are being painted, or some rows of them.

    Parameters
    ----------
    gray : float32 (F, H, W)
        Brightness from 0 (black) to 1 (white), modified in place.
    regions : mapping of str to bool (F, H, W)
        Masks of regions by name, modified in place.
    x, y : float32 (F, H, W)
        Coordinates relative to the center of the face, in px to the right and downwards.
    """

    gray: Field
    regions: Mapping[str, NDArray[np.bool_]]
    x: Field
    y: Field

    def rows(self, top: int, bottom: int) -> Canvas:
        """Return the image rows from `top` to before `bottom`, which share memory, to paint only there."""
        some = np.s_[:, top:bottom]
        regions = {name: mask[some] for name, mask in self.regions.items()}
        return Canvas(self.gray[some], regions, self.x[some], self.y[some])

    def fill(self, coverage: Field, shade: Amount) -> None:
        """Paint `shade` over the image."""
        self.gray[:] += coverage * (shade - self.gray)

    def darken(self, coverage: Field, amount: Amount) -> None:
        """Reduce the brightness by the fraction `amount`; a negative amount lightens."""
        self.gray[:] *= 1 - amount * coverage

    def mark(self, region: str, *coverages: Field) -> None:
        """Add to the mask of `region` the pixels with a coverage of at least 0.1."""
        for coverage in coverages:
            self.regions[region][:] |= coverage >= 0.1


def edge(distance: Field, softness: Amount = 1.0) -> Field:
    """Return the coverage of pixels `distance` px inside an edge that is blurred over `softness` px."""
    coverage: Field = distance / softness
    coverage += 0.5
    return np.clip(coverage, 0, 1, out=coverage)


def ellipse(x: Field, y: Field, width: Amount, height: Amount, softness: Amount = 1.0) -> Field:
    """Return an ellipse around the origin with the given half axes in px; distances are exact for a circle."""
    radius = np.sqrt((x / width) ** 2 + (y / height) ** 2)
    return edge((1 - radius) * (width * height) ** 0.5, softness)


def glow(x: Field, y: Field, width: Amount, height: Amount) -> Field:
    """Return an ellipse around the origin that fades from its center to zero at the given half axes in px."""
    return np.maximum(1 - (x / width) ** 2 - (y / height) ** 2, 0) ** 2


def stroke(x: Field, y: Field, start: tuple[Amount, Amount], end: tuple[Amount, Amount], thickness: Amount) -> Field:
    """Return a line with round ends from `start` to `end`, each (x, y), `thickness` px wide."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    x, y = x - start[0], y - start[1]
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
    return edge(thickness / 2 - np.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2))


def between(y: Field, top: Field, bottom: Field) -> Field:
    """Return the area below the curve `top` and above the curve `bottom`, given by their heights per pixel."""
    return edge(np.minimum(y - top, bottom - y))


def ridge(distance: Field, reach: Amount) -> Field:
    """Return a soft line that fades from distance 0 to zero at `reach` px."""
    return np.maximum(1 - np.abs(distance) / reach, 0)


def paint_head(canvas: Canvas, face: Face) -> None:
    """Paint background, hair, neck, clothes, ears and skin, which no action unit changes."""
    x, y = canvas.x, canvas.y
    m = np.abs(x)
    canvas.gray[:] = face["background"] * (1 - 0.006 * y)
    parted = x - face["parting"]
    strands = face["hair"] * (1 + 0.2 * np.cos(0.15 * np.clip(y + 24, 0, 9) * parted))
    volume = face["hair_volume"]
    hair = ellipse(x, y + 1, face["face_width"] + volume, 22.5 + volume, 2) * edge(face["hair_length"] - y, 4)
    canvas.fill(hair, strands)
    canvas.fill(edge(9.5 - m, 2) * edge(y - 10), 0.55 * face["skin"])
    canvas.fill(edge(y - 26 + 0.3 * m), 0.8 * (1 - face["background"]))
    canvas.fill(ellipse(m - face["face_width"] + 0.6, y + 1.5, 1.9, 4.2), 0.75 * face["skin"])
    width = face["face_width"] * (1 - face["jaw"] * (np.maximum(y, 0) / 20) ** 2)
    radius = (x / width) ** 2 + (y / face["face_height"]) ** 2
    skin = face["skin"] * (1.06 - 0.3 * radius**2)
    canvas.fill(edge((1 - np.sqrt(radius)) * 20), skin + fringe(x, y, face) * (strands - skin))


def fringe(x: Field, y: Field, face: Face) -> Field:
    """Return the hair over the forehead."""
    return edge(face["hairline"] + 0.022 * (x - face["parting"]) ** 2 - y, 1.5)


def paint_relief(canvas: Canvas, face: Face) -> None:
    """Paint light and shadow of a neutral face: eye sockets, bridge of the nose, cheeks, forehead, chin, beard."""
    m, y = np.abs(canvas.x), canvas.y
    canvas.darken(glow(m - face["eye_spacing"], y - face["eye_height"] + 1, 7, 5), 0.25)
    canvas.darken(glow(m - 2.6, y - 0.5 * face["eye_height"] + 2, 2.2, 7), 0.16)
    canvas.darken(glow(m, y, 1.8, 7), -0.10)
    canvas.darken(glow(m - 10, y - 4.5, 6, 5), -0.10)
    canvas.darken(glow(m, y + 13, 13, 6), -0.06)
    canvas.darken(glow(m - 13, y - 11, 5, 9), 0.12)
    canvas.darken(glow(m, y - 20, 5, 3.5), -0.08)
    canvas.darken(edge(y - 5 - 0.02 * m * m, 8) * edge(19 - m, 4), np.maximum(face["stubble"], 0))


def paint_eyes(canvas: Canvas, face: Face, units: Units) -> None:
    """Paint eyes and lids: unit 5 raises the upper lid, 7 tightens both, 6 lifts the cheek and folds the corner."""
    beside, y = np.abs(canvas.x) - face["eye_spacing"], canvas.y - face["eye_height"]
    width = face["eye_width"]
    t = beside / width
    arc = np.maximum(1 - t * t, 0)
    raised = face["eye_opening"] + 1.7 * units[5] - 0.7 * units[7] - 0.3 * units[6]
    lowered = 0.75 * face["eye_opening"] + 0.3 * units[5] - 0.8 * units[7] - 0.8 * units[6]
    top = face["eye_tilt"] * t - np.maximum(raised, 0.3) * arc
    bottom = face["eye_tilt"] * t + np.maximum(lowered, 0.1) * arc
    within = edge(width - np.abs(beside))

    canvas.darken(between(y, top - 1.8, top - 1.0) * within, 0.35 - 0.2 * units[5])
    canvas.darken(ridge(y - bottom - 1.7, 1.0) * within, 0.12 + 0.3 * np.minimum(units[6] + 0.7 * units[7], 1))
    cheek = glow(beside, y - 4.2, 5.5, 2.6)
    canvas.darken(cheek, -0.18 * units[6])
    upper_foot = stroke(beside, y, (width + 0.8, -0.4), (width + 3.2, -1.8), 0.9)
    lower_foot = stroke(beside, y, (width + 0.8, 0.6), (width + 3.2, 1.2), 0.9)
    canvas.darken(np.maximum(upper_foot, lower_foot), 0.4 * units[6])

    aperture = between(y, top, bottom) * within
    canvas.fill(aperture, 0.35 + 0.6 * face["skin"])
    side = np.sign(canvas.x)
    looking = beside - face["gaze"] * side
    canvas.fill(aperture * ellipse(looking, y + 0.2, 1.9, 1.9), face["iris"])
    canvas.fill(aperture * ellipse(looking, y + 0.2, 0.8, 0.8), 0.02)
    canvas.fill(aperture * ellipse(looking - 0.6 * side, y + 1, 0.5, 0.5), 0.8)
    canvas.fill(between(y, top - 0.75, top + 0.3) * edge(width + 0.4 - np.abs(beside)), 0.12 * face["skin"])
    canvas.darken(between(y, bottom - 0.2, bottom + 0.5) * within, 0.35)

    around = between(y, top - 2.2, bottom + 3.0) * edge(width + 0.5 - np.abs(beside))
    canvas.mark("eyes", aperture)
    canvas.mark("lids", around * (1 - aperture), cheek, upper_foot, lower_foot)


def paint_brows(canvas: Canvas, face: Face, units: Units) -> None:
    """Paint brows and forehead: units 1 and 2 raise the inner and outer ends, 4 lowers and draws them together."""
    m, y = np.abs(canvas.x), canvas.y
    start, end = face["eye_spacing"] - 5.0 - 1.2 * units[4], face["eye_spacing"] + 5.2
    s = np.clip((m - start) / (end - start), 0, 1)
    inner = face["brow_height"] + face["brow_slope"] - 3.2 * units[1] + (2.6 - 1.6 * units[1]) * units[4]
    outer = face["brow_height"] - face["brow_slope"] + 0.6 - 2.8 * units[2] + 1.0 * units[4]
    middle = inner + (outer - inner) * s - 4 * (face["brow_arch"] + 0.8 * units[2]) * s * (1 - s)
    half = face["brow_thickness"] / 2 * (1 - 0.5 * s)
    hairs = between(y, middle - half, middle + half) * edge(np.minimum(m - start, end - m), 1.5)
    canvas.fill(hairs, 0.75 * np.minimum(face["hair"], face["skin"]))
    frown = stroke(m, y, (1.4, inner - 0.5), (1.6, inner + 3.2), 0.9)
    canvas.darken(frown, 0.45 * units[4])
    above = y - middle + 4.0
    forehead = edge(9 - m, 4) * (1 - fringe(canvas.x, y, face))
    canvas.darken(ridge(np.abs(above) - 1.2, 1.0) * forehead, 0.25 * np.maximum(units[1], units[2]))
    canvas.mark("brows", hairs, frown, edge(2.2 - np.abs(above)) * forehead)


def paint_nose(canvas: Canvas, face: Face, units: Units) -> None:
    """Paint nose and nasolabial folds: unit 9 wrinkles and shortens the nose, 9 and 12 deepen the folds."""
    m, y, root = np.abs(canvas.x), canvas.y, face["eye_height"]
    width = face["nose_width"] + 0.5 * units[9]
    tip = face["nose_length"] - 1.3 * units[9]
    wing = ellipse(m - width + 0.4, y - tip + 0.6, 1.4, 1.7, 1.5)
    wing = np.maximum(wing - ellipse(m - width + 0.9, y - tip + 0.7, 1.2, 1.4, 1.5), 0)
    nostril = ellipse(m - 0.55 * width, y - tip - 0.5, 1.1, 0.6)
    shadow = glow(m, y - tip - 1.6, width + 1, 1.8)
    highlight = glow(m, y - tip + 1.6, 1.8, 2.0)
    bridge = stroke(m, y, (1.9, root + 1), (2.2, tip - 2), 1.2)
    wrinkled = glow(m, y - root - 3.2, 4, 4.2)
    wrinkles = wrinkled * (0.5 + 0.5 * np.cos(2.6 * (y - root + 0.35 * m)))
    for part, amount in ((wing, 0.45), (nostril, 0.6), (shadow, 0.25), (highlight, -0.15), (bridge, 0.1)):
        canvas.darken(part, amount)
    canvas.darken(wrinkles, 0.75 * units[9])

    top, bottom = tip - 1.5, face["mouth_height"] + 0.5 - 2.0 * units[12]
    s = np.clip((y - top) / (bottom - top), 0, 1)
    spread = face["mouth_width"] + 0.4 + 1.6 * units[12] - width
    course = width + 1.2 + spread * s + 2.4 * units[12] * s * (1 - s)
    fold = ridge(m - course, 1.5) * edge(np.minimum(y - top, bottom - y), 3)
    depth = 0.02 + face["fold"] * (1 - 0.6 * s) + 0.4 * units[12] + 0.4 * units[9] * (1 - s)
    canvas.darken(fold, np.minimum(depth, 0.55))
    canvas.mark("nose", wing, nostril, shadow, highlight, bridge, wrinkled, fold)


def paint_mouth(canvas: Canvas, face: Face, units: Units) -> None:
    """Paint the mouth: 12 and 15 pull the corners up and down, 20 stretches, 23 tightens, 16 bares teeth, 26 opens."""
    m = np.abs(canvas.x)
    half = face["mouth_width"] + 1.7 * units[12] + 1.9 * units[20] - 1.3 * units[23] - 1.6 * units[26]
    t = m / half
    curve = face["mouth_curve"] + 2.8 * units[12] - 2.8 * units[15] - 0.6 * units[20]
    y = canvas.y - face["mouth_height"] - 0.3 * curve - 1.2 * units[26] + curve * np.minimum(t * t, 1.4)
    inner = np.maximum(1 - t * t, 0)
    arc = inner * (1 + 0.5 * t * t)
    arc += units[26] * (np.sqrt(inner) - arc)
    parted = np.maximum(face["lips_part"], 0) * (1 - units[23])
    up = (0.25 * parted + 1.7 * units[26] + 0.8 * units[12] + 0.9 * units[9]) * arc
    down = (0.4 * parted + 4.2 * units[26] + 0.9 * units[12] + 1.4 * units[16] + 0.5 * units[20]) * arc
    lip = face["lips"] * (1 - 0.6 * units[23] - 0.25 * units[20] - 0.15 * units[12]) * arc
    upper, lower = lip * (1 - 0.25 * np.maximum(1 - 3 * t, 0)), 1.25 * lip
    within = edge(half - m)

    shadow = glow(m, y - down - lower - 1.4, 0.8 * half, 1.8)
    canvas.darken(shadow, 0.3)
    lips = between(y, -up - upper, down + lower) * within
    canvas.fill(lips, face["skin"] * face["lip_shade"])
    canvas.darken(lips * edge(-up - y), 0.15)
    canvas.darken(glow(m, y - down - 0.5 * lower, 0.6 * half, 0.9), -0.2)
    cavity = between(y, -up, down) * within
    canvas.fill(cavity, 0.08)
    canvas.fill(cavity * edge(1.5 - np.abs(y + up)) * edge(0.8 * half - m, 2), 0.35 + 0.5 * face["skin"])
    canvas.fill(cavity * edge(1.2 - np.abs(y - down)) * edge(0.7 * half - m, 2), 0.8 * units[16])
    seam = edge(0.45 - np.abs(y - np.clip(y, -up, down))) * edge(half + 0.4 - m) * (1 - cavity)
    canvas.darken(seam, 0.55)
    corner = stroke(m, y, (half + 0.2, 0.0), (half + 0.9, 1.0), 0.9)
    canvas.darken(corner, 0.2 + 0.35 * np.minimum(units[12] + units[15], 1))
    canvas.mark("mouth", lips, shadow, seam, corner)


def paint_glasses(canvas: Canvas, face: Face) -> None:
    """Paint the glasses that some faces wear."""
    beside, y = np.abs(canvas.x) - face["eye_spacing"], canvas.y - face["eye_height"] - 0.3
    rim = edge(0.45 - np.abs(np.sqrt((beside / 5.8) ** 2 + (y / 4.6) ** 2) - 1) * 5)
    bridge = edge(0.45 - np.abs(y + 1)) * edge(-5.4 - beside)
    canvas.fill(np.maximum(rim, bridge) * (face["glasses"] > 0.85), 0.12)


def photograph(gray: Field, face: Face) -> Field:
    """Return faces (F, 48, 48) with directional light, gamma, contrast and blur."""
    row, column = PIXEL_CENTERS / (IMAGE_SIZE / 2)
    towards_light = np.cos(face["light_angle"]) * column + np.sin(face["light_angle"]) * row
    lit: Field = np.clip(gray * (1 + face["light_gradient"] * towards_light), 0, 1) ** face["gamma"]
    lit = 0.5 + face["contrast"] * (lit - 0.5)
    side = face["blur"] / 4
    padded = np.pad(lit, ((0, 0), (1, 1), (0, 0)), mode="edge")
    lit = (1 - 2 * side) * lit + side * (padded[:, :-2] + padded[:, 2:])
    padded = np.pad(lit, ((0, 0), (0, 0), (1, 1)), mode="edge")
    lit = (1 - 2 * side) * lit + side * (padded[:, :, :-2] + padded[:, :, 2:])
    return lit
