"""Read pictures of any format as upright red, green and blue pixels, or say in one line why not."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fer_core.errors import DataError, first_line
from fer_core.extras import remedy
from fer_core.git_lfs import LFS_REMEDY
from fer_core.io.file_types import HEAD_BYTES, HEIF, LFS_POINTER, PICTURES, file_type, is_avif
from fer_core.io.images import ORIENTATION
from fer_infer.photos.gray_depth import eight_bit_gray

FORMATS: Final[tuple[str, ...]] = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pillow's formats that are read; others, such as EPS, would start programs or are not photos."""

MOST_BYTES: Final = 1 << 29
"""Largest file that is read, in bytes."""

MOST_PIXELS: Final = 178_956_970
"""Largest number of pixels that is decoded, the limit beyond which Pillow refuses a picture."""

LARGE_PIXELS: Final = 1 << 25
"""Number of pixels beyond which a picture is large: its search needs about 12 bytes per pixel."""

UNREADABLE: Final = "unreadable"
"""First word of the reason for a picture that cannot be read."""

TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""

_ONE_AT_A_TIME: Final = Lock()
_BOMB: Final = re.compile(r"\((\d+) pixels\) exceeds limit of (\d+) pixels")
_CHUNK: Final = 1 << 20
_NOT_A_FILE: Final = "expected a file, found a folder, pipe or device"


class PhotoError(DataError):
    """A picture that cannot be read; `message` is the reason.

    Examples
    --------
    >>> from fer_infer.photos.images import PhotoError
    >>> print(PhotoError("me.jpg", "unreadable: the file is empty"))
    me.jpg: unreadable: the file is empty
    """


def read_photo(photo: Any, source: str = "") -> NDArray[np.uint8]:
    """Read a picture.

    The EXIF orientation is applied, transparent pixels are laid over white, the first frame of an animation and the
    first page of a TIFF are taken, and 12 or 16 bits per channel become 8. Color profiles are ignored: a model sees
    gray.

    Parameters
    ----------
    photo : str, Path, bytes, binary file, PIL.Image.Image or ndarray of uint8
        AVIF, BMP, GIF, JPEG, PNG, TIFF or WebP picture, or HEIF if `pillow-heif` is installed (extra `photos`). Arrays
        have the shape (H, W) gray, (H, W, 3) red, green, blue or (H, W, 4) with alpha; their channels are never in the
        order blue, green, red.
    source : str
        Name of the picture in errors, by default its path.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Red, green and blue, upright.

    Raises
    ------
    PhotoError
        If the picture cannot be read; the message begins with ``unreadable:``. Files of more than `MOST_BYTES` bytes
        and pictures of more than `MOST_PIXELS` pixels are not decoded.

    Examples
    --------
    >>> from fer_infer.photos.images import read_photo
    >>> read_photo(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 3)
    """
    name = source or (os.fspath(photo) if isinstance(photo, str | os.PathLike) else "picture")
    try:
        if isinstance(photo, np.ndarray):
            return _rgb_of_array(photo)
        if isinstance(photo, Image.Image):
            return _rgb(photo)
        content = photo if isinstance(photo, bytes) else _read(photo)
        return _decode(content)
    except _Reason as reason:
        raise PhotoError(name, f"{UNREADABLE}: {reason}") from None


def read_content(photo: Any, source: str) -> bytes:
    """Return the content of the file of a picture, which `read_photo` takes.

    Parameters
    ----------
    photo : str, Path or binary file
        Picture.
    source : str
        Name of the picture in errors.

    Raises
    ------
    PhotoError
        If the file cannot be read.
    """
    try:
        return _read(photo)
    except _Reason as reason:
        raise PhotoError(source, f"{UNREADABLE}: {reason}") from None


def is_large(photo: Any) -> bool:
    """Return whether the file of a picture states more than `LARGE_PIXELS` pixels.

    Parameters
    ----------
    photo : str, Path or other object
        Picture as `read_photo` takes it; False if it is not a file, or cannot be read.
    """
    if not isinstance(photo, str | os.PathLike) or not os.path.isfile(photo):  # noqa: PTH113 - Path.is_file can raise
        return False
    with suppress(Exception), _silent(), Image.open(photo, formats=FORMATS) as image:  # `read_photo` reports errors
        return image.width * image.height > LARGE_PIXELS
    return False


class _Reason(Exception):  # noqa: N818 - the text of an error that is raised with the name of the picture
    """Why a picture cannot be read."""


def _read(photo: Any) -> bytes:
    """Return the content of a file, which is read only once, as it may change."""
    if isinstance(photo, str | os.PathLike):
        return _read_path(photo)
    if hasattr(photo, "read"):
        return _read_file(photo)
    raise _Reason(f"expected a path, bytes, a PIL image or a uint8 array, found {type(photo).__name__}")


