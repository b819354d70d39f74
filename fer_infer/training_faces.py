"""Faces known from Training: an accuracy on faces whose very pixels were learned says nothing of new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces, iter_faces
from fer_core.image_folder import list_images

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
    def read(cls, path: str | Path) -> TrainingFaces:
        """Read the Training rows of a file, or all rows of one that has no Usage column.

        Raises
        ------
        DataError
            If it cannot be read or has no such row.
        """
        found = cls(
            faces.images if faces.usage is None else faces.images[faces.usage == "Training"] for faces in _batches(path)
        )
        if not len(found):
            raise DataError(str(path), "has no row of usage 'Training' to compare with")
        return found

    @classmethod
    def beside(cls, path: str | Path, columns: Mapping[str, str] | None = None) -> TrainingFaces | None:
        """Read the Training rows of a file that is evaluated, or return None where it tells of none.

        `columns` are its columns by role, as `fer_core.iter_faces` takes them.

        Standard input and pipes give their rows once, to be scored, so nothing is known of them.
        """
        if str(path) == "-" or not (Path(path).is_file() or Path(path).is_dir()):
            return None
        batches = _batches(path, columns)
        found = cls(faces.images[faces.usage == "Training"] for faces in batches if faces.usage is not None)
        return found if len(found) else None


def _batches(path: str | Path, columns: Mapping[str, str] | None = None) -> Iterator[Faces]:
    """Read a file, or of an image tree of several splits the Training images: the others stay unopened."""
    folder = str(path) != "-" and Path(path).is_dir()
    split = folder and any(usage is not None for *_, usage in list_images(Path(path)))
    return iter_faces(path, usage="Training" if split else None, roles=("usage",), columns=columns)


def _digests(images: Images) -> Iterable[bytes]:
    return (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)
