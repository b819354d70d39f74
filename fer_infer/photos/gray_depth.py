"""Gray pictures of more than 8 bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

_BITS_PER_SAMPLE: Final = 258
_PHOTOMETRIC: Final = 262
_WHITE_IS_ZERO: Final = 0


def eight_bit_gray(image: Image.Image) -> Image.Image:
    """Scale gray pixels of 12 or 16 bits to 8 bits; Pillow leaves white as zero, and transparency, to its callers."""
    tags = getattr(image, "tag_v2", {})
    most = (1 << tags.get(_BITS_PER_SAMPLE, (16,))[0]) - 1
    levels = np.asarray(image).astype(np.uint32)
    scaled = ((levels * 255 + most // 2) // most).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        scaled = 255 - scaled
    scaled[levels == image.info.get("transparency", -1)] = 255
    return Image.fromarray(scaled)
