"""Hold out a validation split: stratified by label, with identical faces on the same side."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, ConfigError, DataError, Faces
from fer_train.data.duplicates import first_equal

HELD_OUT: Final = "held-out"
"""Name of the split in cards and printed lines."""


def hold_out(faces: Faces, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Draw the validation faces.

    In each class, groups of identical faces are drawn in random order until `fraction` of its faces is reached. A group
    with different labels counts for the class of its first face.

    Parameters
    ----------
    faces : Faces
        Labeled faces.
    fraction : float
        Fraction of each class to draw, above 0 and below 1.
    seed : int
        Random seed; the same faces, fraction and seed give the same split.

    Returns
    -------
    ndarray of bool, shape (N,)
        True for faces to validate on, False for those to train on.

    Raises
    ------
    ConfigError
        If `fraction` is out of range.
    DataError
        If the faces have no labels, or one side gets no face.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"expected above 0 and below 1, found {fraction:g}", parameter="hold_out")
    labels = faces.require_labels()
    group = first_equal(faces.images)
    first, sizes = np.unique(group, return_counts=True)
    chosen = np.zeros(len(faces), np.bool_)
    for label in range(len(EXPRESSIONS)):
        members = np.flatnonzero(labels[first] == label)
        wanted = round(fraction * int(sizes[members].sum()))
        drawn = 0
        for member in np.random.default_rng([seed, label]).permutation(members).tolist():
            if drawn + sizes[member] <= wanted:
                drawn += int(sizes[member])
                chosen[first[member]] = True
    chosen = chosen[group]
    if chosen.all() or not chosen.any():
        side = "train" if chosen.all() else "validate"
        raise DataError(faces.source, f"holding out {fraction:g} of {len(faces):,} faces leaves none to {side} on")
    return chosen
