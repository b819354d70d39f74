"""Read pictures of any format as upright red, green and blue pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fer_core.errors import DataError


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

    Parameters
    ----------
    photo : str, Path, bytes, binary file, PIL.Image.Image or ndarray of uint8
        Picture; arrays have the shape (H, W) gray, (H, W, 3) RGB or (H, W, 4) RGBA.
    source : str
        Name of the picture in errors, by default its path.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Red, green and blue, upright.

    Raises
    ------
    PhotoError
        If the picture cannot be read.

    Examples
    --------
    >>> from fer_infer.photos.images import read_photo
    >>> read_photo(np.zeros((2, 3), np.uint8)).shape
    (2, 3, 3)
    """
    if isinstance(photo, np.ndarray):
        image = Image.fromarray(photo)
    elif isinstance(photo, Image.Image):
        image = photo
    else:
        opened = io.BytesIO(photo) if isinstance(photo, bytes) else photo
        try:
            image = Image.open(opened)
            image.load()
        except (OSError, ValueError, SyntaxError) as error:
            name = source or (str(photo) if isinstance(photo, str | Path) else "picture")
            raise PhotoError(name, f"unreadable: {error}") from None
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))
