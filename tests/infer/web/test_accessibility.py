"""The page is used by keyboard and screen reader, on phones and desktops, in light and dark colors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from visits import ROOT, choose, finished, require_browser, visit

require_browser()
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIOLATIONS = """async (tags) => {
  const found = await axe.run({ runOnly: { type: "tag", values: tags } });
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}"""


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=str)
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    width, scheme = request.param
    is_phone = width < 500
    screen = {"viewport": {"width": width, "height": 844 if is_phone else 900}}
    with visit(browser, address, color_scheme=scheme, has_touch=is_phone, is_mobile=is_phone, **screen) as opened:
        yield opened


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not in node_modules; npm ci installs it")
def test_axe_finds_nothing_with_every_kind_of_result(
    page: Any, astronaut: Path, faces_csv: Path, tmp_path: Path
) -> None:
    from films import write_film

    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    film = write_film(tmp_path / "film.webm", [0, 0.1, 0.2], lambda _: [(60, 30)], codec="libvpx")
    choose(page, film, astronaut, faces_csv, tmp_path / "bad.csv")
    page.locator("#errors p").wait_for()
    page.locator("#method label", has_text="Saliency").click()
    finished(page, "drawn.csv", "60 faces, accuracy").locator("figcaption", has_text="saliency for").wait_for()
    finished(page, "astronaut.png", "1 face").locator("figcaption", has_text="saliency for").wait_for()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(VIOLATIONS, RULES) == []
    wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= window


def focused(page: Any) -> str:
    """Return what a screen reader says of the element with the focus, in short."""
    return str(
        page.evaluate(
            """() => {
              const { ariaLabel, labels, textContent, value } = document.activeElement;
              return ariaLabel ?? (labels?.length ? labels[0].textContent : textContent ?? value);
            }"""
        )
    ).strip()


def test_everything_is_reached_by_the_tabulator_in_order(browser: Any, address: str, astronaut: Path) -> None:
    with visit(browser, address) as page:
        choose(page, astronaut)
        finished(page, "astronaut.png", "1 face")
        reached = []
        for _ in range(18):
            page.keyboard.press("Tab")
            reached.append(focused(page))
    wanted = [
        *("Skip to the faces", "Faces", "Model", "Proof", "Limits", "Choose files", "Use the camera", "None"),
        *("Download CSV: astronaut.png", "Remove: astronaut.png", "Face 1: happy"),
        *("Download CSV: A drawn face", "Remove: A drawn face", "int8, fast"),
    ]
    places = [next(i for i, text in enumerate(reached) if text.startswith(name)) for name in wanted]
    assert places == sorted(places)


def test_a_map_is_chosen_and_a_result_removed_by_keyboard(browser: Any, address: str) -> None:
    with visit(browser, address) as page:
        page.locator("[value=none]").focus()
        page.keyboard.press("ArrowRight")
        page.locator("figcaption", has_text="saliency for").wait_for()
        page.keyboard.press("Tab")
        page.keyboard.press("f")
        page.locator("figcaption", has_text="saliency for “fear”").wait_for()
        page.get_by_role("button", name="Remove: A drawn face").focus()
        page.keyboard.press("Enter")
        page.locator(".result").wait_for(state="detached")


def test_progress_and_errors_are_announced(browser: Any, address: str) -> None:
    with visit(browser, address) as page:
        assert page.locator("#status").get_attribute("role") == "status"
        assert page.locator("#errors").get_attribute("role") == "alert"
        assert page.inner_text("#status").startswith("A drawn face: 1 face, surprise")
        assert page.title() == "Facial expressions in your browser: compact"
        assert page.locator("html").get_attribute("lang") == "en"
