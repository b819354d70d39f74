"""A contact sheet: groups of faces side by side, with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE
from fer_core.outputs.figures import escaped

COLUMNS: Final = 12
"""Number of faces per line."""

_SCALE, _GAP, _LINE, _FONT = 2, 8, 14, 12
_SIDE: Final = _SCALE * IMAGE_SIZE


@dataclass(frozen=True, eq=False)
class Strip:
    """Faces that belong together.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        At least one face. Faces beyond one line of the sheet are counted instead of shown.
    captions : sequence of sequences of str
        Lines below each face, equally many throughout a sheet.
    warning : bool
        Draw a red frame.
    """

    images: NDArray[np.uint8]
    captions: Sequence[Sequence[str]]
    warning: bool = False


def save_contact_sheet(strips: Sequence[Strip], path: Path, title: str) -> None:
    """Draw groups of faces, as many per line as fit.

    Parameters
    ----------
    strips : sequence of Strip
        At least one group.
    path : Path
        PNG to write, the same bytes for the same strips.
    title : str
        Title of the sheet.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_FONT)
    cell_width, cell_height = _SIDE + _GAP, _SIDE + _LINE * len(strips[0].captions[0]) + 2 * _GAP
    places = _places([min(len(strip.images), COLUMNS) for strip in strips])
    header = _LINE + 2 * _GAP
    size = COLUMNS * cell_width + _GAP, header + (places[-1][0] + 1) * cell_height
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), _legible(title, font), "black", font)
    for strip, (line, column) in zip(strips, places, strict=True):
        x, y = _GAP + column * cell_width, header + line * cell_height
        shown = min(len(strip.images), COLUMNS)
        corners = x - _GAP // 2, y - _GAP // 2, x + shown * cell_width - _GAP // 2 - 2, y + cell_height - _GAP
        draw.rectangle(corners, outline="#c00000" if strip.warning else "#b0b0b0", width=2 if strip.warning else 1)
        for at in range(shown):
            face = Image.fromarray(strip.images[at]).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            sheet.paste(face, (x + at * cell_width, y))
            lines = list(strip.captions[at])
            if at == COLUMNS - 1 < len(strip.images) - 1:
                lines[-1] += f" +{len(strip.images) - COLUMNS}"
            for number, text in enumerate(lines):
                draw.text((x + at * cell_width, y + _SIDE + number * _LINE), _legible(text, font), "black", font)
    sheet.save(path, format="PNG")


def _legible(text: str, font: Any) -> str:
    """Escape the characters of `text` that the font lacks, which it would draw as an empty box."""
    box = bytes(font.getmask("\U0010fffd"))

    def lacks(character: str) -> bool:
        return not character.isprintable() or bytes(font.getmask(character)) == box

    return "".join(escaped(character) if lacks(character) else character for character in text)


def _places(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return line and column of each strip; a strip that does not fit into a line starts the next one."""
    places = []
    line = column = 0
    for length in lengths:
        if column + length > COLUMNS:
            line, column = line + 1, 0
        places.append((line, column))
        column += length
    return places
