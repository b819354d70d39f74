"""Rare variants of pictures, damaged ones and odd files: no wrong pixels, no other error, and nothing left behind."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fer_infer.photos import images
from fer_infer.photos.images import PhotoError, read_photo
from tests.helpers.orientations import stored_as

RGB = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)).resize((40, 30), Image.BICUBIC)
)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def heif(image: Image.Image, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


def gray_tiff(bits: int, photometric: int, row: bytes, width: int = 4) -> bytes:
    """Return an uncompressed little-endian TIFF with one row of gray pixels (TIFF 6.0, section 4)."""
    tags = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1), (278, 1)]
    tags.append((279, len(row)))
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, start if tag == 273 else value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + row


SIXTEEN = np.array([0, 257, 32768, 65535], "<u2").tobytes()
TWELVE = bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x10])  # 0, 0x800, 0xFFF, 0x010, packed


@pytest.mark.parametrize(
    ("bits", "photometric", "row", "expected"),
    [
        (16, 1, SIXTEEN, [0, 1, 128, 255]),
        (16, 0, SIXTEEN, [255, 254, 127, 0]),
        (12, 1, TWELVE, [0, 128, 255, 1]),
        (8, 0, bytes([0, 1, 128, 255]), [255, 254, 127, 0]),
        (4, 1, bytes([0x0F, 0x80]), [0, 255, 136, 0]),
    ],
)
def test_gray_tiffs_of_every_depth_are_scaled_and_white_may_be_zero(
    bits: int, photometric: int, row: bytes, expected: list[int]
) -> None:
    assert read_photo(gray_tiff(bits, photometric, row))[0, :, 0].tolist() == expected


def test_the_transparent_level_of_sixteen_bits_is_laid_over_white() -> None:
    levels = np.array([[0, 257, 32768, 65535]], np.uint16)
    content = encoded(Image.fromarray(levels), "PNG", transparency=257)
    assert read_photo(content)[0, :, 0].tolist() == [0, 255, 128, 255]


def test_the_first_picture_of_a_multi_picture_jpeg_is_taken() -> None:
    second = Image.new("RGB", (16, 16), "blue")
    content = encoded(Image.new("RGB", (16, 16), "red"), "MPO", save_all=True, append_images=[second])
    np.testing.assert_allclose(read_photo(content)[8, 8].astype(int), [255, 0, 0], atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["AVIF", "HEIF"])
def test_the_orientation_in_the_container_is_applied_once(format: str, orientation: int) -> None:
    upright = np.zeros((32, 48), np.uint8)
    upright[:16, :24] = 255
    stored = Image.fromarray(np.ascontiguousarray(stored_as(upright, orientation))).convert("RGB")
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    content = encoded(stored, format, exif=exif) if format == "AVIF" else heif(stored, exif=exif.tobytes())
    pixels = read_photo(content)
    assert pixels.shape == (32, 48, 3)
    assert np.abs(pixels[..., 0].astype(int) - upright).mean() < 4


def test_an_avif_whose_major_brand_is_general_needs_no_heif_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = encoded(Image.fromarray(RGB), "AVIF")
    assert read_photo(content[:8] + b"mif1" + content[12:]).shape == RGB.shape


def test_reading_heif_registers_nothing_with_pillow() -> None:
    content = heif(Image.fromarray(RGB))
    before = dict(Image.OPEN)
    assert read_photo(content).shape == RGB.shape
    assert before == Image.OPEN


def test_a_heif_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heif(Image.fromarray(RGB))
    monkeypatch.setattr(images, "MOST_PIXELS", 1199)

    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(__import__("pillow_heif").HeifImageFile, "load", load)
    with pytest.raises(PhotoError, match=r"unreadable: expected at most 1,199 pixels, found 1,200$"):
        read_photo(content)


def test_a_lower_limit_that_the_caller_gave_pillow_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PhotoError, match=r"unreadable: expected at most 200 pixels, found 1,200$"):
        read_photo(encoded(Image.fromarray(RGB), "PNG"))


IMAGE = Image.fromarray(RGB)
SEEDS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: encoded(IMAGE, "PNG"),
    "animated PNG": lambda: encoded(IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(180)]),
    "JPEG": lambda: encoded(IMAGE, "JPEG"),
    "progressive JPEG": lambda: encoded(IMAGE, "JPEG", progressive=True),
    "CMYK JPEG": lambda: encoded(IMAGE.convert("CMYK"), "JPEG"),
    "interlaced GIF": lambda: encoded(IMAGE, "GIF", interlace=1),
    "BMP": lambda: encoded(IMAGE, "BMP"),
    "TIFF": lambda: encoded(IMAGE, "TIFF"),
    "deflated TIFF": lambda: encoded(IMAGE, "TIFF", compression="tiff_adobe_deflate"),
    "JPEG in TIFF": lambda: encoded(IMAGE, "TIFF", compression="jpeg"),
    "fax in TIFF": lambda: encoded(IMAGE.convert("1"), "TIFF", compression="group4"),
    "WebP": lambda: encoded(IMAGE, "WEBP"),
    "animated WebP": lambda: encoded(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(180)]),
    "AVIF": lambda: encoded(IMAGE, "AVIF"),
    "HEIF": lambda: heif(IMAGE),
}


def read_strictly(content: bytes) -> NDArray[np.uint8] | None:
    """Return the pixels, or None for a reason in one line; warnings and other errors fail the test."""
    with warnings.catch_warnings(record=True) as caught:  # as errors, `read_photo` would give them as the reason
        warnings.simplefilter("always")
        try:
            pixels = read_photo(content)
        except PhotoError as error:
            assert error.message.startswith("unreadable: ")  # noqa: PT017 - either is right
            assert "\n" not in error.message  # noqa: PT017
            pixels = None
    assert [str(warning.message) for warning in caught] == []
    return pixels


@pytest.mark.parametrize("kind", SEEDS)
def test_a_file_cut_anywhere_is_refused_unless_all_of_its_pixels_are_there(kind: str) -> None:
    content = SEEDS[kind]()
    whole = read_photo(content)
    for length in (*range(0, len(content), 7), *range(len(content) - 30, len(content))):
        pixels = read_strictly(content[:length])
        assert pixels is None or np.array_equal(pixels, whole), f"{length} of {len(content)} bytes"


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=60, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_give_pixels_or_a_reason_without_a_warning(kind: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(SEEDS[kind]())
    for place, value in changes:
        content[place % len(content)] = value
    pixels = read_strictly(bytes(content))
    assert pixels is None or (pixels.dtype == np.uint8 and pixels.shape[2] == 3)


def test_warnings_of_others_still_appear_while_a_picture_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_and_warn(*_: Any, **__: Any) -> None:
        warnings.warn("of another thread", UserWarning, stacklevel=1)
        raise SyntaxError("not a picture")

    monkeypatch.setattr(Image, "open", open_and_warn)
    with pytest.warns(UserWarning, match="of another thread"), pytest.raises(PhotoError, match="unreadable: is"):
        read_photo(b"anything")


def closed_file() -> io.BytesIO:
    file = io.BytesIO(b"anything")
    file.close()
    return file


class Failing(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (io.StringIO("text"), "expected a file opened in binary mode, found text"),
        (closed_file(), r"I/O operation on closed file"),
        (Failing(), "Input/output error"),
        (io.BytesIO(), "the file is empty"),
    ],
)
def test_files_that_cannot_be_read_give_the_reason(file: Any, reason: str) -> None:
    with pytest.raises(PhotoError, match=f"^picture: unreadable: {reason}$"):
        read_photo(file)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_refused_paths_leave_no_file_open(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("text")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        for path in (tmp_path, tmp_path / "text.jpg", tmp_path / "missing.jpg"):
            with pytest.raises(PhotoError, match="unreadable: "):
                read_photo(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        with pytest.raises(PhotoError, match=r"^s.png: unreadable: expected a file, found a folder, pipe or device$"):
            read_photo("s.png")


def test_a_file_that_becomes_a_pipe_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pipe = tmp_path / "a.png", tmp_path / "pipe"
    path.write_bytes(encoded(IMAGE, "PNG"))
    os.mkfifo(pipe)
    opened = os.open
    monkeypatch.setattr(os, "open", lambda _, flags: opened(pipe, flags))
    with pytest.raises(PhotoError, match=r"unreadable: expected a file, found a folder, pipe or device$"):
        read_photo(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_gives_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(IMAGE, "PNG"))
    path.chmod(0)
    with pytest.raises(PhotoError, match=r"unreadable: Permission denied$"):
        read_photo(path)


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from fer_infer.photos.images import read_photo
read_photo(sys.argv[1])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
print(read_photo(sys.argv[1]).shape)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is counted in /proc")
def test_a_small_file_is_read_with_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(IMAGE, "PNG"))
    command = [sys.executable, "-c", LITTLE_MEMORY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(30, 40, 3)\n", "")
