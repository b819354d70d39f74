"""How images become 48x48 faces: the setting `faces`, and the functions that cut faces from images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from fer_core.errors import ConfigError
from fer_core.settings import Settings, setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FACES: Final = ("aligned", "detect", "whole")
"""Ways to take faces from images."""

ALIGNED, DETECT, WHOLE = FACES

OTHER_PICTURES: Final = f"`faces={WHOLE!r}` resizes pictures, `faces={DETECT!r}` finds the faces in them"
"""Remedy for a picture that is not a face of 48x48 gray pixels."""

Image: TypeAlias = Path | bytes | Any
"""A file, its content, or an image in memory that the functions of a `Crop` accept."""


@dataclass(frozen=True)
class FacesConfig(Settings):
    """Setting of everything that reads images.

    Examples
    --------
    >>> FacesConfig().faces
    'aligned'
    >>> FacesConfig(faces="cropped")
    Traceback (most recent call last):
        ...
    fer_core.errors.ConfigError: faces: expected one of aligned, detect, whole, found 'cropped'
    """

    faces: str = setting(
        ALIGNED,
        "How to take faces from images: aligned expects faces of 48x48 gray pixels, detect finds the faces in photos, "
        "whole resizes each whole picture, e.g. a face of another size or in color.",
        choices=FACES,
    )


@dataclass(frozen=True)
class Crop:
    """Functions that cut 48x48 faces from an image, for `crop` of `fer_core.iter_faces`.

    Attributes
    ----------
    faces : {"detect", "whole"}
        The value of the setting `faces` that they implement.
    all_faces : callable
        Returns every face of an image in a fixed order, each uint8 (48, 48); none if the image has no face. It raises
        DataError if the image cannot be read, and can be called by several threads at once.
    main_face : callable
        Returns the same, but at most the most prominent face: the face that the label of an image is about.
    """

    faces: str
    all_faces: Callable[[Image], Sequence[NDArray[np.uint8]]]
    main_face: Callable[[Image], Sequence[NDArray[np.uint8]]]


def faces_text(faces: str) -> str:
    """Return how faces were taken from images, such as ``faces: whole; ``; empty for aligned faces."""
    return "" if faces == ALIGNED else f"faces: {faces}; "


def no_images(source: str, crop: Crop) -> ConfigError:
    """Return the error for data without images from which faces could be cut."""
    where = "standard input" if source == "-" else source
    expected = f"expected {ALIGNED}, as {where} is not an image, an image folder or a table of images"
    return ConfigError(f"{expected}; found {crop.faces}", parameter="faces")