def _read_path(path: str | os.PathLike[str]) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - opening a device can already have effects
            raise _Reason(_NOT_A_FILE)
        # if a pipe has replaced the file since, this does not wait for its writer
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _Reason(_NOT_A_FILE)
            with open(handle, "rb", closefd=False) as file:
                return _read_file(file)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise _Reason(_why(error)) from None


def _read_file(file: Any) -> bytes:
    """Read a binary file in chunks: asking for `MOST_BYTES` at once would reserve as much memory for every file."""
    content = io.BytesIO()
    try:
        while content.tell() <= MOST_BYTES and (chunk := file.read(_CHUNK)):
            content.write(chunk)
    except TypeError:
        raise _Reason("expected a file opened in binary mode, found text") from None
    except (OSError, ValueError) as error:  # ValueError: a closed file
        raise _Reason(_why(error)) from None
    if content.tell() > MOST_BYTES:
        raise _Reason(f"expected at most {MOST_BYTES >> 20} MiB, found more")
    return content.getvalue()


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def _decode(content: bytes) -> NDArray[np.uint8]:
    if not content:
        raise _Reason("the file is empty")
    kind = file_type(content[:HEAD_BYTES])
    if kind == LFS_POINTER:
        raise _Reason(LFS_REMEDY)
    if kind is not None and kind not in PICTURES:
        raise _Reason(f"expected a picture, found {kind}")
    try:
        with _silent():
            image = _open(content, kind)
    except _Reason:
        raise
    except Image.DecompressionBombError as error:
        found, most = map(int, _BOMB.findall(str(error))[0])
        raise _Reason(f"expected at most {most:,} pixels, found {found:,}") from None
    except Exception as error:  # the exceptions that Pillow raises for damaged files have no common base
        damaged = kind in PICTURES and not isinstance(error, UnidentifiedImageError)
        raise _Reason(f"is damaged ({first_line(error)})" if damaged else f"is {_other(kind)}") from None
    with image:
        return _rgb(image)


def _open(content: bytes, kind: str | None) -> Image.Image:
    """Open a picture without decoding it."""
    if kind != HEIF or is_avif(content):
        return Image.open(io.BytesIO(content), formats=FORMATS)
    try:
        from pillow_heif import HeifImageFile  # not registered with Pillow, which the caller may use as well
    except ModuleNotFoundError:
        raise _Reason(f"is an HEIF image, and {remedy('pillow-heif', 'photos')}") from None
    opener: Callable[..., Image.Image] = HeifImageFile
    return opener(io.BytesIO(content))


def _other(kind: str | None) -> str:
    return "not a picture of a known format" if kind is None else f"{kind} that is damaged or of a rare variant"


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress Pillow's warnings of large pictures and damaged metadata; filters are global, so threads take turns."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # warnings of other threads still appear
        yield


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an image, upright."""
    if image.width * image.height > MOST_PIXELS:
        raise _Reason(f"expected at most {MOST_PIXELS:,} pixels, found {image.width * image.height:,}")
    if not image.width * image.height:
        raise _Reason("has no pixels")
    try:
        with _silent() if hasattr(image, "tag_v2") else nullcontext():  # only TIFF reads its metadata while decoding
            image.load()
        orientation = _orientation(image)
        pixels = _eight_bits(image)
        turned = TRANSPOSITIONS.get(orientation)
        return np.array(pixels if turned is None else pixels.transpose(turned))
    except _Reason:
        raise
    except MemoryError:
        raise _Reason(f"has too many pixels for the memory, {image.width}x{image.height}") from None
    except Exception as error:  # as above
        raise _Reason(f"is damaged ({first_line(error)})") from None


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) if there is none or the metadata are damaged."""
    with suppress(Exception), _silent():
        return int(image.getexif().get(ORIENTATION, 1))
    return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert an image to red, green and blue, laid over white."""
    if image.mode.startswith("I;16"):
        return eight_bit_gray(image).convert("RGB")
    if image.mode in ("I", "F"):
        raise _Reason(
            "expected unsigned pixels of 8 or 16 bits, found signed ones or 32 bits, whose range is not stated"
        )
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # a copy of a large photo needs much memory


def _rgb_of_array(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    expected = "expected uint8 of shape (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA"
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not is_picture:
        raise _Reason(f"{expected}, found {pixels.dtype} of shape {pixels.shape}")
    if not pixels.size:
        raise _Reason("has no pixels")
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels)
    return _rgb(Image.fromarray(np.ascontiguousarray(pixels)))
