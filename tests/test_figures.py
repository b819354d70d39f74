"""Figures are the same whatever matplotlib settings, backend and names a user has, and leave the settings alone."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from fer_core.outputs import figures
from fer_core.outputs.figures import default_style, load_matplotlib, save_figure
from fer_explain.evaluation.comparison import MethodScore
from fer_explain.evaluation.intervals import estimate
from fer_explain.evaluation.plots import line_figure, ranking_figure
from fer_explain.sheets import sheet, unit_sheet
from fer_infer.evaluation.plots import save_confusion, save_reliability
from fer_infer.evaluation.reliability import reliability
from fer_train.audit.contact_sheet import Strip, save_contact_sheet
from fer_train.runs.curves import save_curves

HARD_NAME = "高兴 ﷽ $x^ \t \x07 \udcff é"
"""Characters that no font, or only some fonts, have, control characters, half a character, and broken mathematics."""

Draw = Callable[[Path, str], None]


def confusion(path: Path, name: str) -> None:
    save_confusion(np.array([[3, 1], [0, 2]]), [name, f"{name} 2"], path, name)


def reliability_diagram(path: Path, name: str) -> None:
    bins = reliability(np.array([0, 1]), np.array([[0.9, 0.1], [0.3, 0.7]]))
    save_reliability(bins, 0.1, path, name)


def curves(path: Path, name: str) -> None:
    row = {"epoch": 1, "train_loss": 1.0, "validation_loss": 1.1, "train_accuracy": 0.5, "validation_accuracy": 0.4}
    save_curves([row], path, name, name)


def tiles(path: Path, name: str) -> None:
    save_figure(
        sheet(np.ones((2, 4, 4), np.float32), [name, name], name, limits=(0, 1), scale_label=name), path, dpi=50
    )


def bars(path: Path, name: str) -> None:
    save_figure(unit_sheet(np.ones(2, np.float32), name, names=[name, f"{name} 2"]), path, dpi=50)


def ranking(path: Path, name: str) -> None:
    value = estimate(np.arange(4.0))
    scores = [MethodScore(method, "s", value, value, {}, None) for method in (name, "random")]
    save_figure(ranking_figure(scores, {"s": name}), path, dpi=50)


def lines(path: Path, name: str) -> None:
    measures = {name: {name: np.ones((2, 3))}, "other": {name: np.ones((2, 3))}}
    figure = line_figure(measures, [name, "b"], limit=0.5, xlabel=name, title=name)
    save_figure(figure, path, dpi=50)


def contact_sheet(path: Path, name: str) -> None:
    save_contact_sheet([Strip(np.zeros((1, 48, 48), np.uint8), [(name,)])], path, name)


DRAWINGS: list[Draw] = [confusion, reliability_diagram, curves, tiles, bars, ranking, lines, contact_sheet]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_any_name_is_drawn_without_a_warning(draw: Draw, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(tmp_path / "hard.png", HARD_NAME)
        draw(tmp_path / "other.png", "happy")
    hard, other = ((tmp_path / f"{name}.png").read_bytes() for name in ("hard", "other"))
    assert hard.startswith(b"\x89PNG")
    assert hard != other
    assert capfd.readouterr() == ("", "")


def test_what_no_font_has_is_escaped_and_the_rest_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mpl.font_manager.fontManager, "ttflist", [])
    with default_style():
        figure = mpl.figure.Figure()
        axes = figure.subplots()
        axes.set_xticks([0, 1], ["高 b", "happy"], rotation=35)
        axes.set_title("a 高\nb ❤\ufe0f\u200d $x$")
    save_figure(figure, tmp_path / "figure.png", dpi=50)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["\\u9ad8 b", "happy"]
    assert axes.get_xticklabels()[0].get_rotation() == 35
    assert axes.get_title().startswith("a \\u9ad8\nb ❤")
    assert axes.get_title().endswith(" $x$")


def test_long_names_along_an_axis_leave_room_for_it(tmp_path: Path) -> None:
    with default_style():
        figure = mpl.figure.Figure(layout="constrained")
        axes = figure.subplots()
        axes.set_yticks([0, 1], ["a" * 100 + "b" * 100 + "\n(12)", "c" * 40])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / "figure.png", dpi=50)
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["a" * 20 + "…" + "b" * 19 + "\n(12)", "c" * 40]


def test_another_installed_font_is_used_for_characters_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No font with Chinese characters is on every machine: one that has them all is pretended."""
    fonts = [SimpleNamespace(name=name, fname=f"/fonts/{name}.ttf", style="normal") for name in ("Broken", "Chinese")]

    def get_font(file: str) -> Any:
        if "Broken" in file:
            raise RuntimeError("no outlines")
        return SimpleNamespace(get_charmap=lambda: {ord("高"): 1})

    monkeypatch.setattr(mpl.font_manager.fontManager, "ttflist", fonts)
    monkeypatch.setattr(mpl.font_manager, "get_font", get_font)
    assert figures._fonts_with({"高", "兴", "\x07"}) == (["Chinese"], {"兴", "\x07"})


@pytest.fixture
def settings_of_a_user(tmp_path: Path) -> Any:
    """An open figure, and settings that would change a picture or need LaTeX."""
    with mpl.rc_context():
        mpl.rcParams.update(
            {"font.size": 30, "figure.facecolor": "red", "savefig.bbox": "tight", "axes.prop_cycle": plt.cycler(c="k")}
        )
        mpl.rcParams["text.usetex"] = True
        figure = plt.figure("mine")
        before = (dict(mpl.rcParams), plt.get_fignums(), plt.gcf())
        yield
        assert (dict(mpl.rcParams), plt.get_fignums(), plt.gcf()) == before
        plt.close(figure)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_settings_of_the_user_neither_show_nor_change(
    draw: Draw, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    draw(tmp_path / "without.png", "happy")
    request.getfixturevalue("settings_of_a_user")
    draw(tmp_path / "with.png", "happy")
    assert (tmp_path / "with.png").read_bytes() == (tmp_path / "without.png").read_bytes()


def test_settings_of_the_user_are_restored_after_an_error(settings_of_a_user: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        confusion(tmp_path / "no" / "folder.png", "happy")


@pytest.mark.parametrize(
    ("backend", "kept"),
    [("module://of_another.environment", True), ("no_backend", False), ("svg", True), ("", False), (None, False)],
)
def test_matplotlib_is_imported_whatever_backend_is_named(backend: str | None, kept: bool) -> None:
    code = """
import os
before = dict(os.environ)
from fer_core.outputs.figures import load_matplotlib
matplotlib = load_matplotlib()
assert dict(os.environ) == before
print(matplotlib.rcParams._get("backend") if hasattr(matplotlib.rcParams, "_get") else "")
"""
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment |= {} if backend is None else {"MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert (done.stdout.strip() == backend) == kept


def test_loaded_matplotlib_is_used_as_it_is() -> None:
    assert load_matplotlib() is mpl


def test_pictures_do_not_depend_on_who_looks_at_the_labels_first(tmp_path: Path) -> None:
    """Looking for missing characters asks axes for labels, which must not change where they are."""
    for name, found in (("first", False), ("second", True)):
        with default_style():
            figure = mpl.figure.Figure(layout="constrained")
            axes = figure.subplots()
            axes.plot([0, 12345], [3, 4])
            if found:
                figure.findobj(Text)
        save_figure(figure, tmp_path / f"{name}.png", dpi=50)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_threads_draw_at_once(settings_of_a_user: Any, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(confusion, files, ["happy"] * len(files)))
    assert len({file.read_bytes() for file in files}) == 1
