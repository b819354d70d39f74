"""Pictures are listed once, in a stable order, and nothing that was given is ignored silently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_core import DataError
from fer_infer.photos.listing import Photo, is_film, list_photos


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.png", "deep/er/c.webp", "deep/note.txt", ".hidden.png", "Thumbs.db", "README.md", "t.csv"):
        file = tmp_path / "album" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "album"


def names(*inputs: object) -> list[str]:
    return [photo.name for photo in list_photos([str(one) for one in inputs])]


def test_folders_are_listed_to_any_depth_without_clutter(album: Path) -> None:
    assert names(album) == ["a.png", "b.jpg", "deep/er/c.webp", "deep/note.txt"]


def test_patterns_are_expanded_as_a_shell_would(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    assert names("*.png", "**/*.webp") == ["a.png", "deep/er/c.webp"]
    assert names("[ab].*") == ["a.png", "b.jpg"]


def test_each_file_is_listed_once_in_the_order_of_the_inputs(album: Path) -> None:
    assert names(album / "b.jpg", album) == [
        str(album / name) for name in ("b.jpg", "a.png", "deep/er/c.webp", "deep/note.txt")
    ]


def test_files_of_several_folders_have_different_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "me.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert names("one") == ["me.jpg"]
    assert names("one", "two/") == ["one/me.jpg", "two/me.jpg"]
    assert [photo.in_folder for photo in list_photos(["one", "two/me.jpg"])] == [True, False]


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        (Photo("x/a/b.png", "a/b.png", in_folder=True), "a-b.png"),
        (Photo("a/b.png", "a/b.png"), "b.png"),
        (Photo("/x/a/b.png", "/x/a/b.png", in_folder=True), "x-a-b.png"),
        (Photo("../x/b.png", "../x/b.png", in_folder=True), "x-b.png"),
        (Photo("\udcff.png", "\udcff.png"), r"\udcff.png"),
        (Photo("y.png", "顔" * 80 + "/y.png", in_folder=True), "顔" * 64 + "-y.png"),
    ],
)
def test_names_of_files_made_from_a_photo_stay_in_their_folder_and_are_short(photo: Photo, expected: str) -> None:
    assert photo.flat_name() == expected
    assert len(photo.flat_name().encode()) <= 200


def test_standard_input_and_home_folders_are_known(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(album))
    (photo, standard) = list_photos(["~/a.png", "-"])
    assert photo == Photo(str(album / "a.png"), "~/a.png")
    assert standard == Photo("-", "-")


def test_a_name_with_characters_of_patterns_is_a_file(album: Path) -> None:
    (album / "me[1].png").touch()
    assert names(album / "me[1].png") == [str(album / "me[1].png")]


def test_loops_of_links_end(album: Path) -> None:
    (album / "deep" / "loop").symlink_to(album)
    (album / "self.png").symlink_to(album / "self.png")
    assert names(album) == ["a.png", "b.jpg", "deep/er/c.webp", "deep/note.txt", "self.png"]


def test_names_that_are_not_utf8_are_listed(album: Path) -> None:
    (Path(os.fsdecode(os.fsencode(album) + b"/\xff.png"))).touch()
    assert len(names(album)) == 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing.jpg", "missing.jpg: cannot be read: No such file or directory"),
        ("*.tiff", r"\*.tiff: matches no file"),
        ("empty", "empty: contains no picture"),
    ],
)
def test_what_matches_nothing_is_an_error(
    given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"^{message}$"):
        list_photos([given])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x18ftypmp42" + bytes(20), True),
        (b"\0\0\0\x18ftypheic" + bytes(20), False),
        (b"\x1aE\xdf\xa3" + bytes(20), True),
        (b"RIFF\0\0\0\0AVI LIST", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", False),
        ((b"G" + bytes(187)) * 3, True),
        (b"GIF89a", False),
        (b"", False),
    ],
)
def test_films_are_recognized_by_content(head: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(head)
    assert is_film(tmp_path / "x.jpg") is expected


def test_what_cannot_be_read_is_not_a_film(tmp_path: Path) -> None:
    assert not is_film(tmp_path / "missing.mp4")
    assert not is_film(tmp_path)
