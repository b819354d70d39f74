"""Drawn faces in the splits of FER2013."""

from __future__ import annotations

import numpy as np

from fer_core.errors import ConfigError
from fer_core.faces import Faces
from fer_core.fer2013 import SPLITS
from fer_core.synthetic.drawn_faces import draw_faces


def synthesize(faces: int, seed: int) -> Faces:
    """Draw labeled faces and split them like FER2013: 80% Training, 10% PublicTest, 10% PrivateTest.

    Parameters
    ----------
    faces : int
        Number of faces, at least 10 so that no split is empty.
    seed : int
        Random seed.

    Examples
    --------
    >>> len(synthesize(20, seed=0).of_split("Training"))
    16
    """
    if faces < 10:
        raise ConfigError(f"expected at least 10, found {faces}", parameter="faces")
    drawn = draw_faces(faces, seed=seed)
    tenth = faces // 10
    splits = np.repeat(np.array(SPLITS), [faces - 2 * tenth, tenth, tenth])
    return Faces(drawn.images, np.arange(2, faces + 2), labels=drawn.labels, splits=splits, source="drawn faces")
