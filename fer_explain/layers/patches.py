"""What the filters of a layer saw of the faces that woke them most, as pictures."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_explain.layers.activations import Activity
from fer_explain.layers.receptive_field import ReceptiveField

PATCH_PIXELS: Final = 12
"""Smaller patches are drawn larger, or the lines between them would outweigh them."""
SEEN_NOTHING: Final = (205, 221, 240)
"""Colour, no gray level of a face, between the patches, beyond the edge of a face and where a filter is silent."""


def patch_mosaics(faces: Faces, field: ReceptiveField, activity: Activity) -> NDArray[np.uint8]:
    """Lay out, for each channel, what it saw of the faces on which it was highest.

    Parameters
    ----------
    faces : Faces
        Those that the activity is of.
    field : ReceptiveField
        Of the layer.
    activity : Activity
        Of the layer on these faces.

    Returns
    -------
    ndarray of uint8, shape (C, height, width, 3)
        Patches in rows of about as many as there are rows, the highest first, one pixel apart; the colour
        `SEEN_NOTHING` where there is none. Each pixel of a face is a square of as many as make a patch `PATCH_PIXELS`.
    """
    position = {row: i for i, row in enumerate(faces.rows.tolist())}
    zoom = -(-PATCH_PIXELS // max(field.size))
    height, width = (zoom * side for side in field.size)
    channels, top = activity.top_rows.shape
    columns = int(np.ceil(np.sqrt(top)))
    lines = -(-top // columns)
    shape = (channels, lines * (height + 1) - 1, columns * (width + 1) - 1, 3)
    mosaics = np.broadcast_to(np.array(SEEN_NOTHING, np.uint8), shape).copy()
    # An output of exactly zero is a ReLU that nothing woke: where that is says nothing.
    for channel, i in np.argwhere(activity.top_values != 0).tolist():
        y, x = activity.top_places[channel, i].tolist()
        rows, across = field.box(y, x)
        patch = faces.images[position[int(activity.top_rows[channel, i])]][rows, across, None]
        patch = patch.repeat(zoom, 0).repeat(zoom, 1)
        # What is cut off at the upper or left edge is missing at the beginning of the patch.
        down = i // columns * (height + 1) + (height - patch.shape[0] if rows.start == 0 else 0)
        right = i % columns * (width + 1) + (width - patch.shape[1] if across.start == 0 else 0)
        mosaics[channel, down : down + patch.shape[0], right : right + patch.shape[1]] = patch
    return mosaics
