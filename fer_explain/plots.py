"""Images of explanations: attribution maps over faces, and sheets of tiles. Equal input gives equal bytes.

Colors are distinguishable with any color vision: magnitudes use matplotlib's inferno, whose lightness increases
monotonically; signed values range from blue (negative) to orange (positive).
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import figures
from fer_core.figures import DPI as DPI
from fer_core.figures import FRAME, INK, default_style
from fer_core.figures import save_figure as save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MAGNITUDES: Final = "inferno"
SIGNED: Final = "PuOr_r"
POSITIVE: Final = np.array([230, 97, 1], np.float32)
NEGATIVE: Final = np.array([33, 102, 232], np.float32)

FACE_BRIGHTNESS: Final = 0.7
"""Factor by which faces are darkened under a map, so that the map has the highest brightness."""
OVERLAY_GAMMA: Final = 0.75
"""Exponent of the opacity of a map; below 1 it makes medium values visible."""
MIN_MAGNITUDE_COLOR: Final = 0.3
"""Start of the color scale of magnitudes; its darker part is not visible over a face."""

TILE: Final = 96
"""Approximate length of the longer side of a tile, in pixels."""
LARGE_TILE: Final = 144
SMALL_TILE: Final = 48

MAX_BARS: Final = 32
"""Most units of a dense layer that are drawn as bars; more are drawn as cells."""


def normalize(attributions: NDArray[np.float32], percentile: float = 99.0) -> NDArray[np.float32]:
    """Scale each map to the range -1 to 1 by a percentile of its absolute values.

    Parameters
    ----------
    attributions : ndarray of float32, shape (..., 48, 48)
        Maps of any scale.
    percentile : float
        Percentile of the absolute values that is scaled to 1, 0..100; larger values are clipped, so that single
        pixels do not dominate. A map whose percentile is zero is scaled by its maximum.

    Returns
    -------
    ndarray of float32, the same shape
        -1..1; zero for a constant map.

    Examples
    --------
    >>> from fer_explain.plots import normalize
    >>> scaled = normalize(np.arange(2304, dtype=np.float32).reshape(48, 48))
    >>> float(scaled.min()), float(scaled.max())
    (0.0, 1.0)
    """
    strength = np.abs(attributions)
    flat = is_flat(attributions)
    pixels = strength.reshape(*strength.shape[:-2], strength.shape[-2] * strength.shape[-1])
    full = np.percentile(pixels, percentile, axis=-1)[..., None, None]
    full = np.where(full > 0, full, strength.max(axis=(-2, -1), keepdims=True))
    scaled = np.clip(attributions / np.where(flat, 1.0, full), -1.0, 1.0)
    return np.where(flat, 0.0, scaled).astype(np.float32)


def is_flat(attributions: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return whether each map is constant, shape (..., 1, 1)."""
    lowest, highest = attributions.min(axis=(-2, -1), keepdims=True), attributions.max(axis=(-2, -1), keepdims=True)
    flat: NDArray[np.bool_] = lowest == highest
    return flat


def overlay(images: NDArray[np.uint8], attributions: NDArray[np.float32], *, signed: bool) -> NDArray[np.uint8]:
    """Draw attribution maps over gray faces.

    Parameters
    ----------
    images : ndarray of uint8, shape (..., 48, 48)
        Faces, 0..255.
    attributions : ndarray of float32, the same shape
        Maps of any scale; each is normalized separately, see `normalize`.
    signed : bool
        Whether the sign has a meaning: orange supports the class, blue opposes it.

    Returns
    -------
    ndarray of uint8, shape (..., 48, 48, 3)
        Red, green, blue, 0..255. Where a map is zero, the darkened face is visible.
    """
    values = normalize(attributions)
    strength = np.abs(values)[..., None]
    face = FACE_BRIGHTNESS * images[..., None].astype(np.float32)
    if signed:
        color = np.where(values[..., None] > 0, POSITIVE, NEGATIVE)
    else:
        color = 255 * _colors(MAGNITUDES, MIN_MAGNITUDE_COLOR + (1 - MIN_MAGNITUDE_COLOR) * strength[..., 0])
    mixed = face + strength**OVERLAY_GAMMA * (color - face)
    rounded: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return rounded


def scale_strip(*, signed: bool, length: int = 96) -> NDArray[np.uint8]:
    """Draw the color scale of `overlay`, from its lowest to its highest value, over mid gray, uint8 (1, length, 3)."""
    values = np.linspace(-1 if signed else 0, 1, length, dtype=np.float32)[None]
    return overlay(np.full(values.shape, 128, np.uint8), values, signed=signed)


