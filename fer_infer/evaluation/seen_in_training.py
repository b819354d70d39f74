"""Find faces whose pixels also occur in Training; accuracy on them does not measure generalization."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces, iter_faces
from fer_core.io.crop import Crop
from fer_core.io.kinds import crop_of_images
from fer_core.io.reader import OnError, splits_of_folder, threads_for
from fer_core.places import can_be_reread

Images = NDArray[np.uint8]


class TrainingFaces:
    """Digests of the Training faces, 128 bits per face.

    Parameters
    ----------
    batches : iterable of ndarray of uint8, shape (N, 48, 48)
        Training faces; `add` adds more.
    """

    def __init__(self, batches: Iterable[Images] = ()) -> None:
        self._digests: set[bytes] = set()
        for images in batches:
            self.add(images)

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, images: Images) -> None:
        """Add Training faces, uint8 (N, 48, 48)."""
        self._digests.update(digests_of(images))

    def seen_digests(self, digests: Iterable[bytes]) -> NDArray[np.bool_]:
        """Return for each digest of a face, see `digests_of`, whether a Training face has the same pixels."""
        return np.fromiter((digest in self._digests for digest in digests), bool)

    def seen(self, images: Images) -> NDArray[np.bool_]:
        """Return for each face, uint8 (N, 48, 48), whether a Training face has the same pixels."""
        return self.seen_digests(digests_of(images))

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        on_error: OnError = "fail",
        columns: Mapping[str, str] | None = None,
        crop: Crop | None = None,
    ) -> TrainingFaces:
        """Read the Training rows of a file, or all rows of a file without a Usage column.

        Parameters
        ----------
        path, on_error, columns, crop
            Parameters of `fer_core.iter_faces`; `crop` is ignored if `path` does not contain images.

        Raises
        ------
        DataError
            If it cannot be read or has no such row.
        """
        found = cls(
            faces.images if faces.splits is None else faces.images[faces.splits == "Training"]
            for faces in _batches(path, on_error, columns, crop)
        )
        if not len(found):
            raise DataError(str(path), "has no row of split 'Training' to compare with")
        return found

    @classmethod
    def find(
        cls,
        path: str | Path,
        *,
        on_error: OnError = "fail",
        columns: Mapping[str, str] | None = None,
        crop: Crop | None = None,
    ) -> TrainingFaces | None:
        """Read the Training rows of a file whose other rows are evaluated; None if there are none.

        Parameters are those of `read`. Standard input and pipes can be read only once, so they are not read here.
        """
        if not can_be_reread(path):
            return None
        batches = _batches(path, on_error, columns, crop)
        found = cls(faces.images[faces.splits == "Training"] for faces in batches if faces.splits is not None)
        return found if len(found) else None


def digests_of(images: Images) -> Iterator[bytes]:
    """Yield a digest of 16 bytes per face, uint8 (N, 48, 48)."""
    return (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images)


def _batches(
    path: str | Path, on_error: OnError, columns: Mapping[str, str] | None, crop: Crop | None
) -> Iterator[Faces]:
    """Read pixels and splits; in a folder that states the splits of its files, open only those of Training."""
    split = "Training" if splits_of_folder(path) else None
    crop = crop_of_images(path, crop, columns=columns)
    options: dict[str, Any] = {"on_error": on_error, "columns": columns, "crop": crop}
    return iter_faces(path, split=split, threads=threads_for(crop), roles=("split",), **options)
