"""Pictures of every kind give the right pixels, or one line that says why not."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fer_infer.photos import images
from fer_infer.photos.images import MOST_PIXELS, PhotoError, read_photo
from tests.helpers.orientations import stored_as

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
GRAY = RGB[..., 0]


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(bytes(min(height, 4) * (min(width, 64) + 1)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("format", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 100, "subsampling": 0}, 4),
        ("AVIF", {"quality": 100, "subsampling": "4:4:4"}, 6),
    ],
)
def test_formats_give_the_pixels_that_were_saved(format: str, options: dict[str, Any], tolerance: int) -> None:
    smooth = np.asarray(Image.fromarray(RGB).resize((80, 60), Image.Resampling.BICUBIC))
    pixels = read_photo(encoded(Image.fromarray(smooth), format, **options))
    assert np.abs(pixels.astype(int) - smooth).max() <= tolerance


def test_heif_pictures_are_read_where_the_package_is_installed() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    smooth = np.asarray(Image.fromarray(RGB).resize((80, 64), Image.Resampling.BICUBIC))
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(smooth)).save(buffer, quality=100, chroma=444)
    assert np.abs(read_photo(buffer.getvalue()).astype(int) - smooth).mean() < 3


def test_a_heif_picture_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    content = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic"
    with pytest.raises(
        PhotoError, match=r"unreadable: is an HEIF image, and pillow-heif is not installed; pip install"
    ):
        read_photo(content)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_orientation_is_applied(orientation: int, format: str) -> None:
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :12] = 255  # bright upper left corner
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(stored_as(upright, orientation)))
    pixels = read_photo(encoded(stored, format, exif=exif))
    assert pixels.shape == (16, 24, 3)
    assert np.abs(pixels[..., 0].astype(int) - upright).mean() < 3


def test_an_unknown_orientation_and_damaged_metadata_are_ignored() -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION] = 77
    np.testing.assert_array_equal(read_photo(encoded(Image.fromarray(RGB), "PNG", exif=exif)), RGB)
    np.testing.assert_array_equal(read_photo(encoded(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0II*\0rubbish")), RGB)


def gray(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(levels[..., None], 3, axis=2)


def test_gray_and_bilevel_pictures_have_three_equal_channels() -> None:
    np.testing.assert_array_equal(read_photo(Image.fromarray(GRAY)), gray(GRAY))
    bilevel = Image.fromarray(GRAY > 127)
    np.testing.assert_array_equal(read_photo(bilevel), gray(np.where(GRAY > 127, 255, 0).astype(np.uint8)))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(format: str) -> None:
    levels = np.array([[0, 127, 128, 257, 32768, 65278, 65535]], np.uint16)
    expected = np.array([[0, 0, 0, 1, 128, 254, 255]], np.uint8)
    np.testing.assert_array_equal(read_photo(encoded(Image.fromarray(levels), format)), gray(expected))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_thirty_two_bits_are_refused_since_their_range_is_unknown(kind: type) -> None:
    content = encoded(Image.fromarray(np.full((4, 4), 200, kind)), "TIFF")
    with pytest.raises(PhotoError, match="picture: unreadable: expected unsigned pixels of 8 or 16 bits, found"):
        read_photo(content)


def test_palettes_are_resolved() -> None:
    palette = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(read_photo(encoded(palette, "PNG")), np.asarray(palette.convert("RGB")))


def test_transparent_pixels_are_laid_over_white() -> None:
    rgba = np.dstack([RGB, np.zeros((12, 20), np.uint8)])
    rgba[:, 10:, 3] = 255
    rgba[0, 0] = (0, 100, 200, 51)  # a fifth opaque
    pixels = read_photo(encoded(Image.fromarray(rgba), "PNG"))
    np.testing.assert_array_equal(pixels[:, 10:], RGB[:, 10:])
    assert (pixels[1:, :10] == 255).all()
    np.testing.assert_allclose(pixels[0, 0].astype(int), [204, 224, 244], atol=1)
    np.testing.assert_array_equal(read_photo(rgba), pixels)


def test_gray_with_alpha_and_palettes_with_transparency_are_laid_over_white() -> None:
    alpha = np.dstack([GRAY, np.where(GRAY > 99, 255, 0).astype(np.uint8)])
    expected = gray(np.where(GRAY > 99, GRAY, 255).astype(np.uint8))
    np.testing.assert_array_equal(read_photo(encoded(Image.fromarray(alpha, "LA"), "PNG")), expected)
    palette = Image.fromarray(RGB).quantize(4)
    index = np.asarray(palette)
    pixels = read_photo(encoded(palette, "PNG", transparency=2))
    assert (pixels[index == 2] == 255).all()
    np.testing.assert_array_equal(pixels[index != 2], np.asarray(palette.convert("RGB"))[index != 2])


def test_cmyk_and_ycbcr_become_rgb() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for content in (encoded(red, "TIFF"), encoded(red, "JPEG", quality=100)):  # Pillow inverts CMYK in JPEG, as Adobe
        np.testing.assert_allclose(read_photo(content)[8, 8].astype(int), [255, 0, 0], atol=3)
    assert np.abs(read_photo(Image.fromarray(RGB).convert("YCbCr")).astype(int) - RGB).max() <= 3


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    content = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert tuple(read_photo(content)[4, 4]) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1)])
def test_pictures_of_extreme_sizes_are_read(size: tuple[int, int]) -> None:
    assert read_photo(encoded(Image.new("L", size, 7), "PNG")).shape == (size[1], size[0], 3)


def test_a_picture_of_100_megapixels_is_read_without_a_warning() -> None:
    content = encoded(Image.new("L", (10_000, 10_000), 9), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_photo(content)
    assert pixels.shape == (10_000, 10_000, 3)
    assert pixels[5_000, 5_000].tolist() == [9, 9, 9]


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (MOST_PIXELS + 1, 1)])
def test_too_many_pixels_are_refused_before_they_are_decoded(size: tuple[int, int], monkeypatch: Any) -> None:
    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(PhotoError, match=r"unreadable: expected at most 178,956,970 pixels, found [\d,]+$"):
        read_photo(png_of(*size))


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_a_compressed_bomb_in_the_metadata_is_not_unpacked(kind: bytes) -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    data = {b"zTXt": b"a\0\0" + bomb, b"iCCP": b"a\0\0" + bomb, b"iTXt": b"a\0\1\0\0\0" + bomb}[kind]
    try:
        assert read_photo(png_of(4, 4, chunk(kind, data))).shape == (4, 4, 3)
    except PhotoError as error:
        assert re.fullmatch(r"unreadable: is damaged \(.*\)", error.message)  # noqa: PT017 - either is right


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"the file is empty"),
        (b"hello, world\n" * 9, r"is not a picture of a known format"),
        (b"%PDF-1.7\n", r"expected a picture, found a PDF document"),
        (b"<!doctype html><title>404</title>", r"expected a picture, found an HTML page"),
        (b"PK\x03\x04" + bytes(60), r"expected a picture, found a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", r".*git lfs pull.*"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), r"is .*damaged.*"),
        (b"\xff\xd8\xff\xe0" + bytes(40), r"is .*damaged.*"),
        (b"GIF89a" + bytes(3), r"is .*damaged.*"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", r"is not a picture of a known format"),
    ],
)
def test_other_files_give_one_line_with_the_reason(content: bytes, reason: str, tmp_path: Path) -> None:
    path = written(tmp_path / "me.jpg", content)
    with pytest.raises(PhotoError) as caught:
        read_photo(path)
    assert re.fullmatch(f"unreadable: {reason}", caught.value.message)
    assert str(caught.value) == f"{path}: {caught.value.message}"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_refused_rather_than_half_gray(format: str, kept: float) -> None:
    content = encoded(Image.fromarray(RGB).resize((200, 160)), format)
    with pytest.raises(PhotoError, match=r"unreadable: is .*damaged"):
        read_photo(content[: int(len(content) * kept)])


def test_a_picture_followed_by_another_file_is_the_picture() -> None:
    np.testing.assert_array_equal(read_photo(encoded(Image.fromarray(RGB), "PNG") + b"PK\x03\x04<html>%PDF-"), RGB)


def test_paths_that_are_no_files_are_refused_at_once(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    expected = {
        tmp_path: "expected a file, found a folder, pipe or device",
        pipe: "expected a file, found a folder, pipe or device",
        Path("/dev/zero"): "expected a file, found a folder, pipe or device",
        loop: "Too many levels of symbolic links",
        tmp_path / "missing.png": "No such file or directory",
        tmp_path / "no\0name.png": "embedded null byte",
    }
    for path, reason in expected.items():
        with pytest.raises(PhotoError) as caught:
            read_photo(path)
        assert caught.value.message == f"unreadable: {reason}"


def test_a_file_larger_than_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", 3 << 20)
    path = written(tmp_path / "large.png", bytes(4 << 20))
    with pytest.raises(PhotoError, match=r"large.png: unreadable: expected at most 3 MiB, found more$"):
        read_photo(path)


def test_paths_bytes_files_and_images_give_the_same_pixels(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(RGB), "PNG")
    path = written(tmp_path / "a.png", content)
    with path.open("rb") as file, Image.open(path) as lazy:
        for photo in (path, str(path), content, io.BytesIO(content), file, lazy, RGB):
            np.testing.assert_array_equal(read_photo(photo), RGB)


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (RGB.astype(float), r"expected uint8 of shape .*, found float64 of shape \(12, 20, 3\)"),
        (RGB[None], r"expected uint8 of shape .*, found uint8 of shape \(1, 12, 20, 3\)"),
        (RGB[..., :2], r"expected uint8 of shape .*, found uint8 of shape \(12, 20, 2\)"),
        (np.zeros((0, 5), np.uint8), "has no pixels"),
        (Image.new("RGB", (0, 4)), "has no pixels"),
        (3.5, "expected a path, bytes, a PIL image or a uint8 array, found float"),
    ],
)
def test_other_arrays_and_objects_are_refused(photo: Any, reason: str) -> None:
    with pytest.raises(PhotoError) as caught:
        read_photo(photo, "frame 3")
    assert re.fullmatch(f"frame 3: unreadable: {reason}", str(caught.value))


def test_settings_of_pillow_stay_and_no_warning_appears() -> None:
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    contents = [
        encoded(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0II*\0rubbish"),
        encoded(Image.fromarray(RGB), "JPEG"),
    ]
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for content in contents * 20:
                read_photo(content)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


SEEDS = [encoded(Image.fromarray(RGB), format) for format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(0, 400),
)
def test_damaged_files_give_pixels_or_a_reason(seed: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(seed)
    for place, value in changes:
        content[place % len(content)] = value
    try:
        pixels = read_photo(bytes(content[: len(content) - cut]))
    except PhotoError as error:
        assert error.message.startswith("unreadable: ")  # noqa: PT017 - either is right
        assert "\n" not in error.message  # noqa: PT017
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_give_a_reason(content: bytes) -> None:
    with pytest.raises(PhotoError, match="picture: unreadable: "):
        read_photo(content)
