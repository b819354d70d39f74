"""Photos to measure with: the face of scikit-image's astronaut in its other pictures."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

PHOTO_SIZES: Final = ((1152, 868), (868, 1152))
"""Width and height of landscapes and portraits of one megapixel."""

JPEG_QUALITY: Final = 90
BACKGROUNDS: Final = ("coffee", "chelsea", "rocket", "camera", "brick", "grass", "gravel", "hubble_deep_field")
HEAD: Final = (128, 10, 328, 260)
"""Left, top, right and bottom of head and shoulders of the astronaut."""

FACES_PER_PHOTO: Final = (0, 1, 1, 1, 1, 1, 1, 2, 2, 3)


def write_photos(folder: Path, n: int) -> int:
    """Write JPEG photos, of which a tenth has no face, a tenth three and a fifth two.

    Parameters
    ----------
    folder : Path
        Existing folder.
    n : int
        Number of photos. The same number gives the same photos.

    Returns
    -------
    int
        Number of faces in them.

    Raises
    ------
    LookupError
        If scikit-image is not installed.
    """
    try:
        data: Any = import_module("skimage.data")
    except ImportError:
        raise LookupError("scikit-image is not installed") from None
    head = Image.fromarray(data.astronaut()).crop(HEAD)
    backgrounds = [Image.fromarray(getattr(data, name)()).convert("RGB") for name in BACKGROUNDS]
    faces = 0
    for number in range(n):
        rng = np.random.default_rng(number)
        count = FACES_PER_PHOTO[number % len(FACES_PER_PHOTO)]
        photo = _photo(backgrounds[rng.integers(len(backgrounds))], head, count, rng)
        photo.save(folder / f"{number:06d}.jpg", quality=JPEG_QUALITY)
        faces += count
    return faces


def _photo(background: Image.Image, head: Image.Image, faces: int, rng: np.random.Generator) -> Image.Image:
    """Return a photo with faces next to each other, of 40 to 100% of the space that each has."""
    width, height = PHOTO_SIZES[rng.integers(len(PHOTO_SIZES))]
    photo = background.resize((width, height), Image.Resampling.BICUBIC)
    for place in range(faces):
        space = width // faces
        scale = rng.uniform(0.4, 1) * min(space / head.width, height / head.height)
        face = _varied(head, scale, rng)
        left = place * space + rng.integers(0, max(1, space - face.width))
        photo.paste(face, (int(left), int(rng.integers(0, max(1, height - face.height)))))
    return photo


def _varied(head: Image.Image, scale: float, rng: np.random.Generator) -> Any:
    """Return a face that is resized, perhaps mirrored, and brighter or darker."""
    size = (round(head.width * scale), round(head.height * scale))
    face = head.resize(size, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        face = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    brightness = rng.uniform(0.6, 1.2)
    return face.point(lambda level: level * brightness)
