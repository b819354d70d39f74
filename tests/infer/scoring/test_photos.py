"""Photos are scored one row per face; every photo has a row, and every row without a prediction has a reason."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from fer_core import EXPRESSIONS, ConfigError, DataError, OutputError, read_faces
from fer_infer import Scorer, crop, find_faces, score
from fer_infer.cli import main
from fer_infer.photos import yunet
from fer_infer.photos.alignment import load_template

data = pytest.importorskip("skimage.data")
MODEL = Path(__file__).resolve().parents[3] / "exports" / "compact"
BOX = ["left", "top", "width", "height", "detection"]


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return data.astronaut()


@pytest.fixture
def album(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "album"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(astronaut).save(folder / "one.png")
    Image.fromarray(np.hstack([astronaut, astronaut[:, ::-1]])).save(folder / "deep" / "two.png")
    Image.fromarray(data.coffee()).save(folder / "coffee.jpg")
    Image.fromarray(astronaut).resize((60, 60)).save(folder / "tiny.png")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("hello")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_photo_has_a_row_per_face_or_a_reason(album: Path, tmp_path: Path) -> None:
    done = score(album, MODEL, tmp_path / "out.csv", faces="detect", device="cpu")
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["file", "face", *BOX, "label", *EXPRESSIONS, "reason"]
    assert [(row["file"], row["face"], row["reason"]) for row in rows] == [
        ("coffee.jpg", "", "no face"),
        ("deep/two.png", "1", ""),
        ("deep/two.png", "2", ""),
        ("empty.jpg", "", "unreadable: the file is empty"),
        ("loop.png", "", "unreadable: Too many levels of symbolic links"),
        ("one.png", "1", ""),
        ("text.jpg", "", "unreadable: is not a picture of a known format"),
        ("tiny.png", "1", "too small: 9x10 pixels, expected at least 24"),
    ]
    for row in rows:
        empty = [row[name] == "" for name in (*BOX, "label", *EXPRESSIONS)]
        assert all(empty) if row["reason"] else not any(empty)
    assert (done.photos, done.rows, done.rejected) == (7, 3, 5)
    assert done.reasons == {"no face": 1, "too small": 1, "unreadable": 3}
    assert sum(done.label_counts.values()) == 3


def test_predictions_are_those_of_the_faces_that_find_faces_returns(
    astronaut: NDArray[np.uint8], tmp_path: Path
) -> None:
    Image.fromarray(astronaut).save(tmp_path / "me.png")
    score(tmp_path / "me.png", MODEL, tmp_path / "out.csv", faces="detect", device="cpu", landmarks=True, quality=True)
    (row,) = rows_of(tmp_path / "out.csv")
    (face,) = find_faces(astronaut)
    with Scorer(MODEL, device="cpu") as scorer:
        _, probabilities = scorer.run(face.image[None])
    np.testing.assert_array_equal(np.float32([row[name] for name in EXPRESSIONS]), probabilities[0])
    assert int(row["label"]) == probabilities.argmax()
    np.testing.assert_allclose([float(row[name]) for name in BOX[:4]], face.box, atol=0.005)
    assert float(row["nose_x"]) == pytest.approx(face.landmarks[2, 0], abs=0.005)
    assert float(row["size"]) == pytest.approx(face.size, abs=0.005)
    assert float(row["roll"]) == pytest.approx(face.roll, abs=0.005)
    assert float(row["blur"]) == pytest.approx(face.blur, abs=0.005)


def test_parquet_has_types_nulls_and_says_how_faces_were_found(album: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    score(album, MODEL, tmp_path / "out.parquet", faces="detect", device="cpu", names=True)
    score(album, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", names=True)
    table = pq.read_table(tmp_path / "out.parquet")
    assert [str(kind) for kind in table.schema.types[:8]] == ["string", "int64", *["double"] * 4, "float", "string"]
    about = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert about["detector_sha256"] == yunet.SHA256
    assert about["template_sha256"] == load_template().sha256
    for row, text in zip(table.to_pylist(), rows_of(tmp_path / "out.csv"), strict=True):
        assert (row["label"] or "") == text["label"]
        assert (row["label"] is None) == (row["left"] is None) == (row["reason"] is not None)


@pytest.mark.parametrize("settings", [{"threads": 1}, {"threads": 3, "batch_size": 2}])
def test_results_depend_neither_on_threads_nor_on_the_batch_size(
    settings: dict[str, int], album: Path, tmp_path: Path
) -> None:
    score(album, MODEL, tmp_path / "a.csv", faces="detect", device="cpu", precision="fp32", threads=2)
    score(album, MODEL, tmp_path / "b.csv", faces="detect", device="cpu", precision="fp32", **settings)
    first, second = rows_of(tmp_path / "a.csv"), rows_of(tmp_path / "b.csv")
    for one, other in zip(first, second, strict=True):
        assert [one[name] for name in ("file", "face", *BOX, "label")] == [
            other[name] for name in ("file", "face", *BOX, "label")
        ]
        if not one["reason"]:
            np.testing.assert_allclose(
                [float(one[name]) for name in EXPRESSIONS], [float(other[name]) for name in EXPRESSIONS], atol=1e-6
            )


def test_whole_pictures_are_faces_of_any_size(album: Path, tmp_path: Path) -> None:
    done = score([album / "one.png", album / "coffee.jpg"], MODEL, tmp_path / "out.csv", faces="whole", device="cpu")
    rows = rows_of(tmp_path / "out.csv")
    assert [(row["left"], row["width"], row["height"], row["detection"]) for row in rows] == [
        ("0.00", "512.00", "512.00", ""),
        ("0.00", "600.00", "400.00", ""),
    ]
    assert done.rows == 2
    assert "detector" not in done.about


def test_an_unreadable_photo_stops_the_batch_only_if_it_is_asked_for(album: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^empty.jpg: unreadable: the file is empty$"):
        score(album, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", on_error="fail")
    assert not (tmp_path / "out.csv").exists()
    done = score(album / "coffee.jpg", MODEL, tmp_path / "out.csv", faces="detect", device="cpu", on_error="fail")
    assert done.reasons["no face"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"faces": "detect", "split": "test"}, "split: expected none, as photos have no splits, found 'test'"),
        (
            {"faces": "detect", "input_columns": {"pixels": "p"}},
            "input_columns: expected none, as photos have no columns",
        ),
        ({"faces": "cropped"}, "faces: expected one of aligned, detect, whole, found 'cropped'"),
        ({"faces": "detect", "min_face": 0}, "min_face: expected at least 1, found 0"),
        ({"landmarks": True}, "landmarks: requires photos or a film: `faces='detect'`"),
        ({"min_face": 40}, "min_face: requires photos or a film: `faces='detect'`"),
        ({"anonymize": "blur"}, "anonymize: requires photos or a film: `faces='detect'`"),
        ({"smooth_s": 2.0}, "smooth_s: requires photos or a film: `faces='detect'`"),
        ({"faces": "detect", "smooth_s": 2.0}, "smooth_s: requires a film"),
        ({"faces": "detect", "every_s": 2.0}, "every_s: requires a film"),
        ({"faces": "whole", "min_face": 40}, "min_face: requires `faces='detect'`"),
        ({"faces": "whole", "landmarks": True}, "landmarks: requires `faces='detect'`"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        score("photos", MODEL, tmp_path / "out.csv", **settings)
    assert str(caught.value) == message


def run(*arguments: object, given: bytes | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=given)
    return result.exit_code, result.output


def test_the_command_prints_few_predictions_one_by_one(album: Path, tmp_path: Path) -> None:
    code, text = run("score", album, "--faces", "detect", "--model", MODEL, "--output", tmp_path / "o.csv")
    assert code == 0
    lines = text.splitlines()
    assert lines[0].startswith("deep/two.png, face 1: happy 9")
    assert "3 faces in 7 photos" in lines[3]
    assert lines[4] == "rows without a prediction: no face 1, too small 1, unreadable 3; see the column `reason`"
    assert "faces found by face_detection_yunet_2023mar.onnx (SHA-256 8f2383e4dd3c...), aligned to fer2013" in text


def test_a_photo_on_standard_input_is_scored(astronaut: NDArray[np.uint8], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(astronaut).save(buffer, "PNG")
    arguments = ("score", "-", "--faces", "detect", "--model", MODEL, "--output", tmp_path / "o.csv")
    code, _ = run(*arguments, given=buffer.getvalue())
    assert code == 0
    assert [(row["file"], row["label"]) for row in rows_of(tmp_path / "o.csv")] == [("-", "3")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one.png"], "one.png: expected a 48x48 image, found 512x512; --faces whole resizes pictures, --faces detect"),
        (
            ["one.png", "coffee.jpg"],
            "expected one DATA, found 2; --engine ray and photos (--faces detect) may be several",
        ),
        (["one.png", "--faces", "detect", "--engine", "ray"], "--faces: expected aligned on a cluster, found detect"),
        (["one.png", "--faces", "whole", "--min-face", "40"], "--min-face: requires --faces detect"),
        (["missing.png", "--faces", "detect"], "missing.png: cannot be read: No such file or directory"),
        (["one.png", "--faces", "detect", "--usage", "test"], "--split: expected none, as photos have no splits"),
        (["film.mp4", "coffee.jpg", "--faces", "detect"], "film.mp4: is a film; score films one at a time"),
    ],
)
def test_errors_name_the_option_that_helps(
    arguments: list[str], message: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album)
    (album / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(20))
    code, text = run("score", *arguments, "--model", MODEL, "--output", tmp_path / "o.csv")
    assert code != 0
    assert message in text
    assert not (tmp_path / "o.csv").exists()


def test_scorers_take_photos_in_memory_and_in_files(album: Path, astronaut: NDArray[np.uint8]) -> None:
    image = Image.fromarray(astronaut)
    with Scorer(MODEL, device="cpu") as scorer:
        one = album / "one.png"
        for photo in (one, str(one), astronaut, image, [image], [astronaut], [one], [str(one)]):
            assert scorer.predict(photo).tolist() == ["happy"]
        assert scorer.predict_proba(album / "deep" / "two.png").shape == (2, 7)
        assert scorer.predict(np.zeros((3, 48, 48), np.uint8)).shape == (3,)
        assert scorer.predict(astronaut, faces="whole").shape == (1,)
        with pytest.raises(DataError, match="no face"):
            scorer.predict(data.coffee())
        with pytest.raises(DataError, match="expected a 48x48 image, found 512x512"):
            scorer.predict(album / "one.png", faces="aligned")


def test_a_color_image_of_48x48_is_refused_with_the_settings_that_read_it(astronaut: NDArray[np.uint8]) -> None:
    small = Image.fromarray(astronaut).resize((48, 48))
    remedy = "`faces='whole'` resizes pictures, `faces='detect'` finds the faces in them"
    with Scorer(MODEL, device="cpu") as scorer:
        with pytest.raises(DataError, match=f"^image: expected a gray image, found color; {remedy}$"):
            scorer.predict(small)
        assert scorer.predict(small, faces="whole").shape == (1,)


def test_channels_are_never_swapped(astronaut: NDArray[np.uint8]) -> None:
    (face,) = find_faces(astronaut)
    luma = astronaut.astype(float) @ [0.299, 0.587, 0.114]
    gray = np.rint(luma).astype(np.uint8)
    (from_gray,) = find_faces(gray)
    assert np.abs(face.image.astype(int) - from_gray.image).mean() < 6
    swapped = find_faces(np.ascontiguousarray(astronaut[..., ::-1]))[0]
    assert (
        np.abs(face.image.astype(int) - swapped.image).mean() > np.abs(face.image.astype(int) - from_gray.image).mean()
    )


@pytest.mark.parametrize("output", ["faces", "faces.csv", "faces.csv.gz", "faces.parquet"])
def test_cut_faces_are_read_back_as_they_were_found(
    output: str, album: Path, tmp_path: Path, astronaut: NDArray[np.uint8], recwarn: pytest.WarningsRecorder
) -> None:
    done = crop(album, tmp_path / output)
    faces = read_faces(tmp_path / output)
    assert (done.photos, done.faces, len(faces)) == (7, 3, 3)
    assert [str(warning.message) for warning in recwarn] == []
    by_id = dict(zip(faces.ids.tolist(), faces.images, strict=True))
    (face,) = find_faces(astronaut)
    np.testing.assert_array_equal(by_id["one.png-1.png" if output == "faces" else "one.png#1"], face.image)
    boxes = rows_of(tmp_path / f"{output}.boxes.csv")
    assert [row["id"] for row in boxes if row["id"]] == sorted(by_id)
    assert [row["reason"].partition(":")[0] for row in boxes if row["reason"]] == [
        "no face",
        "unreadable",
        "unreadable",
        "unreadable",
        "too small",
    ]


def test_predictions_for_cut_faces_equal_those_for_photos(album: Path, tmp_path: Path) -> None:
    crop(album, tmp_path / "faces.csv")
    score(tmp_path / "faces.csv", MODEL, tmp_path / "a.csv", columns="probabilities", device="cpu", precision="fp32")
    score(album, MODEL, tmp_path / "b.csv", faces="detect", device="cpu", precision="fp32")
    cut, found = rows_of(tmp_path / "a.csv"), [row for row in rows_of(tmp_path / "b.csv") if not row["reason"]]
    for one, other in zip(cut, found, strict=True):
        assert one["id"] == f"{other['file']}#{other['face']}"
        assert [one[name] for name in ("label", *EXPRESSIONS)] == [other[name] for name in ("label", *EXPRESSIONS)]


def test_labels_and_splits_of_folders_are_kept(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    two = np.hstack(
        [astronaut[:, :400], np.asarray(Image.fromarray(astronaut[:, :400]).resize((200, 256))).repeat(2, 0)]
    )
    for split in ("Training", "PublicTest"):
        for label in ("happy", "sad"):
            (tmp_path / "tree" / split / label).mkdir(parents=True)
            Image.fromarray(two).save(tmp_path / "tree" / split / label / "x.png")
    for output in ("out", "out.csv", "out.parquet"):
        done = crop(tmp_path / "tree", tmp_path / output)
        faces = read_faces(tmp_path / output)
        assert done.faces == 4
        order = np.lexsort((faces.labels, faces.splits))
        assert faces.labels[order].tolist() == [3, 4, 3, 4]
        assert faces.splits[order].tolist() == ["PublicTest"] * 2 + ["Training"] * 2


def test_outputs_of_the_same_photos_are_equal_byte_for_byte(album: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        crop(album, tmp_path / f"{name}.csv.gz")
        crop(album, tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert (tmp_path / "a.boxes.csv").read_bytes() == (tmp_path / "b.boxes.csv").read_bytes()
    first, second = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second


def test_photos_of_several_folders_with_one_name_all_are_written(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(astronaut).save(tmp_path / folder / "me.png")
    done = crop([tmp_path / "x" / "me.png", tmp_path / "y" / "me.png"], tmp_path / "out")
    assert done.faces == 2
    assert sorted(file.name for file in (tmp_path / "out").glob("*.png")) == ["me.png-1-2.png", "me.png-1.png"]


def test_photos_of_several_folders_can_be_distinguished(
    tmp_path: Path, astronaut: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("x", "y/z"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(astronaut).save(tmp_path / folder / "me.png")
    monkeypatch.chdir(tmp_path)
    score(["x", "y"], MODEL, "out.csv", faces="detect", device="cpu", overlay="seen")
    assert [row["file"] for row in rows_of(Path("out.csv"))] == ["x/me.png", "y/z/me.png"]
    assert sorted(file.name for file in Path("seen").glob("*.png")) == ["x-me.png.png", "y-z-me.png.png"]
    crop(["x", "y"], "faces.csv")
    assert read_faces("faces.csv").ids.tolist() == ["x/me.png#1", "y/z/me.png#1"]
    crop([tmp_path / "x", tmp_path / "y"], "faces")  # absolute names stay below the output, too
    assert len(list(Path("faces").rglob("*.png"))) == 2


def test_without_any_face_nothing_is_written(album: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"coffee.jpg: has no face in 1 photo$"):
        crop(album / "coffee.jpg", tmp_path / "out")
    with pytest.raises(DataError, match=r"empty.jpg: unreadable: the file is empty$"):
        crop(album / "empty.jpg", tmp_path / "out", on_error="fail")
    with pytest.raises(DataError, match=r"coffee.jpg: no face$"):
        crop(album / "coffee.jpg", tmp_path / "out", on_error="fail")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.boxes.csv").exists()


@pytest.mark.parametrize("name", ["faces.xlsx", "faces.PNG", "faces.csv.xz", "faces.json"])
def test_a_folder_never_gets_the_name_of_a_file(name: str, album: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"{name}: expected the name of a folder, or of a table that ends in .csv, "):
        crop(album, tmp_path / name)
    assert crop(album / "one.png", tmp_path / "faces-1.0").faces == 1


def test_the_crop_command_says_where_the_faces_are(album: Path, tmp_path: Path) -> None:
    code, text = run("crop", album, "--output", tmp_path / "faces.csv")
    assert code == 0
    assert text.splitlines() == [
        f"{tmp_path / 'faces.csv'}: 3 faces of 7 photos",
        f"{tmp_path / 'faces.csv.boxes.csv'}: their boxes, and the photos without a face: "
        "no face 1, unreadable 3, too small 1",
    ]
    code, text = run("crop", album, "--output", tmp_path / "faces.csv")
    assert code == 1
    assert "faces.csv: exists already; --force replaces it" in text


def test_a_folder_of_other_images_is_never_replaced(album: Path, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    (tmp_path / "mine").mkdir()
    Image.fromarray(astronaut).save(tmp_path / "mine" / "holiday.png")
    with pytest.raises(OutputError, match=r"mine: contains holiday.png but no crop.json, so it is not an output"):
        crop(album, tmp_path / "mine", force=True)
    crop(album, tmp_path / "out")
    crop(album / "one.png", tmp_path / "out", force=True)
    assert len(list((tmp_path / "out").glob("*.png"))) == 1
