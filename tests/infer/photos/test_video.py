"""Frames come at their times, upright, once, and a film that breaks off says where."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("skimage")

from fer_core import ConfigError, DataError
from fer_infer.photos.video import BrokenFilmError, iter_frames
from fer_infer.photos.video_writer import FilmWriter
from tests.helpers.films import SIZE, frame_at, write_film

STEADY = [number / 25 for number in range(30)]


def still(_: float) -> list[tuple[float, float]]:
    return [(60, 30)]


def test_times_are_those_of_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0, 0.04, 0.2, 0.21, 1, 1.5]
    frames = list(iter_frames(write_film(tmp_path / "film.mp4", times, still)))
    assert [frame.number for frame in frames] == list(range(6))
    np.testing.assert_allclose([frame.time_s for frame in frames], times, atol=1e-3)
    expected = np.asarray(frame_at(still(0))).astype(int)
    assert all(np.abs(frame.pixels.astype(int) - expected).mean() < 4 for frame in frames)


@pytest.mark.parametrize("name", ["film.mkv", "film.mov", "film.ts"])
def test_containers_are_read(name: str, tmp_path: Path) -> None:
    frames = list(iter_frames(write_film(tmp_path / name, STEADY, still)))
    assert len(frames) == len(STEADY)
    np.testing.assert_allclose([frame.time_s for frame in frames], STEADY, atol=2e-3)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_rotation_of_the_display_is_applied(rotation: int, tmp_path: Path) -> None:
    frame = next(iter_frames(write_film(tmp_path / "film.mp4", STEADY[:3], still, rotation=rotation)))
    assert frame.pixels.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(frame.pixels.astype(int) - np.asarray(frame_at(still(0)))).mean() < 4


def test_the_first_frame_at_or_after_each_multiple_is_taken(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [0, 0.1, 0.24, 0.26, 0.5, 0.51, 1.3, 1.4], still)
    chosen = [(frame.number, round(frame.time_s, 2)) for frame in iter_frames(film, every_s=0.25)]
    assert chosen == [(0, 0.0), (3, 0.26), (4, 0.5), (6, 1.3)]


def test_only_few_frames_exist_at_a_time(tmp_path: Path) -> None:
    living: list[weakref.ref[object]] = []
    most = 0
    for frame in iter_frames(write_film(tmp_path / "film.mp4", STEADY, still)):
        living.append(weakref.ref(frame.pixels))
        del frame
        gc.collect()
        most = max(most, sum(one() is not None for one in living))
    assert most <= 2


@pytest.mark.parametrize("kept", [0.4, 0.8])
def test_a_film_that_breaks_off_keeps_the_frames_before(kept: float, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", STEADY, lambda t: [(60 + 90 * t, 30)], options={"movflags": "faststart"})
    content = film.read_bytes()
    film.write_bytes(content[: int(len(content) * kept)])
    frames: list[int] = []
    with pytest.raises(
        BrokenFilmError, match=r"film.mp4: breaks off after \d+ frames, at \d\.\d\d s \(.+\)$"
    ) as caught:
        frames.extend(frame.number for frame in iter_frames(film))
    assert frames == list(range(len(frames)))
    assert 0 < len(frames) < len(STEADY)
    assert f"after {len(frames)} frames" in str(caught.value)


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    import av

    film = write_film(tmp_path / "film.mp4", STEADY, still)
    (tmp_path / "headless.mp4").write_bytes(film.read_bytes()[:-3000])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello " * 100)
    with av.open(str(tmp_path / "sound.mp4"), "w") as sound:
        stream = sound.add_stream("aac", rate=44100)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        sound.mux(stream.encode(samples))
        sound.mux(stream.encode())
    expected = {
        "headless.mp4": r"cannot be read as a film \(Invalid data found when processing input\)",
        "empty.mp4": r"cannot be read as a film \(.+\)",
        "text.mp4": r"cannot be read as a film \(Invalid data found when processing input\)",
        "sound.mp4": "has no moving pictures",
        "missing.mp4": r"cannot be read as a film \(No such file or directory\)",
    }
    for name, message in expected.items():
        with pytest.raises(DataError, match=f"{name}: {message}$"):
            list(iter_frames(tmp_path / name))


@pytest.mark.parametrize("every_s", [0, -1, float("nan"), float("inf")])
def test_times_between_frames_are_checked(every_s: float) -> None:
    with pytest.raises(ConfigError, match="every_s: expected more than 0, found "):
        next(iter_frames("film.mp4", every_s=every_s))


def test_written_films_have_the_times_and_pixels_of_their_frames(tmp_path: Path) -> None:
    frames = list(iter_frames(write_film(tmp_path / "film.mp4", [0, 0.04, 0.5, 2.25], still)))
    odd = [frame._replace(pixels=frame.pixels[:301, :401]) for frame in frames]
    with FilmWriter(tmp_path / "copy.part") as writer:
        writer.write_all(odd)
    copies = list(iter_frames(tmp_path / "copy.part"))
    np.testing.assert_allclose([copy.time_s for copy in copies], [0, 0.04, 0.5, 2.25], atol=1e-4)
    for copy, frame in zip(copies, odd, strict=True):
        assert np.abs(copy.pixels.astype(int) - frame.pixels[:300, :400]).mean() < 5


def test_pictures_are_not_films(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "x.txt.png")
    frames = list(iter_frames(tmp_path / "x.txt.png"))  # FFmpeg reads a picture as a film of one frame
    assert len(frames) == 1
