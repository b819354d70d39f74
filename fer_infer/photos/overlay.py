"""Draw predictions into pictures, and make the faces in them unrecognizable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from fer_core.errors import ConfigError
from fer_core.outputs.figures import SERIES
from fer_infer.config import ANONYMIZE
from fer_infer.photos.found_face import Box

HEAD: Final = 1.5
"""Side of the head, with hair and chin, relative to that of the box of the face."""
BLOCKS: Final = 6
"""Blocks per side to which an anonymized head is reduced: an eye is smaller than a block."""
MASK: Final = (90, 90, 90)
SMALLEST_TEXT: Final = 11
THINNEST_LINE: Final = 2


class HeldBoxes:
    """Boxes of the faces of a film that are to be covered, also where a face is missed in single frames.

    The last box of a followed face is held for a while after the face is no longer found. A face that the detector has
    not found before is not covered.

    Parameters
    ----------
    hold_s : float
        Time in seconds for which a box is held, from the first frame without the face: that of the tracker.

    Examples
    --------
    >>> from fer_infer.photos.found_face import Box
    >>> from fer_infer.photos.overlay import HeldBoxes
    >>> held = HeldBoxes(hold_s=1.0)
    >>> box = Box(30, 30, 60, 60)
    >>> [len(held.at(time_s, found)) for time_s, found in ((0.0, [(1, box)]), (0.5, []), (1.5, []), (1.6, []))]
    [1, 1, 1, 0]
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._last: dict[int, tuple[float | None, Box]] = {}

    def at(self, time_s: float, found: Iterable[tuple[int | None, Box]]) -> list[Box]:
        """Return the boxes to cover at a time in seconds, given the ids and boxes that were found.

        Faces without an id, such as those that are too small to be scored, are covered, but not held.
        """
        boxes = []
        self._last = {
            face: (time_s if missed_s is None else missed_s, box) for face, (missed_s, box) in self._last.items()
        }
        for face, box in found:
            if face is None:
                boxes.append(box)
            else:
                self._last[face] = None, box
        longest = self._hold_s + 1e-9
        self._last = {
            face: (missed_s, box)
            for face, (missed_s, box) in self._last.items()
            if missed_s is None or time_s - missed_s <= longest
        }
        return boxes + [box for _, box in self._last.values()]


class Label(NamedTuple):
    """What is drawn at a face: its box, its title, and probabilities with the names of their classes."""

    box: Box
    title: str
    probabilities: Sequence[float]
    classes: Sequence[str]


def draw_labels(pixels: NDArray[np.uint8], labels: Iterable[Label]) -> NDArray[np.uint8]:
    """Draw boxes, titles and bars of probabilities into a picture.

    Lines and texts are as large as the picture requires; where it has no room beside a face, only the title is drawn.
    A bar is as long as its probability, from 0 to 1 over the width of the panel. Classes are colored as in all figures
    of the toolkit, with a palette for any color vision.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue.
    labels : iterable of Label
        Faces.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        A copy with the labels.

    Examples
    --------
    >>> from fer_infer.photos.found_face import Box
    >>> from fer_infer.photos.overlay import Label, draw_labels
    >>> label = Label(Box(30, 30, 60, 60), "1 happy 90%", [0.1, 0.9], ["sad", "happy"])
    >>> draw_labels(np.zeros((120, 160, 3), np.uint8), [label]).shape
    (120, 160, 3)
    """
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image, "RGBA")
    unit = max(1, round(max(image.size) / 400))
    for label in labels:
        _draw(draw, image.size, label, unit)
    return np.asarray(image)


