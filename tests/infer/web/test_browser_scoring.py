"""The page finds, aligns, scores and explains faces as Python does, from the same pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from page_modules import decoded, encoded, png, run, scoring_page
from PIL import Image
from visits import ROOT, require_browser

from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import Scorer
from fer_infer.photos import detector, yunet
from fer_infer.photos.alignment import gray_of, load_template, similarity, transformed, warp
from fer_infer.photos.detector import FaceDetector
from fer_infer.photos.find import search, whole_face
from fer_infer.photos.found_face import FoundFace
from fer_infer.photos.images import read_photo

require_browser()

COMPACT = ROOT / "exports" / "compact"

LOAD = """async () => {
  window.yunet = await detector.createDetector(ort, "./detector/yunet.onnx");
  window.shown = (face) => ({ ...face, image: textOf(face.image) });
}"""


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page with the modules and the detector, in the files of a site."""
    folder = tmp_path_factory.mktemp("detector")
    (folder / "yunet.onnx").write_bytes(yunet.read_graph())
    (folder / "template.json").write_text(json.dumps({"landmarks": load_template().landmarks.tolist()}))
    with scoring_page(detector=folder, model=COMPACT) as opened:
        opened.evaluate(LOAD)
        yield opened


def on_canvas(face: NDArray[np.uint8], shape: tuple[int, int], places: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """A picture with copies of a face, each at left, top, of a side."""
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(100, 140, (*shape, 3), np.uint8))
    for left, top, side in places:
        picture.paste(Image.fromarray(face).resize((side, side)), (left, top))
    return np.asarray(picture)


def face_of(astronaut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return astronaut[40:200, 140:300]


def rolled(pixels: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR))


def drawn() -> NDArray[np.uint8]:
    """Drawn faces, large enough for the detector to find some of them."""
    faces = [np.asarray(Image.fromarray(face).resize((200, 200))) for face in draw_faces(6, seed=3).images]
    gray = np.vstack([np.hstack(faces[:3]), np.hstack(faces[3:])])
    return np.repeat(gray[..., None], 3, axis=2)


PICTURES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "as it is": lambda photo: photo,
    "mirrored": lambda photo: photo[:, ::-1],
    "sides not divisible by 32": lambda photo: photo[:401, 30:487],
    "small": lambda photo: np.asarray(Image.fromarray(photo).resize((100, 100))),
    "enlarged": lambda photo: np.asarray(Image.fromarray(photo).resize((1500, 1500))),
    "much enlarged": lambda photo: np.asarray(Image.fromarray(photo).resize((2301, 2299))),
    "narrow": lambda photo: photo[:, 130:330],
    "several sizes": lambda photo: on_canvas(
        face_of(photo), (700, 900), [(20, 20, 60), (120, 40, 100), (260, 300, 240), (560, 60, 320)]
    ),
    "rolled by 15": lambda photo: rolled(photo, 15),
    "rolled by -30": lambda photo: rolled(photo, -30),
    "rolled by 45, found at the second look": lambda photo: rolled(photo, 45),
    "a small face in a large picture": lambda photo: on_canvas(face_of(photo), (1300, 1900), [(1200, 700, 60)]),
    "faces in a large picture": lambda photo: on_canvas(
        face_of(photo), (1501, 2100), [(30, 40, 50), (610, 300, 80), (900, 200, 900), (1950, 1350, 130)]
    ),
    "dim": lambda photo: photo // 3,
    "cut by the border": lambda photo: photo[70:, 180:],
    "drawn faces": lambda photo: drawn(),
    "no face": lambda photo: np.full((333, 500, 3), 90, np.uint8),
    "one pixel": lambda photo: photo[:1, :1],
}


def found_in_page(page: Any, pixels: NDArray[np.uint8], **options: Any) -> dict[str, Any]:
    script = """
      const { faces: found, tooSmall } = await faces.search(yunet, await pictureOf(given[0]), given[1]);
      return { faces: found.map(shown), tooSmall };
    """
    found: dict[str, Any] = run(page, script, png(pixels), options)
    return found


def sides(box: Any) -> list[float]:
    return [box["left"], box["top"], box["width"], box["height"]]


def assert_aligned_alike(one: dict[str, Any], face: FoundFace) -> None:
    transform = np.reshape(one["transform"], (2, 3))
    places, expected = transformed(transform, face.landmarks), transformed(face.transform, face.landmarks)
    crop = decoded(one["image"], np.uint8).reshape(48, 48)
    if np.abs(places - expected).max() < 1e-6:
        np.testing.assert_allclose(one["landmarks"], face.landmarks, atol=1e-6)
        assert np.abs(crop.astype(int) - face.image).max() <= 1
    else:  # a processor that adds in another order can round a landmark to the other side
        np.testing.assert_allclose(places, expected, atol=0.05)
        assert np.abs(crop.astype(int) - face.image).mean() <= 1