def tint(values: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Map values to the colors of `sheet`, uint8 (..., 3); a lower limit below zero selects the diverging scale."""
    low, high = limits
    position = np.clip((values - low) / (high - low), 0, 1)
    return np.rint(255 * _colors(SIGNED if low < 0 else MAGNITUDES, position)).astype(np.uint8)


def value_limits(values: NDArray[np.float32], percentile: float = 99.5) -> tuple[float, float]:
    """Choose the limits of a color scale.

    Parameters
    ----------
    values : ndarray of float32
        Values to color.
    percentile : float
        Percentile of the absolute values at the end of the scale; larger values are clipped.

    Returns
    -------
    low, high : float
        (0, limit) if no value is negative, else (-limit, limit); the limit is 1 if all values are zero.
    """
    strength = np.abs(values)
    limit = float(np.percentile(strength, percentile)) or float(strength.max()) or 1.0
    return (-limit if (values < 0).any() else 0.0), limit


@dataclass(frozen=True)
class SheetLayout:
    """Geometry of a sheet, in pixels: a title above a grid of equal tiles with captions, and a scale bar at the right.

    Attributes
    ----------
    n : int
        Number of tiles.
    tile_height, tile_width : int
        Size of a tile.
    title_letters : int
        Length of the title; the sheet is at least as wide as the title.
    has_scale_bar : bool
        Whether there is a scale bar.
    fixed_columns : int, optional
        Number of columns. Default: about 1.6 times the number of rows, or more for a long title.
    """

    n: int
    tile_height: int
    tile_width: int
    title_letters: int
    has_scale_bar: bool
    fixed_columns: int | None = None

    margin = 16
    title_space = 48
    title_font = 15.0
    title_letter_width = 9
    gap = 6
    caption_space = 15
    caption_font = 10.4
    min_columns = 4
    columns_per_row = 1.6
    min_grid_height = 96
    scale_bar_space = 110
    scale_bar_right = 92
    scale_bar_width = 14
    max_scale_bar_height = 260
    frame_width = 0.8

    @property
    def title_width(self) -> int:
        """Approximate width of the title."""
        return self.title_letter_width * self.title_letters

    @property
    def steps(self) -> tuple[int, int]:
        """Vertical and horizontal distance between tiles."""
        return self.tile_height + self.gap + self.caption_space, self.tile_width + self.gap

    @property
    def columns(self) -> int:
        """Number of columns of the grid."""
        if self.fixed_columns is not None:
            return self.fixed_columns
        preferred = round(math.sqrt(self.n * self.columns_per_row))
        return min(self.n, max(self.min_columns, preferred, self.title_width // self.steps[1]))

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the grid."""
        down, right = self.steps
        return math.ceil(self.n / self.columns) * down - self.gap, self.columns * right - self.gap

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the sheet."""
        height, width = self.grid
        bar = self.scale_bar_space if self.has_scale_bar else 0
        return (
            max(height, self.min_grid_height) + self.title_space + self.margin,
            max(width + bar, self.title_width) + 2 * self.margin,
        )

    def corner(self, i: int) -> tuple[int, int]:
        """Return top and left of tile `i` within the grid."""
        down, right = self.steps
        return i // self.columns * down + self.caption_space, i % self.columns * right

    def fractions(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Return a box of pixels, measured from the lower left corner, as fractions of the sheet."""
        full_height, full_width = self.size
        return left / full_width, bottom / full_height, width / full_width, height / full_height


@default_style()
def sheet(
    tiles: NDArray[np.float32] | NDArray[np.uint8],
    captions: Sequence[str],
    title: str,
    *,
    limits: tuple[float, float] | None = None,
    scale_label: str = "",
    tile_pixels: int = TILE,
    columns: int | None = None,
) -> Figure:
    """Draw many small images as one sheet.

    Parameters
    ----------
    tiles : ndarray of float32 or uint8, shape (N, height, width) or (N, height, width, 3)
        At least one tile. Values on a common scale, or, without `limits`, gray levels or colors 0..255.
    captions : sequence of str
        N captions, drawn above the tiles.
    title : str
        Title of the sheet.
    limits : tuple of float, optional
        Limits of the color scale; a scale bar is drawn.
    scale_label : str
        Label of the scale bar.
    tile_pixels : int
        Approximate length of the longer side of a tile, in pixels.
    columns : int, optional
        Number of columns. Default: a grid that is wider than high.

    Returns
    -------
    matplotlib.figure.Figure
        Each value is drawn as a square of whole pixels.
    """
    from matplotlib.figure import Figure

    n, height, width = tiles.shape[:3]
    zoom = max(1, round(tile_pixels / max(height, width)))
    layout = SheetLayout(n, height * zoom, width * zoom, len(title), limits is not None, columns)
    full_height, full_width = layout.size
    grid_height, grid_width = layout.grid
    figure = Figure(figsize=(full_width / DPI, full_height / DPI))
    title_at = layout.fractions(layout.margin, full_height - 18, 0, 0)[:2]
    figure.text(*title_at, title, va="center", fontsize=_points(layout.title_font), fontweight="bold")
    axes = figure.add_axes(layout.fractions(layout.margin, layout.margin, grid_width, grid_height))
    images = []
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        images.append(_draw_tile(axes, tile, caption, layout, i, limits))
    axes.set(xlim=(0, grid_width), ylim=(grid_height, 0))
    axes.axis("off")
    if limits is not None:
        bar_height = min(grid_height, layout.max_scale_bar_height)
        left, bottom = full_width - layout.scale_bar_right, full_height - layout.title_space - bar_height
        bar = figure.add_axes(layout.fractions(left, bottom, layout.scale_bar_width, bar_height))
        figure.colorbar(images[-1], cax=bar, label=scale_label, extend="max" if limits[0] == 0 else "both")
    return figure


def _draw_tile(
    axes: Axes,
    tile: NDArray[Any],
    caption: str,
    layout: SheetLayout,
    i: int,
    limits: tuple[float, float] | None,
) -> AxesImage:
    """Draw one tile with its caption and frame; return matplotlib's image."""
    from matplotlib.patches import Rectangle

    top, left = layout.corner(i)
    height, width = layout.tile_height, layout.tile_width
    scale: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255}
    if limits is not None:
        scale = {"cmap": SIGNED if limits[0] < 0 else MAGNITUDES, "vmin": limits[0], "vmax": limits[1]}
    frame = Rectangle((left - 0.5, top - 0.5), width + 1, height + 1)  # makes white tiles visible
    line_width = _points(layout.frame_width)
    axes.add_patch(frame).set(facecolor="none", edgecolor=FRAME, linewidth=line_width, clip_on=False)
    axes.text(left, top - 3, caption, fontsize=_points(layout.caption_font), va="bottom", color=INK)
    return axes.imshow(tile, extent=(left, left + width, top + height, top), interpolation="nearest", **scale)


