"""Folders of photos of any content end in a row per photo and an exit code, in bounded memory."""

from __future__ import annotations

import csv
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from fer_core import DataError
from fer_infer import Scorer, crop
from fer_infer.cli import main
from fer_infer.config import ScoreConfig
from fer_infer.photos import images
from fer_infer.photos.detector import Detection
from fer_infer.photos.find import search_ahead
from fer_infer.photos.found_face import Box
from fer_infer.photos.images import is_large
from fer_infer.photos.listing import Photo, list_photos
from fer_infer.scoring import photos as scoring
from fer_infer.scoring.photo_search import BATCH_PHOTOS, OVERLAY_PHOTOS, batches_of, too_small

data = pytest.importorskip("skimage.data")
MODEL = Path(__file__).resolve().parents[3] / "exports" / "compact"


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return data.astronaut()


def bomb(side: int) -> bytes:
    """Return a small PNG whose header states a picture of `side` pixels in each direction."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.fixture
def hostile(tmp_path: Path, astronaut: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "hostile"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(astronaut).save(folder / "deep" / "me.png")
    (folder / "bomb.png").write_bytes(bomb(60_000))
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("hello")
    (folder / "dangling.jpg").symlink_to(tmp_path / "never")
    (folder / "deep" / "loop").symlink_to(folder)
    Image.fromarray(astronaut).save(folder / "vanishes.png")
    os.mkfifo(folder / "pipe.jpg")
    return folder


@pytest.fixture
def vanishing(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remove a photo after it was listed and before it is read."""

    def listed(inputs: list[str]) -> list[Photo]:
        found = list_photos(inputs)
        (hostile / "vanishes.png").unlink()
        return found

    monkeypatch.setattr(scoring, "list_photos", listed)
    return hostile


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("threads", [1, 3])
def test_each_file_of_a_hostile_folder_has_a_row(vanishing: Path, tmp_path: Path, threads: int) -> None:
    output = tmp_path / "o.csv"
    options = ("--faces", "detect", "--threads", threads, "--model", MODEL, "--output", output)
    code, text = run("score", vanishing, *options)
    assert code == 0
    assert "1 face in 7 photos" in text
    assert [(row["file"], row["reason"]) for row in rows_of(output)] == [
        ("bomb.png", "unreadable: expected at most 178,956,970 pixels, found 3,600,000,000"),
        ("dangling.jpg", "unreadable: No such file or directory"),
        ("deep/me.png", ""),
        ("empty.jpg", "unreadable: the file is empty"),
        ("pipe.jpg", "unreadable: expected a file, found a folder, pipe or device"),
        ("text.jpg", "unreadable: is not a picture of a known format"),
        ("vanishes.png", "unreadable: No such file or directory"),
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_on_request_the_first_unreadable_photo_is_the_only_line(hostile: Path, tmp_path: Path, threads: int) -> None:
    options = ("--on-error", "fail", "--threads", threads, "--model", MODEL, "--output", tmp_path / "o.csv")
    code, text = run("score", hostile, "--faces", "detect", *options)
    assert code == 1
    expected = "fer-infer: bomb.png: unreadable: expected at most 178,956,970 pixels, found 3,600,000,000"
    assert text.splitlines() == [expected]
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("threads", [1, 3])
def test_faces_are_cut_from_a_hostile_folder(hostile: Path, tmp_path: Path, threads: int) -> None:
    code, text = run("crop", hostile, "--threads", threads, "--output", tmp_path / "faces")
    assert code == 0
    assert text.splitlines() == [
        f"{tmp_path / 'faces'}: 2 faces of 7 photos",
        f"{tmp_path / 'faces.boxes.csv'}: their boxes, and the photos without a face: unreadable 5",
    ]


@pytest.mark.parametrize("command", ["score", "crop"])
def test_an_interrupted_command_leaves_no_output(command: str, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    (tmp_path / "many").mkdir()
    for number in range(300):
        Image.fromarray(astronaut).save(tmp_path / "many" / f"{number:03d}.jpg")
    options = ["--model", str(MODEL), "--faces", "detect"] if command == "score" else []
    arguments = [command, str(tmp_path / "many"), *options, "--output", str(tmp_path / "o.csv")]
    handler = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program = f"{handler} from fer_infer.cli import main; main({arguments!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    begun = time.monotonic()
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < begun + 60:  # until the output is staged
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "fer-infer: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["many"]


@pytest.mark.parametrize(
    ("width", "height", "text"),
    [
        (23.98, 28.68, "too small: 23x28 pixels, expected at least 24"),
        (30.5, 23.5, "too small: 30x23 pixels, expected at least 24"),
        (14.0, 16.0, "too small: 14x16 pixels, expected at least 24"),
    ],
)
def test_the_size_of_a_face_that_is_too_small_is_never_rounded_up(width: float, height: float, text: str) -> None:
    assert too_small(Detection(Box(0, 0, width, height), 0.9, np.zeros((5, 2))), 24) == text


def test_large_photos_are_searched_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGE_PIXELS", 100)
    photos = []
    for number in range(12):
        side = 20 if number % 2 else 5
        file = tmp_path / f"{number}.png"
        Image.new("L", (side, side)).save(file)
        photos.append(Photo(str(file), file.name))

    def search_one(photo: Photo) -> tuple[str, str]:
        return photo.name, threading.current_thread().name

    results = list(search_ahead(search_one, photos, 4))
    assert [name for name, _ in results] == [photo.name for photo in photos]
    assert {thread for _, thread in results[1::2]} == {"large-photos_0"}
    assert not any(thread.startswith("large") for _, thread in results[::2])


def test_an_error_in_a_large_photo_is_raised_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGE_PIXELS", 100)
    photos = []
    for number, side in enumerate((5, 20, 5)):
        Image.new("L", (side, side)).save(tmp_path / f"{number}.png")
        photos.append(Photo(str(tmp_path / f"{number}.png"), str(number)))

    def search_one(photo: Photo) -> str:
        if photo.name == "1":
            raise DataError(photo.name, "is damaged")
        return photo.name

    found = search_ahead(search_one, photos, 2)
    assert next(found) == "0"
    with pytest.raises(DataError, match=r"^1: is damaged$"):
        next(found)


def test_large_pictures_are_recognized_without_reading_or_waiting(hostile: Path) -> None:
    large = [file.name for file in sorted(hostile.iterdir()) if is_large(str(file))]
    assert large == []  # a bomb is refused before it is decoded, so it needs no turn
    (hostile / "large.png").write_bytes(bomb(8_000))
    assert is_large(hostile / "large.png")
    assert not is_large("-")
    assert not is_large(b"bytes")


def test_one_photo_without_a_face_is_an_error_without_a_remedy(tmp_path: Path) -> None:
    Image.fromarray(data.coffee()).save(tmp_path / "coffee.jpg")
    with Scorer(MODEL, device="cpu") as scorer, pytest.raises(DataError) as caught:
        scorer.predict(tmp_path / "coffee.jpg")
    assert str(caught.value) == f"{tmp_path / 'coffee.jpg'}: no face"


def test_one_face_is_counted_in_the_singular(tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    Image.fromarray(astronaut).save(tmp_path / "me.png")
    done = crop(tmp_path / "me.png", tmp_path / "faces")
    assert done.to_text().splitlines()[0] == f"{tmp_path / 'faces'}: 1 face of 1 photo"


@pytest.mark.parametrize("threads", [1, 3])
def test_after_a_stop_no_search_begins(threads: int) -> None:
    stop, begun = threading.Event(), []

    def search_one(photo: Photo) -> str:
        begun.append(photo.name)
        stop.set()
        return photo.name

    found = search_ahead(search_one, [Photo("-", str(number)) for number in range(100)], threads, stop)
    with pytest.raises(CancelledError):
        list(found)
    assert len(begun) <= threads


def test_a_stop_reaches_the_photos_that_wait_for_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGE_PIXELS", 100)
    Image.new("L", (20, 20)).save(tmp_path / "large.png")
    stop, begun = threading.Event(), []

    def search_one(photo: Photo) -> str:
        begun.append(photo.name)
        stop.set()
        return photo.name

    photos = [Photo(str(tmp_path / "large.png"), str(number)) for number in range(8)]
    with pytest.raises(CancelledError):
        list(search_ahead(search_one, photos, 4, stop))
    assert len(begun) == 1


@pytest.mark.parametrize(("overlay", "most"), [(None, BATCH_PHOTOS), ("seen", OVERLAY_PHOTOS)])
def test_batches_have_few_photos_and_keep_files_only_for_an_overlay(
    overlay: str | None, most: int, tmp_path: Path
) -> None:
    Image.new("RGB", (80, 60)).save(tmp_path / "x.png")
    photos = [Photo(str(tmp_path / "x.png"), str(number)) for number in range(40)]
    batches = list(batches_of(photos, ScoreConfig.of_photos({"faces": "whole", "overlay": overlay})))
    assert [photo.photo for batch in batches for photo in batch.photos] == photos
    assert max(len(batch.photos) for batch in batches) == most
    expected = (tmp_path / "x.png").read_bytes() if overlay else None
    assert {photo.content for batch in batches for photo in batch.photos} == {expected}