@pytest.mark.parametrize("name", PICTURES)
def test_faces_boxes_and_crops_are_those_of_python(page: Any, name: str, astronaut: NDArray[np.uint8]) -> None:
    pixels = np.ascontiguousarray(PICTURES[name](astronaut))
    expected = search(pixels)
    found = found_in_page(page, pixels)
    assert len(found["faces"]) == len(expected.faces)
    assert len(found["tooSmall"]) == len(expected.too_small)
    for one, face in zip(found["faces"], expected.faces, strict=True):
        np.testing.assert_allclose(sides(one["box"]), face.box, atol=0.02)
        assert one["detection"] == pytest.approx(face.detection, abs=1e-4)
        assert_aligned_alike(one, face)
    for other, detection in zip(found["tooSmall"], expected.too_small, strict=True):
        np.testing.assert_allclose(sides(other["box"]), detection.box, atol=0.02)


SIZES = [(512, 512), (401, 457), (700, 300), (300, 1203), (3, 2), (1, 1), (1001, 1), (601, 499)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.05, 0.117, 0.2, 0.5, 0.73, 1.0, 1.9])
def test_resized_pictures_are_equal_to_the_last_bit(page: Any, size: tuple[int, int], scale: float) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (*size, 3), np.uint8)
    script = """
      const { width, height, data } = await pictureOf(given[0]);
      const scaled = resampling.scaled({ width, height, data, channels: 4 }, given[1]);
      return [scaled.height, scaled.width, scaled.channels, textOf(scaled.data)];
    """
    height, width, channels, data = run(page, script, png(pixels), scale)
    expected = np.asarray(detector._scaled(Image.fromarray(pixels), scale))
    assert (height, width, 3) == expected.shape
    np.testing.assert_array_equal(decoded(data, np.uint8).reshape(height, width, channels)[..., :3], expected)


@pytest.mark.parametrize("roll", [-20, 20, 7.5])
def test_rotated_pictures_are_equal_to_the_last_bit(page: Any, roll: float, astronaut: NDArray[np.uint8]) -> None:
    pixels = np.ascontiguousarray(astronaut[:301, :422])
    script = """
      const { width, height, data } = await pictureOf(given[0]);
      return textOf(resampling.rotate({ width, height, data, channels: 4 }, given[1]).data);
    """
    found = decoded(run(page, script, png(pixels), roll), np.uint8).reshape(301, 422, 3)
    np.testing.assert_array_equal(found, rolled(pixels, roll))


