"""A report on photos shows each face in its photo, with its map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_page import Page, read_page
from skimage import data as pictures

from fer_core import DataError, Faces
from fer_explain import FaceFile
from fer_explain.report import photo_maps
from fer_explain.report.report import write_report
from fer_infer import overlay_map
from fer_infer.photos.find import find_faces
from fer_infer.photos.map_overlay import MARGIN, bounds_of

ASTRONAUT = Image.fromarray(pictures.astronaut())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo of two faces, one of them rolled, and a photo without a face."""
    folder = tmp_path_factory.mktemp("photos")
    picture = Image.new("RGB", (1000, 520), (70, 90, 120))
    picture.paste(ASTRONAUT.resize((260, 260)), (20, 40))
    picture.paste(ASTRONAUT.rotate(20), (450, 0))
    picture.save(folder / "a#1.png")
    Image.new("RGB", (90, 60), "white").save(folder / "b.png")
    return folder


@pytest.fixture(scope="module")
def report(photos: Path, exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = FaceFile(photos, on_error="skip", faces="detect")
    return write_report(source, exports, tmp_path_factory.mktemp("report") / "out", methods=["saliency"]).parent


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return read_page(report / "index.html")


def test_each_face_is_shown_in_its_photo_with_its_map(photos: Path, report: Path) -> None:
    with np.load(report / "attributions.npz") as saved:
        assert saved["rows"].tolist() == [1, 2, 1, 2]  # the maps of the predicted classes come first
        maps = dict(zip((1, 2), saved["attributions"][:2], strict=True))
    found = find_faces(photos / "a#1.png")
    assert len(found) == 2
    for row, face in enumerate(found, start=1):
        left, top, right, bottom = bounds_of(face, (520, 1000, 3), MARGIN)
        expected = overlay_map(photos / "a#1.png", face, maps[row])[top:bottom, left:right]
        assert np.array_equal(np.asarray(Image.open(report / "figures" / f"photo_row_{row}.png")), expected)


def test_the_page_names_photos_maps_and_reasons(report: Path, page: Page) -> None:
    assert "found in photos (detect)" in page.text
    assert "id a#1.png#2" in page.text
    assert "whole photo, 1000 x 520 pixels" in page.text
    texts = [image["alt"] or "" for image in page.all("img")]
    for row in (1, 2):
        assert (
            sum(text.startswith(f"Row {row}: saliency map for ") and "laid over the photo" in text for text in texts)
            == 1
        )
        assert f"Row {row}: the whole photo, in which the face is outlined" in texts
    assert "b.png,3,,no face" in (report / "rejects.csv").read_text()


def test_whole_pictures_have_no_small_view(tmp_path: Path, exports: Path) -> None:
    for label in ("happy", "sad"):
        (tmp_path / "tree" / label).mkdir(parents=True)
        ASTRONAUT.crop((160, 40, 300, 180)).save(tmp_path / "tree" / label / "a.webp")
    source = FaceFile(tmp_path / "tree", faces="whole")
    folder = write_report(source, exports, tmp_path / "out", methods=["saliency"]).parent
    assert Image.open(folder / "figures" / "photo_row_1.png").size == (140, 140)
    text = read_page(folder / "index.html").text
    assert "whole pictures, resized to 48x48 (whole)" in text
    assert "whole photo" not in text


def test_faces_that_are_not_from_photos_have_none(tmp_path: Path, exports: Path, faces: Faces) -> None:
    Image.fromarray(faces.images[0]).save(tmp_path / "a.png")
    folder = write_report(tmp_path, exports, tmp_path / "out", methods=["saliency"]).parent
    assert not list((folder / "figures").glob("photo_row_*"))
    assert "on the photo" not in read_page(folder / "index.html").text


def test_a_photo_that_changes_meanwhile_is_named(
    photos: Path, exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_maps, "found_faces", lambda pixels, min_face: [])
    with pytest.raises(DataError, match=r"a#1\.png: has changed since its face was read$"):
        write_report(FaceFile(photos, on_error="skip", faces="detect"), exports, tmp_path / "out", methods=["saliency"])
    assert not (tmp_path / "out").exists()
