"""Sheets of many small images, and figures of the units of a dense layer. Equal input gives equal bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.figures import DPI, FRAME, INK, default_style
from fer_core.outputs.map_colors import MAGNITUDES, NEGATIVE, POSITIVE, SIGNED
from fer_explain.plots import value_limits

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

TILE: Final = 96
"""Approximate length of the longer side of a tile, in pixels."""
LARGE_TILE: Final = 144
SMALL_TILE: Final = 48

MAX_BARS: Final = 32
"""Most units of a dense layer that are drawn as bars; more are drawn as cells."""


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


def _points(pixels: float) -> float:
    """Convert a length from pixels to matplotlib's points."""
    return pixels * 72 / DPI
