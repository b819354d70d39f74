"""The page in a real browser: every control works, nothing is requested, and it fits a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_csv

from fer_core import Faces
from fer_explain.config import ReportConfig
from fer_explain.report.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on the PATH")


@pytest.fixture(scope="module")
def address(exports: Path, faces: Faces, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    evil = "<script>alert(1)</script>"
    labels = faces.require_labels()
    data = write_csv(folder / "faces.csv", faces.images, labels.tolist(), [evil] * len(faces))
    return write_report(
        data, exports, folder / "out", rows=(2, 3), methods=("saliency", "occlusion"), config=ReportConfig(worst=2)
    ).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """Open the page; at the end it must have logged and requested nothing."""
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))

    def refuse(route: Any) -> None:
        complaints.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith((address, "data:")), refuse)
    opened.goto(address)
    yield opened
    context.close()
    assert complaints == []


def test_nothing_is_wider_than_the_window(page: Any) -> None:
    wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= window


def test_every_link_leads_to_an_element_of_the_page(page: Any) -> None:
    links = page.locator("a[href^='#']")
    assert links.count() >= 10
    for target in set(links.evaluate_all("links => links.map(link => link.hash)")):
        assert page.locator(f"[id='{target[1:]}']").count() == 1
    page.locator("nav a", has_text="Verification").click()
    assert page.url.endswith("#verification")
    assert page.locator("#verification-title").is_visible()


def test_the_switch_of_a_face_affects_only_this_face(page: Any) -> None:
    cards = page.locator(".face")
    assert cards.count() >= 4
    for i in range(cards.count()):
        card = cards.nth(i)
        first, other = card.locator(".of-predicted"), card.locator(".of-other")
        assert (first.is_visible(), other.is_visible()) == (True, False)
        card.locator("label").nth(1).click()
        assert (first.is_visible(), other.is_visible()) == (False, True)
    card.locator("input").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    assert (first.is_visible(), other.is_visible()) == (True, False)
    assert cards.nth(0).locator(".of-other").is_visible()


def test_every_cell_of_the_matrix_opens_its_faces_and_closes(page: Any) -> None:
    buttons = page.locator(".matrix button")
    assert buttons.count() >= 5
    for i in range(buttons.count()):
        button = buttons.nth(i)
        drawer = page.locator(f"[id='{button.get_attribute('popovertarget')}']")
        assert not drawer.is_visible()
        button.click()
        assert drawer.is_visible()
        faces = int(button.locator("b").inner_text())
        assert drawer.locator("img").count() == min(faces, 8)
        drawer.locator(".close").click()
        assert not drawer.is_visible()


def test_a_cell_is_used_by_keyboard_and_gives_the_focus_back(page: Any) -> None:
    button = page.locator(".matrix button").first
    drawer = page.locator(f"[id='{button.get_attribute('popovertarget')}']")
    button.focus()
    page.keyboard.press("Enter")
    assert drawer.is_visible()
    assert drawer.locator(".close").evaluate("button => button === document.activeElement")
    page.keyboard.press("Escape")
    assert not drawer.is_visible()
    assert button.evaluate("button => button === document.activeElement")


def test_details_open(page: Any) -> None:
    for summary in page.locator("summary").all():
        content = summary.locator("xpath=following-sibling::*").first
        assert not content.is_visible()
        summary.click()
        assert content.is_visible()


def test_every_picture_is_drawn(page: Any) -> None:
    broken = "images => images.filter(image => !image.complete || !image.naturalWidth).length"
    assert page.locator("img").count() > 50
    assert page.locator("img").evaluate_all(broken) == 0


def test_hostile_input_stays_text(page: Any) -> None:
    assert page.locator(".meta", has_text="<script>alert(1)</script>").count() >= 4
    assert page.locator("script").count() == 0


def test_in_print_both_classes_are_shown_without_controls(page: Any) -> None:
    page.emulate_media(media="print")
    card = page.locator(".face").first
    assert card.locator(".of-predicted").is_visible()
    assert card.locator(".of-other").is_visible()
    assert not card.locator(".switch").is_visible()
    assert not page.locator("nav").is_visible()


def test_text_has_enough_contrast_in_light_and_dark(page: Any) -> None:
    """WCAG 2.1, success criterion 1.4.3: contrast of at least 4.5 to 1, for the page's own pairs of colours."""
    contrast = """() => {
      const style = getComputedStyle(document.documentElement), canvas = document.createElement('canvas');
      const context = canvas.getContext('2d', {willReadFrequently: true});
      const luminance = name => {
        context.fillStyle = style.getPropertyValue(name); context.fillRect(0, 0, 1, 1);
        const linear = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
          .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
      };
      const pairs = [['--ink', '--paper'], ['--ink', '--surface'], ['--soft', '--paper'], ['--soft', '--surface'],
        ['--soft', '--sunken'], ['--accent', '--surface'], ['--accent', '--accent-soft'], ['--good', '--good-soft'],
        ['--bad', '--bad-soft']];
      return pairs.map(pair => pair.map(luminance).sort((a, b) => b - a)).map(([a, b]) => (a + 0.05) / (b + 0.05));
    }"""
    assert min(page.evaluate(contrast)) >= 4.5
