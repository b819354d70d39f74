"""Matplotlib figures that neither depend on the user's matplotlib settings nor change them.

No module of the toolkit imports pyplot, which has global state and loads the backend of `MPLBACKEND`; `Figure` and its
PNG writer need neither.
"""

from __future__ import annotations

import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from fer_core.outputs.notebooks import show_figures
from fer_core.per_process import PerProcess

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKEND_VARIABLE: Final = "MPLBACKEND"

FONT: Final = "DejaVu Sans"
"""Font of all figures, included in matplotlib."""

LONGEST_LABEL: Final = 40
"""Maximum length of a tick label, in characters."""

_one_at_a_time: Final[PerProcess[Any]] = PerProcess()
"""Lock that is held while matplotlib's global settings are changed."""


def load_matplotlib() -> Any:
    """Import matplotlib, even if the environment names a backend that is missing.

    Notebooks set `MPLBACKEND` to a backend that may be installed only in their own environment, and matplotlib cannot
    be imported with the name of a missing backend. An existing backend is kept.
    """
    if "matplotlib" not in sys.modules:
        backend = os.environ.pop(BACKEND_VARIABLE, None)
        try:
            import matplotlib
        finally:
            if backend is not None:
                os.environ[BACKEND_VARIABLE] = backend
        if backend:
            with suppress(ValueError):
                matplotlib.rcParams["backend"] = backend
    show_figures()
    return sys.modules["matplotlib"]


@contextmanager
def default_style() -> Iterator[None]:
    """Draw with matplotlib's default settings and plain text; the user's settings are restored at the end.

    Plain text matters for names that contain `$`, which would start a formula. Usable as a decorator.
    """
    matplotlib = load_matplotlib()
    settings = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    fonts = logging.getLogger("matplotlib.font_manager")
    with _one_at_a_time.get(RLock), matplotlib.rc_context(settings | {"text.parse_math": False}):
        level = fonts.level
        fonts.setLevel(logging.ERROR)  # it warns about each font without a bold face
        try:
            yield
        finally:
            fonts.setLevel(level)


@default_style()
def save_figure(figure: Figure, path: Path, *, dpi: int) -> None:
    r"""Write a figure as PNG, without date and version, so that equal figures give equal files.

    Characters that the font lacks are drawn with another installed font, or escaped if no font has them, e.g.
    ``\u5feb``. Long tick labels are shortened.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to save; its texts may be changed.
    path : Path
        File to write.
    dpi : int
        Pixels per inch.
    """
    _make_legible(figure)
    figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})


def _make_legible(figure: Figure) -> None:
    from matplotlib.text import Text

    # Read before the texts, since matplotlib creates tick labels on first access.
    labels = {
        axis: [label.get_text() for label in axis.get_majorticklabels()]
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
    }
    texts = [found for found in figure.findobj(Text) if isinstance(found, Text)]
    lacking = _lacking("".join(text.get_text() for text in texts))
    fonts, lacking = _fonts_with(lacking) if lacking else ([], lacking)
    replaced = str.maketrans({character: escaped(character) for character in lacking})
    for axis, names in labels.items():
        shown = [_shortened(name.translate(replaced)) for name in names]
        if shown != names:
            axis.set_ticks(axis.get_majorticklocs(), shown)
    if not fonts and not lacking:
        return
    for text in texts:
        text.set_text(text.get_text().translate(replaced))
        text.set_fontfamily([FONT, *fonts])


def _shortened(label: str) -> str:
    """Cut the middle of long lines, which would leave no room for the axes."""
    lines = label.split("\n")
    half = LONGEST_LABEL // 2
    return "\n".join(line if len(line) <= LONGEST_LABEL else f"{line[:half]}…{line[1 - half :]}" for line in lines)


def _lacking(text: str) -> set[str]:
    """Return the characters of `text` that the regular or the bold font lacks."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    lacking = set()
    for weight in ("normal", "bold"):
        known = get_font(findfont(FontProperties(family=FONT, weight=weight))).get_charmap()
        lacking |= {character for character in set(text) - {"\n"} if ord(character) not in known}
    return lacking


def _fonts_with(characters: set[str]) -> tuple[list[str], set[str]]:
    """Return the names of installed fonts that have some of the characters, and the characters that no font has."""
    from matplotlib.font_manager import fontManager, get_font

    of_matplotlib = load_matplotlib().get_data_path()  # these have symbols, or boxes for missing characters
    fonts: list[str] = []
    wanted = {character for character in characters if character.isprintable()}
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        if not wanted:
            break
        if entry.style != "normal" or entry.name in fonts or entry.fname.startswith(of_matplotlib):
            continue
        try:
            known = get_font(entry.fname).get_charmap()
        except (OSError, RuntimeError):  # removed meanwhile, or a font type that cannot be drawn
            continue
        if found := {character for character in wanted if ord(character) in known}:
            fonts.append(entry.name)
            wanted -= found
            characters = characters - found
    return fonts, characters


def escaped(character: str) -> str:
    """Return a printable form of a character; empty for invisible marks that only modify their neighbors."""
    if unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    return character.encode("unicode_escape").decode("ascii")
