"""Films are scored frame by frame, faces keep their ids, and overlays and timelines go with the rows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

pytest.importorskip("av")
pytest.importorskip("skimage")

from fer_core import EXPRESSIONS, ConfigError, DataError, DataWarning, OutputError
from fer_infer import find_faces, score
from fer_infer.cli import main
from fer_infer.photos.find import Found, search
from fer_infer.photos.video import BrokenFilmError, iter_frames
from tests.helpers.films import frame_at, write_film

MODEL = Path(__file__).resolve().parents[3] / "exports" / "compact"
TIMES = [number / 10 for number in range(24)]
SMOOTHED = [f"{name}_smoothed" for name in EXPRESSIONS]


def places(time_s: float) -> list[tuple[float, float]]:
    """Return the places of a face that moves to the right and is hidden for half a second."""
    return [] if 0.85 < time_s < 1.35 else [(20 + 60 * time_s, 30)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", TIMES, places)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_frame_has_a_row_with_its_time_box_and_probabilities(film: Path, tmp_path: Path) -> None:
    done = score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu")
    rows = rows_of(tmp_path / "out.csv")
    first = ["frame", "time", "face", "left", "top", "width", "height", "detection", "label"]
    assert list(rows[0]) == [*first, *EXPRESSIONS, "label_smoothed", *SMOOTHED, "reason"]
    assert [int(row["frame"]) for row in rows] == list(range(24))
    np.testing.assert_allclose([float(row["time"]) for row in rows], TIMES, atol=1e-3)
    assert [row["reason"] for row in rows] == ["" if places(time_s) else "no face" for time_s in TIMES]
    assert {row["face"] for row in rows} == {"", "1"}
    (still,) = find_faces(np.asarray(frame_at([(0, 0)])))
    for row, time_s in zip(rows, TIMES, strict=True):
        if not row["reason"]:
            expected = np.add(still.box, (*places(time_s)[0], 0, 0))
            found = [float(row[name]) for name in ("left", "top", "width", "height")]
            np.testing.assert_allclose(found, expected, atol=8)
            assert row["label"] == row["label_smoothed"] == "3"
    assert (done.frames, done.rows, done.rejected, done.ids) == (24, 19, 5, 1)


def test_smoothing_is_that_of_its_formula_and_can_be_switched_off(film: Path, tmp_path: Path) -> None:
    score(film, MODEL, tmp_path / "a.csv", faces="detect", device="cpu", smooth_s=0.3)
    rows = [row for row in rows_of(tmp_path / "a.csv") if not row["reason"]]
    times = np.array([float(row["time"]) for row in rows])
    raw = np.array([[float(row[name]) for name in EXPRESSIONS] for row in rows])
    for place, row in enumerate(rows):
        weights = np.exp(-(times[place] - times[: place + 1]) / 0.3)
        expected = weights @ raw[: place + 1] / weights.sum()
        np.testing.assert_allclose([float(row[name]) for name in SMOOTHED], expected, atol=1e-6)
    score(film, MODEL, tmp_path / "b.csv", faces="detect", device="cpu", smooth_s=0)
    for row in rows_of(tmp_path / "b.csv"):
        assert [row[name] for name in EXPRESSIONS] == [row[name] for name in SMOOTHED]


def test_one_frame_per_time_can_be_scored(film: Path, tmp_path: Path) -> None:
    done = score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", every_s=0.5, limit=4)
    assert [row["frame"] for row in rows_of(tmp_path / "out.csv")] == ["0", "5", "10", "15"]
    assert done.frames == 4


def test_parquet_has_the_rows_of_the_csv(film: Path, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for name in ("out.csv", "out.parquet"):
        score(film, MODEL, tmp_path / name, faces="detect", device="cpu", names=True, columns="id-label")
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    rows = rows_of(tmp_path / "out.csv")
    assert len(table) == len(rows)
    for one, other in zip(table, rows, strict=True):
        assert list(one) == list(other)
        assert (one["label_smoothed"] or "") == other["label_smoothed"]
        assert one["frame"] == int(other["frame"])


def test_overlays_show_the_box_at_the_times_of_the_film(film: Path, tmp_path: Path) -> None:
    outputs = {"overlay": str(tmp_path / "seen.mp4"), "timeline": str(tmp_path / "time.png")}
    score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", **outputs)
    rows = rows_of(tmp_path / "out.csv")
    frames = list(iter_frames(tmp_path / "seen.mp4"))
    np.testing.assert_allclose([frame.time_s for frame in frames], TIMES, atol=1e-3)
    for row, frame, time_s in zip(rows, frames, TIMES, strict=True):
        before = np.asarray(frame_at(places(time_s))).astype(int)
        changed = np.abs(frame.pixels.astype(int) - before).mean(axis=2) > 15
        if row["reason"]:
            assert changed.mean() < 0.01
        else:
            left, top, width = (round(float(row[name])) for name in ("left", "top", "width"))
            line = changed[top - 3 : top + 4, left + 5 : left + width - 5]  # of two pixels, at one of these rows
            assert line.any(axis=0).mean() > 0.8
    assert (tmp_path / "time.png").stat().st_size > 5000


def test_anonymized_overlays_have_no_face(film: Path, tmp_path: Path) -> None:
    settings = {"overlay": str(tmp_path / "seen.mp4"), "anonymize": "blur", "limit": 5}
    score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", **settings)
    for frame in iter_frames(tmp_path / "seen.mp4"):
        assert find_faces(frame.pixels) == []


def test_a_face_that_is_missed_in_a_frame_stays_covered(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {frame.pixels.tobytes(): frame.number for frame in iter_frames(film)}

    def missing(pixels: NDArray[np.uint8], min_face: int) -> Found:
        return Found([], []) if frames[pixels.tobytes()] in (2, 4) else search(pixels, min_face)

    monkeypatch.setattr("fer_infer.scoring.film_search.search", missing)
    settings = {"overlay": str(tmp_path / "seen.mp4"), "anonymize": "blur", "limit": 6}
    score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", **settings)
    assert [row["reason"] for row in rows_of(tmp_path / "out.csv")] == ["", "", "no face", "", "no face", ""]
    for frame in iter_frames(tmp_path / "seen.mp4"):
        assert find_faces(frame.pixels) == []


def test_faces_keep_their_ids_if_few_frames_are_scored(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", [number / 2 for number in range(14)], lambda _: [(40, 30)])
    done = score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", every_s=2)
    assert [(row["frame"], row["face"]) for row in rows_of(tmp_path / "out.csv")] == [
        ("0", "1"),
        ("4", "1"),
        ("8", "1"),
        ("12", "1"),
    ]
    assert done.ids == 1


def test_overlays_have_no_metadata_of_the_film(tmp_path: Path) -> None:
    import av

    secret = {"title": "holiday", "comment": "+48.2082+016.3738/"}
    film = write_film(tmp_path / "film.mp4", TIMES[:3], places, metadata=secret)
    score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", overlay=str(tmp_path / "seen.mp4"))
    content = (tmp_path / "seen.mp4").read_bytes()
    for value in secret.values():
        assert value.encode() in film.read_bytes()
        assert value.encode() not in content
    with av.open(str(tmp_path / "seen.mp4")) as seen:
        assert not seen.streams.audio


def test_a_film_that_breaks_off_keeps_its_rows_and_says_where(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", TIMES, places, options={"movflags": "faststart"})
    film.write_bytes(film.read_bytes()[: int(film.stat().st_size * 0.7)])
    with pytest.warns(DataWarning, match=r"film.mp4: breaks off after \d+ frames"):
        done = score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu")
    rows = rows_of(tmp_path / "out.csv")
    assert rows[-1]["reason"].startswith(f"breaks off after {done.frames} frames, at ")
    assert [int(row["frame"]) for row in rows[:-1]] == list(range(done.frames))
    with pytest.raises(BrokenFilmError, match="breaks off after"):
        score(film, MODEL, tmp_path / "no.csv", faces="detect", device="cpu", on_error="fail")
    assert not (tmp_path / "no.csv").exists()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"faces": "whole"}, ConfigError, "faces: expected detect for a film, found whole"),
        ({"smooth_s": -1}, ConfigError, "smooth_s: expected at least 0, found -1"),
        ({"every_s": 0}, ConfigError, "every_s: expected above 0, found 0"),
        ({"overlay": "seen.avi"}, OutputError, "seen.avi: expected the name of an output to end in .mp4"),
        ({"timeline": "t.gif"}, OutputError, "t.gif: expected the name of an output to end in .png"),
        (
            {"anonymize": "blur"},
            ConfigError,
            "anonymize: requires an `overlay`, in which faces are made unrecognizable",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: dict[str, object], error: type[Exception], message: str, film: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        score(film, MODEL, tmp_path / "out.csv", **{"faces": "detect", **settings})
    assert message in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_the_command_scores_a_film(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "film.parquet"
    code, text = run("score", film, "--faces", "detect", "--model", MODEL, "--output", output, "--every", "0.5")
    assert code == 0
    assert text.startswith(f"{output}: 4 faces in 5 frames of 2.00 s, followed as 1 id, ")


def test_options_of_films_are_refused_for_photos(tmp_path: Path) -> None:
    frame_at([(0, 0)]).save(tmp_path / "me.png")
    arguments = ("score", tmp_path / "me.png", "--faces", "detect", "--model", MODEL, "--output", tmp_path / "o.csv")
    code, text = run(*arguments, "--every", "1")
    assert (code, text) == (1, "fer-infer: --every: requires a film\n")
    code, text = run(*arguments[:2], *arguments[4:], "--timeline", "t.png")
    assert (code, text) == (1, "fer-infer: --timeline: requires photos or a film: --faces detect\n")


def test_a_film_without_the_option_names_it(film: Path, tmp_path: Path) -> None:
    code, text = run("score", film, "--model", MODEL, "--output", tmp_path / "o.csv")
    assert code == 1
    assert "film.mp4: is a film; `fer-infer score` finds the faces in it with --faces detect" in text


def test_a_film_in_a_folder_of_photos_is_a_row_with_a_reason(film: Path, tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "film.mp4").write_bytes(film.read_bytes())
    frame_at([(0, 0)]).save(tmp_path / "album" / "me.png")
    score(tmp_path / "album", MODEL, tmp_path / "out.csv", faces="detect", device="cpu")
    rows = rows_of(tmp_path / "out.csv")
    assert [(row["file"], row["reason"]) for row in rows] == [
        ("film.mp4", "unreadable: expected a picture, found a film"),
        ("me.png", ""),
    ]
    with pytest.raises(DataError, match=r"film.mp4: is a film; score films one at a time$"):
        score([film, tmp_path / "album"], MODEL, tmp_path / "no.csv", faces="detect", device="cpu")


def test_a_film_has_a_map_of_each_face_and_draws_it_over_the_frame(film: Path, tmp_path: Path) -> None:
    explain, seen, plain = (str(tmp_path / name) for name in ("maps.npz", "seen.mp4", "plain.mp4"))
    score(film, MODEL, tmp_path / "out.csv", faces="detect", device="cpu", explain=explain, overlay=seen)
    score(film, MODEL, tmp_path / "plain.csv", faces="detect", device="cpu", overlay=plain)
    rows = rows_of(tmp_path / "out.csv")
    maps = np.load(explain)
    with_faces = [number for number, row in enumerate(rows, start=2) if not row["reason"]]
    assert maps["rows"].tolist() == with_faces
    assert maps["targets"].tolist() == [int(row["label"]) for row in rows if not row["reason"]]
    frames = [[frame.pixels.astype(float) for frame in iter_frames(path)] for path in (seen, plain)]
    changes = [np.abs(first - second).mean() for first, second in zip(*frames, strict=True)]
    assert all(change > 1 for change, row in zip(changes, rows, strict=True) if not row["reason"])
    assert all(change < 0.5 for change, row in zip(changes, rows, strict=True) if row["reason"])
