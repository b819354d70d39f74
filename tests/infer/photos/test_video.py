"""Frames come at their times, upright, once, and a film that breaks off says where."""

from __future__ import annotations

import gc
import struct
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("skimage")

from fer_core import ConfigError, DataError, OutputError
from fer_infer.photos.video import BrokenFilmError, Frame, iter_frames
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


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "2026-01-01T12:30:00.mp4", "file:film.mp4", "concat:a|b.mp4", "%03d.mp4"]
)
def test_names_are_those_of_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "film.mp4", STEADY[:3], still).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)  # no folder comes before the colon
    frames = list(iter_frames(name))
    assert len(frames) == 3
    with FilmWriter(Path(f"new:{name}")) as writer:
        writer.write_all(frames)
    assert len(list(iter_frames(f"new:{name}"))) == 3


def test_addresses_are_not_opened() -> None:
    with pytest.raises(DataError, match=r"^http://127.0.0.1:9/film.mp4: cannot be read as a film \(No such file"):
        next(iter_frames("http://127.0.0.1:9/film.mp4"))


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


def reshown(film: Path, matrix: tuple[int, ...]) -> Path:
    """Replace the display matrix (a, b, c, d, x, y) of an MP4 film."""
    a, b, c, d, x, y = (value << 16 for value in matrix)
    content = bytearray(film.read_bytes())
    start = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30), content.index(b"tkhd"))
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, x, y, 1 << 30)
    film.write_bytes(content)
    return film


@pytest.mark.parametrize(
    ("matrix", "axes", "expected"),
    [
        ((-1, 0, 0, 1, SIZE[0], 0), (0, 1), (slice(None), slice(None, None, -1))),
        ((1, 0, 0, -1, 0, SIZE[1]), (0, 1), (slice(None, None, -1), slice(None))),
        ((0, 1, 1, 0, 0, 0), (1, 0), (slice(None), slice(None))),
        ((0, -1, -1, 0, SIZE[1], SIZE[0]), (1, 0), (slice(None, None, -1), slice(None, None, -1))),
        ((0, 0, 0, 0, 0, 0), (0, 1), (slice(None), slice(None))),  # no picture at all: taken as it is stored
    ],
)
def test_a_reflection_of_the_display_is_applied(
    matrix: tuple[int, ...], axes: tuple[int, int], expected: tuple[slice, slice], tmp_path: Path
) -> None:
    frame = next(iter_frames(reshown(write_film(tmp_path / "film.mp4", STEADY[:3], still), matrix)))
    shown = np.asarray(frame_at(still(0))).transpose(*axes, 2)[expected]
    assert frame.pixels.shape == shown.shape
    assert np.abs(frame.pixels.astype(int) - shown).mean() < 4


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2), Fraction(1000)])
def test_pixels_are_made_square_unless_the_header_cannot_be_right(aspect: Fraction, tmp_path: Path) -> None:
    import av

    shown = frame_at(still(0))
    stored = shown.resize((round(SIZE[0] / aspect) if aspect < 9 else SIZE[0], SIZE[1]))
    with av.open(str(tmp_path / "film.mp4"), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *stored.size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        film.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(stored), format="rgb24")))
        film.mux(stream.encode())
    (frame,) = iter_frames(tmp_path / "film.mp4")
    assert frame.pixels.shape == (SIZE[1], SIZE[0], 3)
    assert np.abs(frame.pixels.astype(int) - np.asarray(shown)).mean() < 6


@pytest.mark.parametrize(("name", "codec"), [("film.mkv", "libx264"), ("film.flv", "flv"), ("film.avi", "mpeg4")])
def test_a_film_is_broken_if_it_is_shorter_than_its_header_states(name: str, codec: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / name, STEADY, lambda t: [(60 + 90 * t, 30)], codec=codec)
    assert len(list(iter_frames(film))) == len(STEADY)
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    frames: list[int] = []
    with pytest.raises(
        BrokenFilmError, match=r"breaks off after \d+ frames, at \d\.\d\d s \(expected a length of 1.2"
    ) as caught:
        frames.extend(frame.number for frame in iter_frames(film))
    assert 0 < len(frames) < len(STEADY)
    assert f"after {len(frames)} frames" in str(caught.value)


def test_a_film_that_was_trimmed_without_coding_it_again_is_whole(tmp_path: Path) -> None:
    import av

    film = write_film(tmp_path / "film.mp4", STEADY, still)
    with av.open(str(film)) as source, av.open(str(tmp_path / "trimmed.mp4"), "w") as trimmed:
        stream = trimmed.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                earlier = int(0.25 / packet.time_base)
                packet.stream, packet.pts, packet.dts = stream, packet.pts - earlier, packet.dts - earlier
                trimmed.mux(packet)
    times = [frame.time_s for frame in iter_frames(tmp_path / "trimmed.mp4")]
    np.testing.assert_allclose(times, np.arange(len(times)) / 25, atol=1e-3)
    assert 20 <= len(times) < len(STEADY)