@default_style()
def unit_sheet(values: NDArray[np.float32], title: str, *, names: Sequence[str] | None = None) -> Figure:
    """Draw the output of a dense layer.

    Parameters
    ----------
    values : ndarray of float32, shape (units,)
        At most `MAX_BARS` units are drawn as bars, more as a grid of numbered cells.
    title : str
        Title of the figure.
    names : sequence of str, optional
        Names of the units. Default: their numbers.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    n = len(values)
    as_bars = n <= MAX_BARS
    figure = Figure(figsize=(7, 1.2 + 0.24 * n) if as_bars else (6, 5), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    if as_bars:
        labels = [str(unit) for unit in range(n)] if names is None else list(names)
        axes.barh(labels, values, color=[tuple((POSITIVE if v > 0 else NEGATIVE) / 255) for v in values])
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.invert_yaxis()
        axes.set(xlabel="output", ylabel="unit" if names is None else None)
        axes.grid(axis="x")
        return figure
    columns = 2 ** round(np.log2(n**0.5 * 1.3))
    cells = np.full(math.ceil(n / columns) * columns, np.nan, np.float32)
    cells[:n] = values
    low, high = value_limits(values)
    grid = cells.reshape(-1, columns)
    image = axes.imshow(grid, cmap=SIGNED if low < 0 else MAGNITUDES, vmin=low, vmax=high, interpolation="nearest")
    steps = range(0, len(grid), max(1, len(grid) // 8))
    axes.set_yticks(steps, [str(row * columns) for row in steps])
    axes.set(xlabel="column (unit number = first unit of the row + column)", ylabel="first unit of the row")
    figure.colorbar(image, label="output", extend="max" if low == 0 else "both")
    return figure


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, uint8 (height, width) or (height, width, 3), as a PNG data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return _png_uri(buffer.getvalue())


def file_uri(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return _png_uri(path.read_bytes())


def _png_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _points(pixels: float) -> float:
    """Convert a length from pixels to matplotlib's points."""
    return pixels * 72 / DPI


def _colors(name: str, position: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Look up colors, float32 (..., 3) in 0..1, at positions 0..1 of a color map."""
    return np.asarray(figures.load_matplotlib().colormaps[name](position), np.float32)[..., :3]
