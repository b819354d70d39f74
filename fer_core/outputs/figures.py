"""The style of all figures, which neither depends on the user's matplotlib settings nor changes them.

No module that draws imports pyplot, which keeps figures in global state and loads the backend of `MPLBACKEND`: `Figure`
and its PNG writer need neither.
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
"""Font of all figures, which matplotlib includes."""

DPI: Final = 120
"""Pixels per inch of all figures."""

INK: Final = "#333333"
"""Color of axes and captions."""
FRAME: Final = "#bbbbbb"
"""Color of frames around images."""
SERIES: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
"""Colors of lines and bars, distinguishable with any color vision (Okabe and Ito 2008, with gray instead of yellow)."""

STYLE: Final = {
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "grid.alpha": 0.3,
    "text.parse_math": False,
}
"""Settings of all figures that differ from matplotlib's defaults."""

LONGEST_LABEL: Final = 40
"""Characters of a name along an axis that are shown."""

_one_at_a_time: Final[PerProcess[Any]] = PerProcess()
"""Held while matplotlib's settings, which are global, are those of the figures."""


def load_matplotlib() -> Any:
    """Import matplotlib, whatever backend the environment names.

    In a notebook `MPLBACKEND` names a backend that only the notebook's own environment may have, and matplotlib cannot
    be imported at all with the name of a backend that is not installed. A backend that exists is kept.
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
    """Draw with the `STYLE` of all figures; the user's settings are restored at the end. Also a decorator.

    Mathematics is not parsed, as names may contain `$`.
    """
    matplotlib = load_matplotlib()
    settings = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    settings |= STYLE | {"axes.prop_cycle": matplotlib.cycler(color=SERIES)}
    fonts = logging.getLogger("matplotlib.font_manager")
    with _one_at_a_time.get(RLock), matplotlib.rc_context(settings):
        level = fonts.level
        fonts.setLevel(logging.ERROR)  # without this matplotlib warns about each font that has no bold face
        try:
            yield
        finally:
            fonts.setLevel(level)


@default_style()
def save_figure(figure: Figure, path: Path, *, dpi: int = DPI) -> None:
    r"""Write a figure as PNG without date and version, so that equal figures are equal files.

    Characters that the font lacks are drawn in another installed font, or escaped if there is none, e.g. ``\u5feb``.
    Long tick labels are shortened.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Figure to write; its texts may be changed.
    path : Path
        File to write.
    dpi : int
        Pixels per inch.
    """
    _make_legible(figure)
    figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})


def _make_legible(figure: Figure) -> None:
    from matplotlib.text import Text

    # Before the texts, because an axis has no labels until it is asked for them.
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
    """Leave out the middle of long lines, which would leave no room for the axes."""
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
    """Return installed fonts that have some of the characters, by name, and the characters that none has."""
    from matplotlib.font_manager import fontManager, get_font

    of_matplotlib = load_matplotlib().get_data_path()  # fonts of symbols and, as a last resort, of boxes
    fonts: list[str] = []
    wanted = {character for character in characters if character.isprintable()}
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.name, entry.fname)):
        if not wanted:
            break
        if entry.style != "normal" or entry.name in fonts or entry.fname.startswith(of_matplotlib):
            continue
        try:
            known = get_font(entry.fname).get_charmap()
        except (OSError, RuntimeError):  # removed meanwhile, or a kind of font that cannot be drawn
            continue
        if found := {character for character in wanted if ord(character) in known}:
            fonts.append(entry.name)
            wanted -= found
            characters = characters - found
    return fonts, characters


def escaped(character: str) -> str:
    """Return a printable form of a character; nothing for marks that only change the look of their neighbors."""
    if unicodedata.category(character) == "Cf" or "\ufe00" <= character <= "\ufe0f":
        return ""
    return character.encode("unicode_escape").decode("ascii")