def test_gray_levels_are_equal_to_the_last_bit(page: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    found = run(page, "return textOf(pixels.grayOf(await pictureOf(given[0])).data)", png(pixels))
    np.testing.assert_array_equal(decoded(found, np.uint8).reshape(200, 300), gray_of(pixels))


def test_transparent_pixels_are_laid_over_white_to_the_last_bit(page: Any) -> None:
    levels, alphas = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    colors = np.stack([levels, levels[::-1], levels[:, ::-1], alphas], axis=2)
    script = "return textOf(pixels.overWhite({ width: 256, height: 256, data: bytesOf(given[0]) }).data)"
    found = decoded(run(page, script, encoded(colors)), np.uint8).reshape(256, 256, 4)
    np.testing.assert_array_equal(found[..., :3], read_photo(colors))
    assert (found[..., 3] == 255).all()


@pytest.mark.parametrize("scale", [0.051, 0.09, 0.12, 0.24, 0.3, 0.97, 2.5, 4.0])
@pytest.mark.parametrize("size", [48, 192])
def test_warped_faces_are_those_of_python(page: Any, scale: float, size: int, astronaut: NDArray[np.uint8]) -> None:
    """Sums of float32 may round to the other side; then a level differs by 1."""
    angle = 0.3
    turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    transform = np.column_stack([turned, size / 2 - turned @ (230.0, 120.0)])
    script = """
      return textOf(alignment.warp(await pictureOf(given[0]), given[1], given[2]));
    """
    found = decoded(run(page, script, png(astronaut), transform.ravel().tolist(), size), np.uint8)
    difference = np.abs(found.astype(int) - warp(astronaut, transform, size).ravel())
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_the_similarity_is_that_of_python(page: Any) -> None:
    rng = np.random.default_rng(2)
    template = load_template().landmarks
    for _ in range(20):
        points = rng.normal(size=(5, 2)) * 40
        found = run(page, "return alignment.similarity(given[0], given[1])", points.tolist(), template.tolist())
        np.testing.assert_allclose(found, similarity(points, template).ravel(), atol=1e-12)


@pytest.mark.parametrize("points", [[[3.0, 4.0]] * 5, [[float("nan"), 0.0]] * 5])
def test_landmarks_that_coincide_are_an_error(page: Any, points: list[list[float]]) -> None:
    script = "try { alignment.similarity(given[0], given[0]) } catch (error) { return error.message }"
    assert run(page, script, points) == "the landmarks coincide or are not finite"


@pytest.mark.parametrize("size", [(48, 48), (96, 96), (300, 201), (40, 333), (20, 30), (47, 49), (1, 500), (1, 1)])
def test_a_whole_picture_becomes_the_same_face(page: Any, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (*size, 3), np.uint8)
    found = run(page, "return shown(faces.wholeFace(await pictureOf(given[0])))", png(pixels))
    expected = whole_face(pixels)
    np.testing.assert_array_equal(decoded(found["image"], np.uint8).reshape(48, 48), expected.image)
    np.testing.assert_allclose(found["transform"], expected.transform.ravel())
    assert sides(found["box"]) == list(expected.box)


@pytest.mark.parametrize("name", ["as it is", "several sizes", "rolled by -30", "drawn faces"])
def test_probabilities_of_a_photo_are_those_of_python(page: Any, name: str, astronaut: NDArray[np.uint8]) -> None:
    pixels = np.ascontiguousarray(PICTURES[name](astronaut))
    script = """
      const found = await faces.findFaces(yunet, await pictureOf(given[0]));
      const card = await (await fetch("./model/card.json")).json();
      const model = await classifier.createClassifier(ort, { model: "./model/model.onnx", card });
      const images = new Uint8Array(2304 * found.length);
      found.forEach((face, i) => images.set(face.image, 2304 * i));
      return textOf((await model.predict(images, found.length)).probabilities);
    """
    probabilities = decoded(run(page, script, png(pixels)), np.float32).reshape(-1, 7)
    with Scorer(COMPACT, "cpu", precision="fp32", threads=1) as scorer:
        expected = scorer.predict_proba(np.stack([face.image for face in search(pixels).faces]))
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


def test_a_smaller_min_face_finds_smaller_faces(page: Any, astronaut: NDArray[np.uint8]) -> None:
    crowd = on_canvas(face_of(astronaut), (1000, 1400), [(1100, 700, 36)])
    (expected,) = search(crowd, 12, FaceDetector(min_face=12)).faces
    (found,) = found_in_page(page, crowd, minFace=12)["faces"]
    assert_aligned_alike(found, expected)
    for options in ({"minFace": 24}, {"minFace": 12, "tiles": False}):
        assert found_in_page(page, crowd, **options, again=False)["faces"] == []


def test_a_smaller_window_and_a_single_look_save_passes(page: Any, astronaut: NDArray[np.uint8]) -> None:
    """Live pictures are searched in windows of 320 pixels, as Python does if its windows have that size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector, "WINDOW_SIDE", 320)
        expected = search(astronaut).faces
    found = found_in_page(page, astronaut, side=320, again=False, tiles=False)["faces"]
    assert len(found) == len(expected) == 1
    assert_aligned_alike(found[0], expected[0])
    looks = """
      const find = yunet.network.find;
      let n = 0;
      yunet.network.find = (...given) => { n += 1; return find.apply(yunet.network, given); };
      const nothing = new ImageData(640, 480);
      const counts = [];
      for (const again of [true, false]) {
        n = 0;
        await faces.findFaces(yunet, nothing, { again });
        counts.push(n);
      }
      yunet.network.find = find;
      return counts;
    """
    assert run(page, looks) == [5, 1]


def test_searches_at_the_same_time_do_not_disturb_each_other(page: Any, astronaut: NDArray[np.uint8]) -> None:
    script = """
      const pictures = await Promise.all([pictureOf(given[0]), pictureOf(given[1])]);
      const apart = [];
      for (const picture of pictures) apart.push((await faces.findFaces(yunet, picture)).map(shown));
      const together = await Promise.all(pictures.map((picture) => faces.findFaces(yunet, picture)));
      return [apart, together.map((found) => found.map(shown))];
    """
    apart, together = run(page, script, png(astronaut), png(np.ascontiguousarray(astronaut[:301, 90:])))
    assert apart == together
    assert all(apart)


def test_a_network_that_cannot_be_read_is_an_error(page: Any) -> None:
    script = """
      try { await detector.createDetector(ort, "./detector/absent.onnx") } catch (error) { return error.message }
    """
    assert run(page, script).endswith("/detector/absent.onnx: cannot be read: HTTP status 404")
