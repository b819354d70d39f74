"""Pictures of explanations: maps laid over faces, and sheets of many small pictures. The same input, the same bytes.

Colours are told apart with any colour vision: magnitudes go from transparent through purple and orange to pale yellow
(matplotlib's inferno, whose brightness rises all the way), signed maps from blue to orange.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs import figures
from fer_core.outputs.figures import default_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI: Final = 100
GAP: Final = 6
"""Pixels between the tiles of a sheet."""
CAPTION: Final = 15
"""Pixels above a tile for its number."""
MAGNITUDES: Final = "inferno"
SIGNED: Final = "PuOr_r"
POSITIVE: Final = np.array([230, 97, 1], np.float32)
NEGATIVE: Final = np.array([33, 102, 232], np.float32)


def normalize(attributions: NDArray[np.float32], percentile: float = 99.0) -> NDArray[np.float32]:
    """Scale each map so that its strong pixels reach 1, and its strong negative ones -1.

    Parameters
    ----------
    attributions : ndarray of float32, shape (..., 48, 48)
        Maps of any scale.
    percentile : float
        Percentile of a map's absolute values that becomes 1, 0..100; what is stronger is cut off there, lest
        one pixel darken all others. A map whose percentile is zero is scaled by its maximum instead.

    Returns
    -------
    ndarray of float32, the same shape
        -1..1; all zero for a flat map, which tells nothing, whatever its value.
    """
    strength = np.abs(attributions)
    flat = is_flat(attributions)
    pixels = strength.reshape(*strength.shape[:-2], strength.shape[-2] * strength.shape[-1])
    full = np.percentile(pixels, percentile, axis=-1)[..., None, None]
    full = np.where(full > 0, full, strength.max(axis=(-2, -1), keepdims=True))
    scaled = np.clip(attributions / np.where(flat, 1.0, full), -1.0, 1.0)
    return np.where(flat, 0.0, scaled).astype(np.float32)


def is_flat(attributions: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each map has one value everywhere, shape (..., 1, 1)."""
    lowest, highest = attributions.min(axis=(-2, -1), keepdims=True), attributions.max(axis=(-2, -1), keepdims=True)
    flat: NDArray[np.bool_] = lowest == highest
    return flat


def overlay(images: NDArray[np.uint8], attributions: NDArray[np.float32], *, signed: bool) -> NDArray[np.uint8]:
    """Lay attribution maps over gray faces.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., 48, 48)
        Faces, 0..255.
    attributions : ndarray of float32, the same shape
        Maps of any scale; each is normalized by itself, see `fer_explain.attribution.masks.normalize`.
    signed : bool
        Whether the sign means something: orange then speaks for the class, blue against it.

    Returns
    -------
    ndarray of uint8, shape (..., 48, 48, 3)
        Red, green, blue, 0..255. Where a map is zero the face is seen as it is, only darker.
    """
    values = normalize(attributions)
    strength = np.abs(values)[..., None]
    # The darkened face leaves the highest brightness to the map; the power lets middling values be seen.
    face = 0.7 * images[..., None].astype(np.float32)
    if signed:
        colour = np.where(values[..., None] > 0, POSITIVE, NEGATIVE)
    else:
        colour = 255 * _colours(MAGNITUDES, 0.3 + 0.7 * strength[..., 0])
    mixed = face + strength**0.75 * (colour - face)
    rounded: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return rounded


def scale_strip(*, signed: bool, length: int = 96) -> NDArray[np.uint8]:
    """Draw the colours of `overlay` from its lowest to its highest value, uint8 (1, length, 3), over mid gray."""
    values = np.linspace(-1 if signed else 0, 1, length, dtype=np.float32)[None]
    return overlay(np.full(values.shape, 128, np.uint8), values, signed=signed)


