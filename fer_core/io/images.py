"""Single images of faces: 48x48 pixels, 8 bits per channel, gray."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError
from fer_core.fer2013 import IMAGE_SIZE, PIXELS
from fer_core.git_lfs import LFS_REMEDY
from fer_core.io.crop import OTHER_PICTURES
from fer_core.io.crop import Image as AnyImage
from fer_core.io.file_types import HEAD_BYTES, IMAGES, LFS_POINTER, PICTURES, file_type
from fer_core.io.read_ahead import map_ahead

if TYPE_CHECKING:
    from PIL import Image

NO_FACE: Final = "no face"
"""Reason for an image in which no face was found."""

ORIENTATION: Final = 0x0112
"""EXIF tag that says how to rotate or mirror an image that is not stored upright."""

MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
"""Pillow's modes of at most 8 bits per channel, which convert to gray levels without rounding."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_JPEG_END: Final = b"\xff\xd9"


class NotAlignedError(DataError):
    """A picture that is not a face of 48x48 gray pixels; it may contain faces."""

    def with_remedy(self) -> DataError:
        """Return the error with the settings that read such pictures."""
        return DataError(self.source, f"{self.message}; {OTHER_PICTURES}")


def is_encoded(data: bytes) -> bool:
    """Return whether bytes are a PNG or JPEG image rather than 2,304 gray levels, which can begin like a JPEG."""
    return data.startswith(_PNG) or (data.startswith(_JPEG) and (len(data) != PIXELS or data.endswith(_JPEG_END)))


def read_image(image: Path | bytes) -> NDArray[np.uint8]:
    """Read a gray 48x48 PNG or JPEG image; a color image is accepted if its channels are equal.

    Parameters
    ----------
    image : Path or bytes
        A file, or the content of one; errors call the latter `image`.

    Returns
    -------
    ndarray of uint8, shape (48, 48)
        Gray levels.

    Raises
    ------
    DataError
        If the file is not such an image, has transparent pixels or more than 8 bits per channel; `NotAlignedError` if
        it is another picture.
    """
    from PIL import Image

    source = "image" if isinstance(image, bytes) else str(image)
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=("PNG", "JPEG")) as opened:
            return gray_levels(opened, source)
    except DataError:
        raise
    except Exception as error:  # the exceptions that Pillow raises for damaged chunks have no common base
        kind = _type_of(image)
        if kind == LFS_POINTER:
            raise DataError(source, LFS_REMEDY) from None
        other = "damaged or of another format" if kind in IMAGES or kind is None else f"is {kind}"
        reason = getattr(error, "strerror", None) or other
        kind_of_error = NotAlignedError if kind in PICTURES - IMAGES else DataError
        raise kind_of_error(source, f"expected a PNG or JPEG image, found none that can be read ({reason})") from None


def gray_levels(image: Image.Image, source: str) -> NDArray[np.uint8]:
    """Return the gray levels of a Pillow image.

    Parameters
    ----------
    image : PIL.Image.Image
        An opaque gray 48x48 image of 8 bits per channel, upright; it may be stored in color.
    source : str
        Name of the image in errors.

    Raises
    ------
    NotAlignedError
        If the image is another one. What Pillow raises for damaged pixels is not caught.
    """
    if image.size != (IMAGE_SIZE, IMAGE_SIZE):
        raise NotAlignedError(source, f"expected a 48x48 image, found {image.width}x{image.height}")
    if image.mode not in MODES:
        raise NotAlignedError(source, f"expected a gray image of 8 bits, found mode {image.mode}")
    if image.getexif().get(ORIENTATION, 1) != 1:
        raise NotAlignedError(source, "expected an image stored upright, found an EXIF orientation that turns it")
    if (frames := getattr(image, "n_frames", 1)) != 1:
        raise NotAlignedError(source, f"expected one image, found {frames} frames")
    channels = np.asarray(image.convert("RGBA"))
    if (channels[..., 3] != 255).any():
        raise NotAlignedError(source, "expected an opaque image, found transparency")
    if (channels[..., :3] != channels[..., :1]).any():
        raise NotAlignedError(source, "expected a gray image, found color")
    return channels[..., 0].copy()


def cut_faces(
    images: Iterable[AnyImage], cut: Callable[[Any], Sequence[NDArray[np.uint8]]], threads: int = 1
) -> Iterator[Sequence[NDArray[np.uint8]] | DataError]:
    """Cut the faces from images in several threads.

    Parameters
    ----------
    images : iterable
        Images that `cut` accepts.
    cut : callable
        A function of a `fer_core.io.crop.Crop`.
    threads : int
        Number of threads; the results do not depend on it.

    Yields
    ------
    sequence of ndarray of uint8, shape (48, 48), or DataError
        The faces of each image, at least one, or the reason why there is none; in the order of the images.
    """
    return map_ahead(partial(_faces_or_error, cut), images, threads)


def _faces_or_error(
    cut: Callable[[Any], Sequence[NDArray[np.uint8]]], image: AnyImage
) -> Sequence[NDArray[np.uint8]] | DataError:
    try:
        return cut(image) or DataError(str(image) if isinstance(image, Path) else "image", NO_FACE)
    except DataError as error:
        return error


def _type_of(image: Path | bytes) -> str | None:
    """Return the type of an image that cannot be read; see `fer_core.io.file_types.file_type`."""
    if isinstance(image, bytes):
        return file_type(image[:HEAD_BYTES])
    with suppress(OSError), image.open("rb") as file:
        return file_type(file.read(HEAD_BYTES))
    return None
