"""The splits of a run: FER2013's protocol as code, and the dataset as two tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_core import USAGES, ConfigError, DataError, Faces, read_faces
from fer_core.synthetic import draw_faces
from fer_train.duplicates import disagreeing, first_equal


@dataclass(frozen=True)
class Splits:
    """What a run trains on and what it chooses by.

    Attributes
    ----------
    training, validation : Faces
        Labelled, not empty.
    mean, std : float
        Of all Training pixels, in pixel units.
    dropped : mapping of str to int
        Training faces left out, by why: "conflicts", "leaks", each only where it was asked for; see `load_splits`.
    """

    training: Faces
    validation: Faces
    mean: float
    std: float
    dropped: Mapping[str, int] = field(default_factory=dict)

    def training_data(self) -> dict[str, Any]:
        """Return the model card's record of the data."""
        record = {
            "source": Path(self.training.source).name,
            "sha256": self.training.sha256(),
            "rows": {"Training": len(self.training), "PublicTest": len(self.validation)},
            "validation_sha256": self.validation.sha256(),
        }
        return {**record, "dropped": dict(self.dropped)} if self.dropped else record


def load_splits(
    data: str | Path, validation: str | Path | None = None, *, drop_conflicts: bool = False, drop_leaks: bool = False
) -> Splits:
    """Read the Training rows and the PublicTest rows by which anything is chosen.

    PrivateTest is never read into a run: the test split of FER2013 chooses nothing.

    Parameters
    ----------
    data : str or Path
        Faces with a Usage column; or, where `validation` is given, a file of training faces, of which only
        the Training rows are used if it has a Usage column.
    validation : str or Path, optional
        Another file whose PublicTest rows, or all rows where it has no Usage column, are the validation split.
    drop_conflicts : bool
        Leave out the Training faces whose pixels also stand in Training with another label.
    drop_leaks : bool
        Leave out the Training faces whose pixels also stand in the validation split.

    Raises
    ------
    DataError
        If a split is missing, empty or without labels.
    """
    faces = read_faces(data)
    if validation is None:
        if faces.usage is None:
            raise DataError(str(data), "has no Usage column; name the faces to validate on with --validation")
        training, held_out = faces.with_usage("Training"), faces.with_usage("PublicTest")
    else:
        other = read_faces(validation)
        training = faces if faces.usage is None else faces.with_usage("Training")
        held_out = other if other.usage is None else other.with_usage("PublicTest")
    for split in (training, held_out):
        split.require_labels()
        if not len(split):
            raise DataError(split.source, "expected at least one face, found none")
    training, dropped = _drop(training, held_out, drop_conflicts, drop_leaks)
    mean, std = pixel_statistics(training.images)
    if std == 0:
        raise DataError(training.source, "expected faces that differ, found one gray level in all Training pixels")
    return Splits(replace(training, rejected=()), replace(held_out, rejected=()), mean, std, dropped)


def _drop(training: Faces, held_out: Faces, conflicts: bool, leaks: bool) -> tuple[Faces, dict[str, int]]:
    """Return the Training faces to keep and how many are left out, a conflicting one that also leaks as conflicting."""
    dropped = {}
    if conflicts:
        conflicting = disagreeing(first_equal(training.images), training.require_labels())
        training, dropped["conflicts"] = training.take(~conflicting), int(conflicting.sum())
    if leaks:
        first = first_equal(np.concatenate([held_out.images, training.images]))[len(held_out) :]
        leaking = first < len(held_out)
        training, dropped["leaks"] = training.take(~leaking), int(leaking.sum())
    if not len(training):
        raise DataError(training.source, f"no Training face is left, {sum(dropped.values()):,} were dropped")
    return training, dropped


def synthesize(rows: int, seed: int) -> Faces:
    """Draw labelled faces and split them as FER2013 is split: 80 % Training, 10 % PublicTest, 10 % PrivateTest.

    Parameters
    ----------
    rows : int
        Faces in all, 10 at least so that no split is empty.
    seed : int
        Of the drawing.

    Returns
    -------
    Faces
    """
    if rows < 10:
        raise ConfigError(f"rows: expected at least 10, found {rows}")
    drawn = draw_faces(rows, seed=seed)
    tenth = rows // 10
    usage = np.repeat(np.array(USAGES), [rows - 2 * tenth, tenth, tenth])
    return Faces(drawn.images, np.arange(2, rows + 2), labels=drawn.labels, usage=usage, source="drawn faces")


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation over all pixels, exactly, from the histogram of gray levels."""
    counts = np.bincount(images.reshape(-1), minlength=256)
    levels = np.arange(256)
    mean = float((counts * levels).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))


def to_device(faces: Faces, device: torch.device) -> tuple[Tensor, Tensor]:
    """Move a whole split to the device: images uint8 (N, 1, 48, 48), labels int64 (N,)."""
    images = torch.from_numpy(np.ascontiguousarray(faces.images)).unsqueeze(1)
    return images.to(device), torch.from_numpy(faces.require_labels()).to(device)