def test_pictures_may_be_shorter_than_the_sound(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "film.mkv"), "w") as film:
        pictures, sound = film.add_stream("libx264", rate=25), film.add_stream("aac", rate=44100)
        pictures.width, pictures.height, pictures.pix_fmt = *SIZE, "yuv420p"
        for _ in range(10):
            film.mux(pictures.encode(av.VideoFrame.from_ndarray(np.asarray(frame_at([])), format="rgb24")))
        for number in range(130):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 44100, number * 1024
            film.mux(sound.encode(samples))
        film.mux(pictures.encode())
        film.mux(sound.encode())
    assert len(list(iter_frames(tmp_path / "film.mkv"))) == 10


def joined(folder: Path, *sizes: tuple[int, int]) -> Path:
    """Write transport streams of 12 frames and join them as `cat` does; all of them start at the same time."""
    import av

    with (folder / "joined.ts").open("wb") as whole:
        for size in sizes:
            with av.open(str(folder / "part.ts"), "w") as film:
                stream = film.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
                for _ in range(12):
                    shown = np.asarray(frame_at(still(0)).resize(size))
                    film.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
                film.mux(stream.encode())
            whole.write((folder / "part.ts").read_bytes())
    return folder / "joined.ts"


def test_times_of_joined_streams_continue(tmp_path: Path) -> None:
    film = joined(tmp_path, SIZE, SIZE, SIZE)
    np.testing.assert_allclose([frame.time_s for frame in iter_frames(film)], np.arange(36) / 25, atol=1e-4)
    chosen = [frame.number for frame in iter_frames(film, every_s=0.4)]
    assert chosen == [0, 10, 20, 30]


def test_films_without_moving_pictures_are_refused(tmp_path: Path) -> None:
    import av

    Image.new("RGB", (40, 30)).save(tmp_path / "x.txt.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "x.jpg")
    with av.open(str(tmp_path / "song.mp3"), "w") as song:
        sound, cover = song.add_stream("mp3", rate=44100), song.add_stream("png")
        cover.width, cover.height, cover.pix_fmt = 40, 30, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        song.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((30, 40, 3), np.uint8), format="rgb24")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 44100
        song.mux(sound.encode(samples))
        song.mux(sound.encode())
    for name, message in (
        ("x.txt.png", "is a picture, expected a film"),
        ("x.jpg", "is a picture, expected a film"),
        ("song.mp3", "has no moving pictures"),
    ):
        with pytest.raises(DataError, match=f"{name}: {message}$"):
            next(iter_frames(tmp_path / name))


def test_ffmpeg_writes_nothing_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    film = write_film(tmp_path / "film.mp4", STEADY, still, options={"movflags": "faststart"})
    content = bytearray(film.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    film.write_bytes(content[: int(len(content) * 0.8)])
    with pytest.raises(BrokenFilmError, match="breaks off"):
        list(iter_frames(film))
    assert capfd.readouterr() == ("", "")


def test_written_films_have_the_times_and_pixels_of_their_frames(tmp_path: Path) -> None:
    frames = list(iter_frames(write_film(tmp_path / "film.mp4", [0, 0.04, 0.5, 2.25], still)))
    odd = [frame._replace(pixels=frame.pixels[:301, :401]) for frame in frames]
    with FilmWriter(tmp_path / "copy.part") as writer:
        writer.write_all(odd)
    copies = list(iter_frames(tmp_path / "copy.part"))
    np.testing.assert_allclose([copy.time_s for copy in copies], [0, 0.04, 0.5, 2.25], atol=1e-4)
    for copy, frame in zip(copies, odd, strict=True):
        assert copy.pixels.shape == (302, 402, 3)
        assert np.abs(copy.pixels[:301, :401].astype(int) - frame.pixels).mean() < 5


def test_frames_of_any_size_are_written_at_the_size_of_the_first(tmp_path: Path) -> None:
    film = joined(tmp_path, SIZE, (240, 160), (640, 480))
    with FilmWriter(tmp_path / "copy.mp4") as writer:
        writer.write_all(iter_frames(film))
    shown = np.asarray(frame_at(still(0))).astype(int)
    copies = list(iter_frames(tmp_path / "copy.mp4"))
    assert len(copies) == 36
    assert all(np.abs(copy.pixels - shown).mean() < 8 for copy in copies)


def test_a_film_of_single_pixels_is_written(tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "copy.mp4") as writer:
        writer.write_all([Frame(0, 0.0, np.full((1, 1, 3), 200, np.uint8))])
    (copy,) = iter_frames(tmp_path / "copy.mp4")
    assert copy.pixels.shape == (2, 2, 3)


def test_frames_that_are_too_large_for_the_codec_are_one_error(tmp_path: Path) -> None:
    message = r"^seen.mp4: cannot be encoded as a film \(.+, frames of 20000x64 pixels\)$"
    with pytest.raises(OutputError, match=message), FilmWriter(tmp_path / "copy.part", "seen.mp4") as writer:
        writer.write_all([Frame(0, 0.0, np.zeros((64, 20000, 3), np.uint8))])


def test_frames_with_the_same_time_stay_in_order(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "film.mkv"), "w") as film:
        stream = film.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for number, time in enumerate((0, 40, 40, 40, 80)):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 40 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number * 40, Fraction(1, 1000)
            for packet in stream.encode(frame):
                packet.pts = packet.dts = time
                packet.time_base = Fraction(1, 1000)
                film.mux(packet)
    frames = list(iter_frames(tmp_path / "film.mkv"))
    np.testing.assert_allclose([frame.time_s for frame in frames], [0, 0.04, 0.041, 0.042, 0.08], atol=1e-6)
