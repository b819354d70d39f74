"""The page shows the maps, graphs and card of the model for which it was written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visits import (
    INT8,
    ROOT,
    assert_same_tables,
    choose,
    downloaded,
    find_runtime,
    finished,
    pixels,
    require_browser,
    served,
    visit,
)

from fer_infer import score, write_site

require_browser()
COMPACT = ROOT / "exports" / "compact"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with visit(browser, address) as opened:
        yield opened


def test_maps_lie_over_the_photo_and_change_with_method_and_class(page: Any, astronaut: Path) -> None:
    choose(page, astronaut)
    found = finished(page, "astronaut.png", "1 face")
    stage, caption = found.locator(".photo > canvas"), found.locator(".crops figcaption").nth(1)
    seen = [pixels(stage)]
    for method, of in (("Saliency", "predicted class"), ("Grad-CAM", "predicted class"), ("Saliency", "fear")):
        page.locator("#method label", has_text=method).click()
        page.select_option("#target", label=of)
        name = "happy" if of == "predicted class" else of
        found.locator(
            "figcaption", has_text=f"{method if method != 'Saliency' else 'saliency'} for “{name}”"
        ).wait_for()
        seen.append(pixels(stage))
    assert all(np.abs(seen[i] - seen[j]).max() > 50 for i in range(4) for j in range(i))
    outside = seen[1].reshape(512, 512, 4)[300:, 300:] - seen[0].reshape(512, 512, 4)[300:, 300:]
    assert np.abs(outside).max() == 0
    page.locator("#method label", has_text="None").click()
    caption.wait_for(state="hidden")
    assert np.array_equal(pixels(stage), seen[0])


def test_another_graph_scores_everything_again(page: Any, faces_csv: Path, tmp_path: Path) -> None:
    choose(page, faces_csv)
    found = finished(page, "drawn.csv", "60 faces, accuracy")
    for precision, label, tolerance in (("int8", "", INT8), ("fp32", "float32", 1e-5)):
        if label:
            page.locator("#precision label", has_text=label).click()
            page.locator("#status", has_text="The graph fp32").wait_for()
            page.locator("#status", has_text="accuracy").wait_for()
        expected = tmp_path / f"{precision}.csv"
        score(faces_csv, COMPACT, expected, columns="probabilities", precision=precision)
        assert_same_tables(downloaded(found, tmp_path), expected, probability=tolerance)


def test_the_card_and_the_proof_are_shown_and_the_checksums_verified(page: Any) -> None:
    page.locator("#checks .verdict.good").nth(1).wait_for()
    assert page.locator("#checks .verdict.bad").count() == 0
    assert "68.65%" in page.inner_text("#facts")
    assert "67.12% to 70.15%" in page.inner_text("#facts")
    assert "72b0aacb9c7c2082dd5607e98b22166ce1ffa99ce67a205596592efed8880069" in page.inner_text("#checks")


def test_a_graph_that_was_changed_is_found_out(browser: Any, page_folder: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(page_folder, tmp_path / "changed"))
    shutil.copyfile(changed / "model" / "model.onnx", changed / "model" / "model.int8.onnx")
    with served(changed) as address, visit(browser, address) as page:
        page.locator("#checks .verdict.bad", has_text="differs: SHA-256 cfed7a3c").wait_for()


def test_a_missing_file_is_one_line_when_it_is_needed(browser: Any, page_folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(page_folder, tmp_path / "broken"))
    (broken / "model" / "saliency.onnx").unlink()
    with served(broken) as address, visit(browser, address, expected="404") as page:
        page.locator("#errors p", has_text="saliency.onnx: cannot be read: HTTP status 404").wait_for()
        page.locator("#method label", has_text="Saliency").click()
        page.locator("#errors p").nth(1).wait_for()
        assert page.locator(".result .prediction", has_text="surprise").is_visible()


def test_a_model_without_maps_says_why(browser: Any, tmp_path: Path) -> None:
    model = Path(shutil.copytree(COMPACT, tmp_path / "plain"))
    (model / "saliency.onnx").unlink()
    write_site(model, tmp_path / "site", runtime=find_runtime())
    with served(tmp_path / "site") as address, visit(browser, address) as page:
        assert not page.locator("#method").is_visible()
        assert "exported without saliency.onnx" in page.inner_text("#maps-note")


def test_a_model_of_eight_classes_shows_eight(browser: Any, tmp_path: Path, model_class: Any) -> None:
    labels = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
    write_site(model_class(labels=labels).save(tmp_path / "eight"), tmp_path / "site", runtime=find_runtime())
    with served(tmp_path / "site") as address, visit(browser, address) as page:
        assert page.locator(".result .bars th").all_inner_texts() == list(labels)
        assert page.locator("#target option").count() == 9


def test_a_network_without_convolution_offers_no_grad_cam(browser: Any, tmp_path: Path) -> None:
    write_site(ROOT / "exports" / "course-dnn", tmp_path / "site", runtime=find_runtime())
    with served(tmp_path / "site") as address, visit(browser, address) as page:
        page.locator("#maps-note", has_text="no convolution").wait_for()
        assert page.locator("[value=gradCam]").is_disabled()
        assert page.locator("[value=saliency]").is_enabled()