def tint(values: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Colour values between `limits` as `sheet` does, uint8 (..., 3); limits below zero mean a diverging scale."""
    low, high = limits
    position = np.clip((values - low) / (high - low), 0, 1)
    return np.rint(255 * _colours(SIGNED if low < 0 else MAGNITUDES, position)).astype(np.uint8)


def value_limits(values: NDArray[np.float32], percentile: float = 99.5) -> tuple[float, float]:
    """Choose the ends of a colour scale.

    Parameters
    ----------
    values : ndarray of float32
        What is to be coloured.
    percentile : float
        Percentile of the absolute values that gets full colour; beyond it colours stay the same.

    Returns
    -------
    low, high : float
        (0, limit) if no value is negative, else (-limit, limit); the limit is 1 where all values are zero.
    """
    strength = np.abs(values)
    limit = float(np.percentile(strength, percentile)) or float(strength.max()) or 1.0
    return (-limit if (values < 0).any() else 0.0), limit


@default_style()
def sheet(
    tiles: NDArray[np.float32] | NDArray[np.uint8],
    captions: Sequence[str],
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    scale_label: str = "",
    tile_pixels: int = 96,
) -> Figure:
    """Draw many small pictures as one numbered sheet.

    Parameters
    ----------
    tiles : ndarray of float32 or uint8, shape (N, height, width) or (N, height, width, 3)
        At least one. Values on one common scale, or, without `limits`, gray levels or colours 0..255.
    captions : sequence of str
        N of them, drawn above the tiles.
    title : str
        Of the sheet.
    limits : tuple of float, optional
        Ends of the colour scale, drawn as a scale bar.
    scale_label : str
        What the scale bar measures.
    tile_pixels : int
        About how long the longer side of a tile is drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Each value is a square of whole pixels.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    n, height, width = tiles.shape[:3]
    zoom = max(1, round(tile_pixels / max(height, width)))
    step_x, step_y = width * zoom + GAP, height * zoom + GAP + CAPTION
    columns = min(n, max(4, round((n * 1.6) ** 0.5), 9 * len(title) // step_x))  # at least as wide as the title
    rows = -(-n // columns)
    canvas_width, canvas_height = columns * step_x - GAP, rows * step_y - GAP
    bar = 110 if limits is not None else 0
    full_width, full_height = max(canvas_width + bar, 9 * len(title)) + 32, max(canvas_height, 96) + 64
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI, facecolor="white")
    figure.text(16 / full_width, 1 - 18 / full_height, title, va="center", fontsize=11, fontweight="bold")
    box = (16 / full_width, 16 / full_height, canvas_width / full_width, canvas_height / full_height)
    axes = figure.add_axes(box, xlim=(0, canvas_width), ylim=(canvas_height, 0))
    axes.axis("off")
    for place, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left, top = place % columns * step_x, place // columns * step_y + CAPTION
        scale: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
        if limits is not None:
            scale = {"cmap": SIGNED if limits[0] < 0 else MAGNITUDES, "vmin": limits[0], "vmax": limits[1]}
        extent = (left, left + width * zoom, top + height * zoom, top)
        frame = Rectangle((left - 0.5, top - 0.5), width * zoom + 1, height * zoom + 1)  # or white ones would be lost
        axes.add_patch(frame).set(facecolor="none", edgecolor="#bbbbbb", linewidth=0.6, clip_on=False)
        image = axes.imshow(tile, extent=extent, interpolation="nearest", **scale)
        axes.text(left, top - 3, caption, fontsize=7.5, va="bottom", color="#333333")
    axes.set(xlim=(0, canvas_width), ylim=(canvas_height, 0))
    if limits is not None:
        bar_height = min(canvas_height, 260)
        bar_axes = figure.add_axes(
            (1 - 92 / full_width, 1 - (48 + bar_height) / full_height, 14 / full_width, bar_height / full_height)
        )
        figure.colorbar(image, cax=bar_axes, label=scale_label, extend="max" if limits[0] == 0 else "both")
        bar_axes.tick_params(labelsize=8)
    return figure


@default_style()
def unit_sheet(values: NDArray[np.float32], title: str, *, names: Sequence[str] | None = None) -> Figure:
    """Draw the values of a dense layer.

    Parameters
    ----------
    values : ndarray of float32, shape (units,)
        Up to 32 units become bars, more become a numbered square of cells.
    title : str
        Of the figure.
    names : sequence of str, optional
        Names of the units; their numbers without it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    n = len(values)
    figure = Figure(figsize=(6, 5) if n > 32 else (7, 1.2 + 0.24 * n), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots()
    figure.suptitle(title, fontsize=12, fontweight="bold")
    if n <= 32:
        labels = [str(unit) for unit in range(n)] if names is None else list(names)
        axes.barh(labels, values, color=[tuple((POSITIVE if v > 0 else NEGATIVE) / 255) for v in values])
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.invert_yaxis()
        axes.set(xlabel="output", ylabel="unit" if names is None else None)
        axes.grid(axis="x", alpha=0.3)
        return figure
    columns = 2 ** round(np.log2(n**0.5 * 1.3))
    cells = np.full(-(-n // columns) * columns, np.nan, np.float32)
    cells[:n] = values
    low, high = value_limits(values)
    grid = cells.reshape(-1, columns)
    image = axes.imshow(grid, cmap=SIGNED if low < 0 else MAGNITUDES, vmin=low, vmax=high, interpolation="nearest")
    steps = range(0, len(grid), max(1, len(grid) // 8))
    axes.set_yticks(steps, [str(row * columns) for row in steps])
    axes.set(xlabel="unit: number at the left plus this one", ylabel="unit")
    figure.colorbar(image, label="output", extend="max" if low == 0 else "both")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as `fer_core.outputs.figures.save_figure` does."""
    figures.save_figure(figure, path, dpi=DPI)


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return a picture, uint8 (height, width) or (height, width, 3), as a PNG data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return _png_uri(buffer.getvalue())


def file_uri(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return _png_uri(path.read_bytes())


def _png_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _colours(name: str, position: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Look up colours, float32 (..., 3) in 0..1, at positions 0..1 of a colour map."""
    return np.asarray(figures.load_matplotlib().colormaps[name](position), np.float32)[..., :3]
