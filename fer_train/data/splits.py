"""Training and validation split of a run, by the protocol of FER2013, and the data as tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_core import ConfigError, DataError, Faces, ModelCard, read_faces
from fer_core.io.crop import ALIGNED, Crop
from fer_core.io.in_memory import FacesLike, as_faces
from fer_core.io.kinds import crop_of_images
from fer_core.io.reader import OnError
from fer_infer.photos.crops import crop_for
from fer_train.data.duplicates import disagreeing, first_equal
from fer_train.data.hold_out import HELD_OUT
from fer_train.data.hold_out import hold_out as draw
from fer_train.data.validation import VALIDATION_SPLITS, own_validation, split_named, validation_of


@dataclass(frozen=True)
class Splits:
    """Faces of the Training and the validation split.

    Attributes
    ----------
    training, validation : Faces
        Labeled faces, at least one each.
    mean, std : float
        Mean and standard deviation of all Training pixels, in pixel units.
    dropped : mapping of str to int
        Number of Training faces left out for each reason, "conflicts" and "leaks", if requested; see `load_splits`.
    validation_name : str
        Name of the validation split, as in its data: PublicTest, validation, test, ...; `held-out` if it was drawn.
    held_out : mapping
        `fraction` and `seed` of a validation split that was drawn; empty otherwise.
    rejected : tuple of DataError
        Rows that could not be read and were left out.
    faces : {"aligned", "detect", "whole"}
        How the faces were taken from images.
    """

    training: Faces
    validation: Faces
    mean: float
    std: float
    dropped: Mapping[str, int] = field(default_factory=dict)
    validation_name: str = VALIDATION_SPLITS[0]
    held_out: Mapping[str, Any] = field(default_factory=dict)
    rejected: tuple[DataError, ...] = ()
    faces: str = ALIGNED

    def training_data(self) -> dict[str, Any]:
        """Return the record of the data in the model card."""
        record: dict[str, Any] = {
            "source": Path(self.training.source).name,
            "sha256": self.training.sha256(),
            "rows": {"Training": len(self.training), self.validation_name: len(self.validation)},
            "validation_sha256": self.validation.sha256(),
        }
        if self.dropped:
            record["dropped"] = dict(self.dropped)
        if self.held_out:
            record["held_out"] = dict(self.held_out)
        if self.rejected:
            record["rows_left_out"] = len(self.rejected)
        if self.faces != ALIGNED:
            record["faces"] = self.faces
        return record


def load_splits(  # noqa: PLR0913 - options of a public function
    data: FacesLike,
    validation: str | Path | None = None,
    *,
    drop_conflicts: bool = False,
    drop_leaks: bool = False,
    hold_out: float | None = None,
    hold_out_seed: int = 0,
    on_error: OnError = "fail",
    columns: Mapping[str, str] | None = None,
    faces: str = ALIGNED,
) -> Splits:
    """Read the Training rows and the validation rows of a run.

    PrivateTest, the test split of FER2013, is never used.

    Parameters
    ----------
    data : path, Faces, array, images or DataFrame
        Faces with a Training split, in any form that `fer_core.as_faces` accepts; or, with `validation` or `hold_out`,
        faces without splits, all of which are trained on.
    validation : str or Path, optional
        Name of a split in `data`, such as "test"; or other faces (a Path never names a split): their PublicTest rows,
        else their validation rows, else those of their only split, or all of them if they have no splits. By default
        the PublicTest rows of `data`, else its validation rows.
    drop_conflicts : bool
        Leave out the Training faces whose pixels are also in Training with another label.
    drop_leaks : bool
        Leave out the Training faces whose pixels are also in the validation split.
    hold_out : float, optional
        Draw this fraction of the faces to train on as the validation split; see `fer_train.data.hold_out.hold_out`.
    hold_out_seed : int
        Random seed of that draw.
    on_error, columns
        Parameters of `fer_core.iter_faces`.
    faces : {"aligned", "detect", "whole"}
        How to take faces from images, see `fer_infer.photos.crops.crop_for`; `validation` may also be a table of faces.

    Raises
    ------
    DataError
        If a split is missing, empty or without labels.
    ConfigError
        If `validation` and `hold_out` are both given, `validation` names Training or PrivateTest, or `data` contains no
        images from which faces could be taken as `faces` says.
    """
    if hold_out is not None and validation is not None:
        raise ConfigError("cannot be combined with `validation`", parameter="hold_out")
    crop = crop_for(faces)
    whole = _read(data, on_error, columns, crop)
    training = whole if whole.splits is None else whole.of_split("Training")
    held_out: dict[str, Any] = {}
    rejected = whole.rejected
    if hold_out is not None:
        training, chosen, held_out = _held_out(training, hold_out, hold_out_seed)
        name = HELD_OUT
    elif validation is None:
        name = own_validation(whole)
        chosen = whole.of_split(name)
    elif (named := split_named(whole, validation)) is not None:
        name = named
        chosen = whole.of_split(name)
    else:
        other = _read(validation, on_error, columns, crop_of_images(validation, crop, columns=columns))
        name = validation_of(other)
        chosen = other if other.splits is None else other.of_split(name)
        rejected += other.rejected
    training.require_labels()
    chosen.require_labels()
    training, dropped = _drop(training, chosen, drop_conflicts, drop_leaks)
    mean, std = pixel_statistics(training.images)
    if std == 0:
        raise DataError(training.source, "expected faces that differ, found one gray level in all Training pixels")
    return Splits(
        replace(training, rejected=()),
        replace(chosen, splits=np.full(len(chosen), name), rejected=()),
        mean,
        std,
        dropped,
        name,
        held_out,
        rejected,
        faces,
    )


def validation_faces(faces: Faces, card: ModelCard) -> Faces | None:
    """Find the faces in a data set on which a network was validated, with the name of their split as `splits`.

    Parameters
    ----------
    faces : Faces
        Whole data set.
    card : ModelCard
        Card of the network.

    Returns
    -------
    Faces or None
        Labeled faces of the split that the card names. A held-out split is drawn again, and a split from data without
        splits is recognized by its checksum. None if there is no such split.
    """
    record, name = card.training_data, card.validation_split
    if faces.labels is None:
        return None
    if faces.splits is not None and name in faces.splits:
        return faces.of_split(name)
    if "held_out" in record:
        training = faces if faces.splits is None else faces.of_split("Training")
        _, faces, _ = _held_out(training, **record["held_out"])
    if faces.sha256() != record.get("validation_sha256"):
        return None
    return replace(faces, splits=np.full(len(faces), name))


def _read(data: FacesLike, on_error: OnError, columns: Mapping[str, str] | None, crop: Crop | None) -> Faces:
    if isinstance(data, str | Path):
        faces = read_faces(data, on_error=on_error, columns=columns, crop=crop)
    else:
        faces = as_faces(data, columns=columns, crop=crop)
    if not len(faces):
        left_out = f", {len(faces.rejected):,} rows could not be read" if faces.rejected else ""
        raise DataError(faces.source, f"expected at least one face, found none{left_out}")
    return faces


def _held_out(faces: Faces, fraction: float, seed: int) -> tuple[Faces, Faces, dict[str, Any]]:
    """Return the faces to train on, the held-out faces, and the record of the draw in the card."""
    chosen = draw(faces, fraction, seed)
    drawn = faces.take(chosen)
    record = {"fraction": fraction, "seed": seed}
    return faces.take(~chosen), replace(drawn, splits=np.full(len(drawn), HELD_OUT)), record


def _drop(training: Faces, held_out: Faces, conflicts: bool, leaks: bool) -> tuple[Faces, dict[str, int]]:
    """Return the Training faces to keep, and how many are left out for each reason; conflicts count first."""
    dropped = {}
    if conflicts:
        conflicting = disagreeing(first_equal(training.images), training.require_labels())
        training, dropped["conflicts"] = training.take(~conflicting), int(conflicting.sum())
    if leaks:
        first = first_equal(np.concatenate([held_out.images, training.images]))[len(held_out) :]
        leaking = first < len(held_out)
        training, dropped["leaks"] = training.take(~leaking), int(leaking.sum())
    if not len(training):
        raise DataError(training.source, f"no Training face is left after dropping {sum(dropped.values()):,}")
    return training, dropped


def pixel_statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation over all pixels, computed exactly from the histogram of gray levels."""
    counts = np.bincount(images.reshape(-1), minlength=256)
    levels = np.arange(256)
    mean = float((counts * levels).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))


def to_device(faces: Faces, device: torch.device) -> tuple[Tensor, Tensor]:
    """Copy a split to the device: images uint8 (N, 1, 48, 48), labels int64 (N,)."""
    images = torch.from_numpy(np.ascontiguousarray(faces.images)).unsqueeze(1)
    return images.to(device), torch.from_numpy(faces.require_labels()).to(device)