def _draw(draw: ImageDraw.ImageDraw, size: tuple[int, int], label: Label, unit: int) -> None:
    left, top, width, height = label.box
    winner = int(np.argmax(label.probabilities))
    color, line = SERIES[winner % len(SERIES)], max(THINNEST_LINE, unit)
    # a dark edge keeps the line visible on any background
    for grown, paint in ((unit, "#000000a0"), (0, color)):
        edges = (left - grown, top - grown, left + width + grown, top + height + grown)
        draw.rectangle(edges, outline=paint, width=line + grown)
    text = max(SMALLEST_TEXT, round(min(0.09 * height + 6, 9 * unit)))
    font = ImageFont.load_default(text)
    line_height = round(1.3 * text)
    names = max(draw.textlength(name, font) for name in (*label.classes, "0"))
    title_width = round(draw.textlength(label.title, font) + text)
    panel_width, panel_height = max(round(names + 5 * text), title_width), line_height * (len(label.classes) + 1)
    place = _beside(size, label.box, panel_width, panel_height + text // 2, 3 * unit)
    if place is None:  # the picture has no room for bars that leave the face visible
        x, y = _within(size, left, top - line_height - text // 2 - 2 * unit, title_width, line_height + text // 2)
        _panel(draw, (x, y, title_width, line_height + text // 2), label.title, font)
        return
    x, y = place
    _panel(draw, (x, y, panel_width, panel_height + text // 2), label.title, font)
    room = panel_width - names - 1.5 * text
    for number, (name, share) in enumerate(zip(label.classes, label.probabilities, strict=True)):
        row = y + line_height * (number + 1) + text // 4
        draw.text((x + text // 2, row), name, fill="black", font=font)
        start = x + text + names
        bar = (start, row + text // 4, start + max(1.0, room * share), row + text)
        draw.rectangle(bar, fill=SERIES[number % len(SERIES)])


def _panel(draw: ImageDraw.ImageDraw, box: tuple[float, float, int, int], title: str, font: Any) -> None:
    x, y, width, height = box
    draw.rectangle((x, y, x + width, y + height), fill="#ffffffd8")
    draw.text((x + font.size // 2, y + font.size // 4), title, fill="black", font=font)


def _beside(size: tuple[int, int], box: Box, width: int, height: int, gap: int) -> tuple[float, float] | None:
    """Return the corner of a panel to the right of a box, else to the left, below or above; None without room."""
    right, bottom = box.left + box.width + gap, box.top + box.height + gap
    corners = (
        (right, box.top, right + width <= size[0]),
        (box.left - gap - width, box.top, box.left - gap - width >= 0),
        (box.left, bottom, bottom + height <= size[1]),
        (box.left, box.top - gap - height, box.top - gap - height >= 0),
    )
    return next((_within(size, x, y, width, height) for x, y, has_room in corners if has_room), None)


def _within(size: tuple[int, int], x: float, y: float, width: int, height: int) -> tuple[float, float]:
    """Return the corner of a panel, moved into the picture."""
    return max(0, min(x, size[0] - width)), max(0, min(y, size[1] - height))


def anonymize(pixels: NDArray[np.uint8], boxes: Iterable[Box], how: str) -> NDArray[np.uint8]:
    """Make faces unrecognizable, with the head around them.

    The head is reduced to a few blocks, whose colors are means of many pixels, and then blurred ("blur"), or covered by
    gray ("mask"). What is lost cannot be computed back. A face that was not found stays as it is.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W, 3)
        Red, green and blue.
    boxes : iterable of Box
        Boxes of all faces, also those that are too small to be scored.
    how : {"none", "blur", "mask"}
        Method; "none" returns the picture unchanged.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        A copy, or the picture itself if nothing is changed.

    Raises
    ------
    ConfigError
        If `how` is another text.

    Examples
    --------
    >>> from fer_infer.photos.found_face import Box
    >>> from fer_infer.photos.overlay import anonymize
    >>> anonymize(np.zeros((80, 80, 3), np.uint8), [Box(20, 20, 30, 30)], "mask").max()
    np.uint8(90)
    """
    if how not in ANONYMIZE:
        raise ConfigError(f"expected one of {', '.join(ANONYMIZE)}, found {how!r}", parameter="anonymize")
    if how == "none":
        return pixels
    image = Image.fromarray(pixels)
    for box in boxes:
        x, y = box.left + box.width / 2, box.top + box.height / 2
        w, h = (HEAD * side / 2 for side in (box.width, box.height))
        left, top = max(0, int(x - w)), max(0, int(y - h))
        right, bottom = min(image.width, int(x + w) + 1), min(image.height, int(y + h) + 1)
        if right <= left or bottom <= top:
            continue
        region = image.crop((left, top, right, bottom))
        if how == "mask":
            covered = Image.new("RGB", region.size, MASK)
        else:
            few = region.resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
            covered = few.resize(region.size, Image.Resampling.NEAREST)
            covered = covered.filter(ImageFilter.GaussianBlur(max(region.size) / BLOCKS / 2))
        image.paste(covered, (left, top))
    return np.asarray(image)
