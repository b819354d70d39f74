"""Image patches that activate the filters of a layer most."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_explain.layers.activations import Activations
from fer_explain.layers.receptive_field import ReceptiveField

MIN_PATCH_PIXELS: Final = 12
"""Smaller patches are magnified to at least this size, so that the lines between them do not dominate."""
BACKGROUND: Final = (205, 221, 240)
"""Color between patches, beyond the edge of a face and for inactive filters; it is not a gray level."""


def patch_mosaics(faces: Faces, field: ReceptiveField, activations: Activations) -> NDArray[np.uint8]:
    """Arrange, for each channel, the patches of the faces that activate it most.

    Parameters
    ----------
    faces : Faces
        Faces on which the activations were measured.
    field : ReceptiveField
        Receptive field of the layer.
    activations : Activations
        Activations of the layer on these faces.

    Returns
    -------
    ndarray of uint8, shape (C, height, width, 3)
        Patches in a nearly square grid, in descending order of activation, one pixel apart, on `BACKGROUND`. Each
        pixel of a face is magnified so that a patch is at least `MIN_PATCH_PIXELS` long.
    """
    position_of = {row: i for i, row in enumerate(faces.rows.tolist())}
    zoom = math.ceil(MIN_PATCH_PIXELS / max(field.size))
    height, width = (zoom * side for side in field.size)
    channels, top = activations.top_rows.shape
    columns = math.ceil(math.sqrt(top))
    lines = math.ceil(top / columns)
    shape = (channels, lines * (height + 1) - 1, columns * (width + 1) - 1, 3)
    mosaics = np.broadcast_to(np.array(BACKGROUND, np.uint8), shape).copy()
    # A maximum of exactly zero belongs to an inactive ReLU; its position has no meaning.
    for channel, i in np.argwhere(activations.top_values != 0).tolist():
        y, x = activations.top_positions[channel, i].tolist()
        rows, cols = field.box(y, x)
        patch = faces.images[position_of[int(activations.top_rows[channel, i])]][rows, cols, None]
        patch = patch.repeat(zoom, 0).repeat(zoom, 1)
        # A patch that is clipped at the upper or left edge of the face is aligned to the lower or right side.
        down = i // columns * (height + 1) + (height - patch.shape[0] if rows.start == 0 else 0)
        right = i % columns * (width + 1) + (width - patch.shape[1] if cols.start == 0 else 0)
        mosaics[channel, down : down + patch.shape[0], right : right + patch.shape[1]] = patch
    return mosaics
