"""Faces: the type that every reader returns and every other function accepts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError
from fer_core.fer2013 import IMAGE_SIZE, split_of


@dataclass(frozen=True, eq=False)  # comparing arrays gives no single truth value, so equality is identity
class Faces:
    """Images of faces with their labels, ids and splits.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Gray levels, 0 black to 255 white.
    rows : ndarray of int64, shape (N,)
        Row numbers in the source, as in error messages.
    labels : ndarray of int64, shape (N,), or None
        Positions in `EXPRESSIONS`, 0..6; None if the source has no labels.
    ids : ndarray of str, shape (N,), or None
        The `id` column as written, or paths relative to the root of an image folder.
    splits : ndarray of str, shape (N,), or None
        Splits, such as `Training`, from the column `Usage` or the names of folders.
    source : str
        Name of the file or folder, as the user gave it.
    first_row : int
        Row number of the first data row: 2 in a CSV, whose header is row 1; 1 in a Parquet file and an image folder;
        0 for data in memory.
    positions : ndarray of int64, shape (N,), or None
        Positions among all rows of the source, from 0, used as ids if it has none; None if they equal
        ``rows - first_row``. Blank lines of a CSV count as rows, but not as positions.
    rejected : tuple of DataError
        Errors of the rows that ``on_error="skip"`` left out, in order.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> faces = read_faces("faces.csv")
    >>> faces.images.shape, faces.images.dtype
    ((64, 48, 48), dtype('uint8'))
    >>> faces.take([0, 2]).rows
    array([2, 4])
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    ids: NDArray[np.str_] | None = None
    splits: NDArray[np.str_] | None = None
    source: str = ""
    first_row: int = 2
    positions: NDArray[np.int64] | None = None
    rejected: tuple[DataError, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.dtype != np.uint8 or self.images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"images: expected uint8 (N, 48, 48), found {self.images.dtype} {self.images.shape}")
        for name in ("rows", "labels", "ids", "splits", "positions"):
            column = getattr(self, name)
            if column is not None and column.shape != (n,):
                raise ValueError(f"{name}: expected shape ({n},) to go with {n} images, found {column.shape}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        columns = [name for name in ("labels", "ids", "splits") if getattr(self, name) is not None]
        held = f" with {', '.join(columns)}" if columns else ""
        source = f" of {self.source}" if self.source else ""
        return f"Faces({len(self):,}{source}{held})"

    def take(self, index: NDArray[Any] | Sequence[int] | slice) -> Faces:
        """Return the faces at `index` (positions, a boolean mask or a slice), in that order."""
        if isinstance(index, slice):
            chosen: NDArray[Any] | slice = index
        else:  # an empty list would become an array of floats, which cannot index
            chosen = np.asarray(index) if len(index) else np.empty(0, np.intp)

        def of(column: NDArray[Any] | None) -> Any:
            return None if column is None else column[chosen]

        return replace(
            self,
            images=self.images[chosen],
            rows=self.rows[chosen],
            labels=of(self.labels),
            ids=of(self.ids),
            splits=of(self.splits),
            positions=of(self.positions),
        )

    def row_positions(self) -> NDArray[np.int64]:
        """Return the positions of the faces among all rows of the source, counted from 0; see `positions`."""
        return self.rows - self.first_row if self.positions is None else self.positions

    def of_split(self, split: str) -> Faces:
        """Return the faces of one split, in any spelling listed in `fer_core.fer2013.SPLIT_NAMES`.

        Raises
        ------
        DataError
            If the source does not state splits, or has no face of `split`.
        """
        if self.splits is None:
            raise no_split_column(self.source, split)
        split = split_of(split) or split
        faces = self.take(self.splits == split)
        if not len(faces):
            raise no_row_of_split(self.source, split, self.splits.tolist())
        return faces

    def require_labels(self) -> NDArray[np.int64]:
        """Return the labels, or raise DataError if there are none."""
        if self.labels is None:
            raise DataError(self.source, "has no labels; expected a column 'emotion' or 'label', or label folders")
        return self.labels

    def sha256(self) -> str:
        """Return the sha256 of images and labels as hexadecimal text; it does not depend on the file format."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def no_split_column(source: str, split: str) -> DataError:
    """Return the error for a source that does not state the splits of its rows."""
    return DataError(source, f"has no Usage column; cannot select {split} rows")


def no_row_of_split(source: str, split: str, found: Iterable[str] | None) -> DataError:
    """Return the error for a source without rows of `split`; `found` are the splits of its rows, if known."""
    known = "" if found is None else f"; found {', '.join(sorted(set(found))) or 'none'}"
    return DataError(source, f"has no row of split {split!r}{known}")


def concatenate(parts: Sequence[Faces]) -> Faces:
    """Join batches of one source into one `Faces`.

    Parameters
    ----------
    parts : sequence of Faces
        At least one; all with the same columns.

    Raises
    ------
    ValueError
        If only some of the batches have a column.
    """

    def joined(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        missing = [column is None for column in columns]
        if any(missing) and not all(missing):
            raise ValueError(f"{name}: expected in all batches or in none")
        return None if any(missing) else np.concatenate(columns)

    counted = any(part.positions is not None for part in parts)
    return Faces(
        images=joined("images"),
        rows=joined("rows"),
        labels=joined("labels"),
        ids=joined("ids"),
        splits=joined("splits"),
        source=parts[0].source,
        first_row=parts[0].first_row,
        positions=np.concatenate([part.row_positions() for part in parts]) if counted else None,
        rejected=tuple(error for part in parts for error in part.rejected),
    )


def positions_of(faces: Faces, rows: Sequence[int]) -> tuple[int, ...]:
    """Return the positions of row numbers in `faces`; parameters and errors are those of `take_rows`."""
    places = {row: place for place, row in enumerate(faces.rows.tolist())}
    for row in rows:
        if row not in places:
            known = (
                f"in {min(places)}..{max(places)} ({len(places):,} faces)"
                if places
                else "of a face, but there are none"
            )
            raise DataError(faces.source, f"expected a row number {known}, found {row}")
    return tuple(places[row] for row in rows)


def take_rows(faces: Faces, rows: Sequence[int]) -> Faces:
    """Return the faces with the given row numbers, in that order.

    Parameters
    ----------
    faces : Faces
        Faces to choose from.
    rows : sequence of int
        Row numbers as in `Faces.rows`: the header of a CSV is row 1, and the first face is row 2.

    Raises
    ------
    DataError
        If there is no such row; the message states the range of row numbers.
    """
    return faces.take(np.array(positions_of(faces, rows), np.intp))
