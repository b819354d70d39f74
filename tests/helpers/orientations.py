"""How a picture is stored with each EXIF orientation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stored_as(upright: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return the stored pixels of a gray picture, from the table of the EXIF standard of what a viewer shows."""
    undo = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }
    return undo[orientation]
