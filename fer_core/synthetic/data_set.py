"""A data set of drawn faces with the three splits of FER2013."""

from __future__ import annotations

import numpy as np

from fer_core.errors import ConfigError
from fer_core.faces import Faces
from fer_core.fer2013 import SPLITS
from fer_core.synthetic.drawn_faces import draw_faces


def synthesize(rows: int, seed: int) -> Faces:
    """Draw labeled faces: 80% Training, 10% PublicTest and 10% PrivateTest.

    Parameters
    ----------
    rows : int
        Number of faces, at least 10 so that no split is empty.
    seed : int
        Random seed.

    Raises
    ------
    ConfigError
        If `rows` is below 10.

    Examples
    --------
    >>> faces = synthesize(20, seed=0)
    >>> faces.images.shape, faces.splits[-3:].tolist()
    ((20, 48, 48), ['PublicTest', 'PrivateTest', 'PrivateTest'])
    """
    if rows < 10:
        raise ConfigError(f"expected at least 10, found {rows}", parameter="rows")
    drawn = draw_faces(rows, seed=seed)
    tenth = rows // 10
    splits = np.repeat(np.array(SPLITS), [rows - 2 * tenth, tenth, tenth])
    return Faces(drawn.images, np.arange(2, rows + 2), labels=drawn.labels, splits=splits, source="drawn faces")
