"""Faces known from Training: an accuracy on faces whose very pixels were learned says nothing of new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces, iter_faces
from fer_core.io.reader import OnError, splits_of_folder
from fer_core.places import can_be_reread

Images = NDArray[np.uint8]


class TrainingFaces:
    """The pixels of the Training faces, of which 128 bits each are kept.

    Parameters
    ----------
    batches : iterable of ndarray of uint8, shape (N, 48, 48)
        The faces.
    """

    def __init__(self, batches: Iterable[Images]) -> None:
        self._digests = {digest for images in batches for digest in _digests(images)}

    def __len__(self) -> int:
        return len(self._digests)

    def hold(self, images: Images) -> NDArray[np.bool_]:
        """Return for each of N faces, (N,), whether all its pixels stand in one face of Training."""
        return np.fromiter((digest in self._digests for digest in _digests(images)), bool, len(images))

    @classmethod
    def read(
        cls, path: str | Path, *, on_error: OnError = "fail", columns: Mapping[str, str] | None = None
    ) -> TrainingFaces:
        """Read the Training rows of a file, or all rows of one that has no Usage column.

        Parameters
        ----------
        path, on_error, columns
            As for `fer_core.iter_faces`.

        Raises
        ------
        DataError
            If it cannot be read or has no such row.
        """
        found = cls(
            faces.images if faces.splits is None else faces.images[faces.splits == "Training"]
            for faces in _batches(path, on_error, columns)
        )
        if not len(found):
            raise DataError(str(path), "has no row of split 'Training' to compare with")
        return found

    @classmethod
    def beside(
        cls, path: str | Path, *, on_error: OnError = "fail", columns: Mapping[str, str] | None = None
    ) -> TrainingFaces | None:
        """Read the Training rows of a file that is evaluated, None where it has none; parameters as for `read`.

        Standard input and pipes give their rows once, to be scored, so their Training rows are not known.
        """
        if not can_be_reread(path):
            return None
        batches = _batches(path, on_error, columns)
        found = cls(faces.images[faces.splits == "Training"] for faces in batches if faces.splits is not None)
        return found if len(found) else None


def _batches(path: str | Path, on_error: OnError, columns: Mapping[str, str] | None) -> Iterator[Faces]:
    """Read pixels and splits; of a folder that states the splits of its files only the Training ones are opened."""
    split = "Training" if splits_of_folder(path) else None
    return iter_faces(path, split=split, on_error=on_error, roles=("split",), columns=columns)


def _digests(images: Images) -> Iterable[bytes]:
    return (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
