"""A visitor's photos, films, camera and CSVs are scored in the browser as `fer-infer score` scores them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from visits import (
    INT8,
    ROOT,
    assert_same_tables,
    choose,
    downloaded,
    finished,
    pixels,
    require_browser,
    result,
    table,
    visit,
)

from fer_core import DataError, read_faces
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import Scorer, score
from fer_infer.photos.smoothing import Smoother

require_browser()
COMPACT = ROOT / "exports" / "compact"


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with visit(browser, address) as opened:
        yield opened


@pytest.fixture
def exact_page(page: Any) -> Any:
    """Return a page that predicts by the float32 graph.

    Where a value of the int8 graph is between two steps, the smallest difference of a float decides, and processors
    and browsers differ in these.
    """
    page.locator("#precision label", has_text="float32").click()
    page.locator("#status", has_text="The graph fp32 predicts from now on.").wait_for()
    return page


def test_a_drawn_face_is_scored_at_once(page: Any) -> None:
    with Scorer(COMPACT, "cpu", "int8") as scorer:
        expected = scorer.predict_proba(draw_faces(8, seed=0).images[7:])[0]
    shown = page.locator(".result .bars .value").all_inner_texts()
    assert [float(text.rstrip("%")) / 100 for text in shown] == pytest.approx(expected.tolist(), abs=INT8)
    assert page.locator(".result .pixels").first.is_visible()
    print("\nbrowser: first result after", page.evaluate(SINCE_LOADED), "s of the networks being loaded")  # noqa: T201


SINCE_LOADED = """() => {
  const [loaded, first] = ["loaded", "first result"].map((name) => performance.getEntriesByName(name)[0].startTime);
  return ((first - loaded) / 1000).toFixed(2);
}"""


def test_the_table_of_a_photo_is_that_of_score(exact_page: Any, astronaut: Path, tmp_path: Path) -> None:
    choose(exact_page, astronaut)
    found = finished(exact_page, "astronaut.png", "1 face")
    score(astronaut, COMPACT, tmp_path / "expected.csv", faces="detect", precision="fp32")
    rows = downloaded(found, tmp_path)
    lines = (tmp_path / "expected.csv").read_text().replace(str(astronaut), astronaut.name)
    (tmp_path / "expected.csv").write_text(lines)
    assert_same_tables(rows, tmp_path / "expected.csv")
    assert exact_page.inner_text("#status").startswith("astronaut.png: 1 face, happy 9")


DROP = """async (content) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
  for (const type of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""


def test_a_file_can_be_dropped_anywhere(page: Any, astronaut: Path) -> None:
    page.evaluate(DROP, base64.b64encode(astronaut.read_bytes()).decode())
    finished(page, "dropped.png", "1 face")


def test_several_photos_are_one_table_and_each_can_be_shown(exact_page: Any, astronaut: Path, tmp_path: Path) -> None:
    portrait = Image.open(astronaut).convert("RGB")
    two = Image.new("RGB", (1024, 512))
    two.paste(portrait, (0, 0))
    two.paste(portrait, (512, 0))
    two.save(tmp_path / "two.png")
    Image.new("RGB", (200, 100), (90, 120, 90)).save(tmp_path / "empty.png")
    portrait.resize((64, 64)).save(tmp_path / "small.png")
    files = [astronaut, *(tmp_path / name for name in ("two.png", "empty.png", "small.png"))]
    choose(exact_page, *files)
    found = finished(exact_page, "4 photos", "3 faces")
    rows = downloaded(found, tmp_path)
    score([str(file) for file in files], COMPACT, tmp_path / "expected.csv", faces="detect", precision="fp32")
    text = (tmp_path / "expected.csv").read_text().replace(f"{tmp_path}/", "").replace(f"{astronaut.parent}/", "")
    (tmp_path / "expected.csv").write_text(text)
    assert_same_tables(rows, tmp_path / "expected.csv")
    found.get_by_role("button", name="two.png").click()
    found.get_by_role("button", name="Face 2: happy").click()
    assert found.locator(".prediction", has_text="Face 2").is_visible()


def test_a_photo_without_a_face_can_be_taken_as_the_face(exact_page: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (120, 90, 3), np.uint8)).save(tmp_path / "noise.png")
    choose(exact_page, tmp_path / "noise.png")
    found = finished(exact_page, "noise.png", "0 faces")
    assert [row["reason"] for row in table(downloaded(found, tmp_path))] == ["no face"]
    found.get_by_role("button", name="Use the whole picture as the face").click()
    found.locator(".prediction").wait_for()
    score(tmp_path / "noise.png", COMPACT, tmp_path / "expected.csv", faces="whole", precision="fp32")
    [row], [expected] = table(downloaded(found, tmp_path)), table(tmp_path / "expected.csv")
    assert [float(row[name]) for name in ("angry", "neutral", "width")] == pytest.approx(
        [float(expected[name]) for name in ("angry", "neutral", "width")], abs=1e-3
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken.jpg", "broken.jpg: cannot be read as a picture by this browser"),
        ("broken.mp4", "broken.mp4: cannot be read as a video by this browser"),
        ("broken.csv.gz", "broken.csv.gz: cannot be decompressed"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(page: Any, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8bno such file")
    choose(page, tmp_path / name)
    page.locator("#errors p").wait_for()
    assert page.locator("#errors").inner_text() == message
    assert page.locator("#errors").get_attribute("role") == "alert"
    assert result(page, name).count() == 0


def test_the_table_of_a_csv_is_that_of_score(exact_page: Any, faces_csv: Path, tmp_path: Path) -> None:
    choose(exact_page, faces_csv)
    found = finished(exact_page, "drawn.csv", "60 faces, accuracy")
    score(faces_csv, COMPACT, tmp_path / "expected.csv", columns="probabilities", precision="fp32")
    rows = downloaded(found, tmp_path)
    assert_same_tables(rows, tmp_path / "expected.csv", probability=1e-5)
    predicted = np.array([int(row["label"]) for row in table(rows)])
    correct = predicted == read_faces(faces_csv).require_labels()
    assert f"accuracy {np.mean(correct):.1%} (95% interval" in found.locator(".meta").inner_text()


def test_a_csv_with_an_invalid_label_is_predicted_without_labels(page: Any, faces_csv: Path, tmp_path: Path) -> None:
    lines = faces_csv.read_text().splitlines()
    lines[5] = f"9{lines[5][1:]}"
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(DataError) as raised:
        read_faces(tmp_path / "labels.csv")
    choose(page, tmp_path / "labels.csv")
    found = finished(page, "labels.csv", "60 faces")
    assert "accuracy" not in found.locator(".meta").inner_text()
    message = str(raised.value).replace(f"{tmp_path}/", "")
    assert page.locator("#errors p").all_inner_texts() == [f"{message}; predicted without labels"]


def test_a_csv_is_shown_page_by_page_and_each_face_in_detail(page: Any, faces_csv: Path) -> None:
    choose(page, faces_csv)
    found = finished(page, "drawn.csv", "60 faces, accuracy")
    assert found.locator(".tiles button").count() == 24
    found.get_by_role("button", name="Next").click()
    found.get_by_role("button", name="Next").click()
    assert found.locator(".tiles button").count() == 12
    found.get_by_role("button", name="Row 61:").click()
    assert found.locator(".prediction", has_text="Face 60").is_visible()


@pytest.mark.parametrize(
    "text",
    ["emotion,pixels\n3,1 2 3\n", "a,b\n1,2\n", "", f"pixels\n{'7 ' * 2303}256\n", "emotion,pixels\nfear\n"],
)
def test_a_bad_csv_is_the_error_of_python(page: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=r"bad\.csv") as raised:
        read_faces(tmp_path / "bad.csv")
    choose(page, tmp_path / "bad.csv")
    page.locator("#errors p").wait_for()
    assert page.locator("#errors p").all_inner_texts() == [str(raised.value).replace(f"{tmp_path}/", "")]


def test_a_film_is_followed_smoothed_and_shown_at_any_time(page: Any, tmp_path: Path) -> None:
    from films import write_film

    film = write_film(
        tmp_path / "film.webm", [i / 25 for i in range(30)], lambda t: [(20 + 90 * t, 30)], codec="libvpx"
    )
    choose(page, film)
    found = finished(page, "film.webm", "1 face in 12 frames")
    rows = table(downloaded(found, tmp_path))
    assert [row["face"] for row in rows] == ["1"] * 12
    assert [float(row["time"]) for row in rows] == pytest.approx([0.1 * i for i in range(12)], abs=1e-6)
    lefts = [float(row["left"]) for row in rows]
    assert np.diff(lefts) == pytest.approx([9] * 11, abs=8)
    smoother = Smoother(0.5)
    for row in rows:
        raw = np.array([float(row[name]) for name in ("angry", "happy", "neutral")])
        smoothed = smoother.add(1, float(row["time"]), raw)
        assert [float(row[f"{name}_smoothed"]) for name in ("angry", "happy", "neutral")] == pytest.approx(
            smoothed.tolist(), abs=1e-6
        )
    stage = found.locator(".photo > canvas")
    last = pixels(stage)
    found.locator("input[type=range]").fill("0.3")
    page.wait_for_function("canvas => canvas.getAttribute('aria-label') !== ''", arg=stage.element_handle())
    found.locator(".time", has_text="0.3 s").wait_for()
    page.wait_for_timeout(500)
    assert np.abs(pixels(stage) - last).max() > 100
    areas = found.locator(".areas")
    smoothed = areas.screenshot()
    page.locator("#series label", has_text="Raw").click()
    page.wait_for_timeout(300)
    assert areas.screenshot() != smoothed


def test_the_camera_is_scored_live_and_switched_off(page: Any) -> None:
    page.get_by_role("button", name="Use the camera").click()
    found = finished(page, "Camera", "frames/s")
    found.locator(".box", has_text="happy").wait_for()
    page.wait_for_timeout(3000)
    print("\nbrowser: camera,", found.locator(".meta").inner_text())  # noqa: T201
    found.get_by_role("button", name="Stop: Camera").click()
    page.locator("#status", has_text="Camera: off").wait_for()
    assert found.get_by_role("button", name="Stop: Camera").count() == 0
    assert found.locator("input[type=range]").is_enabled()


REFUSE = """() => {
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "NotAllowedError"); };
}"""


def test_a_refused_camera_is_one_line(browser: Any, address: str) -> None:
    with visit(browser, address) as page:
        page.evaluate(REFUSE)
        page.get_by_role("button", name="Use the camera").click()
        page.locator("#errors p").wait_for()
        assert page.inner_text("#errors") == "the camera cannot be used: the browser did not allow it"


def test_the_page_cannot_send_anything(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(address)
    assert page.evaluate("fetch('https://example.com/').then(() => 'sent', () => 'refused')") == "refused"
    assert any("Content Security Policy" in message for message in messages)
    context.close()
