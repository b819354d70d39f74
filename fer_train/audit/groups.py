"""Groups of faces that show the same picture, with their conflicts and leaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, Faces
from fer_train.audit.findings import AuditRow, Duplicates
from fer_train.audit.near_duplicates import find_near_duplicates
from fer_train.data.duplicates import disagreeing


@dataclass(frozen=True, eq=False)
class Groups:
    """Faces in groups.

    Attributes
    ----------
    kind : {"duplicate", "near duplicate"}
        Kind of the groups.
    first : ndarray of int64, shape (N,)
        Position of the first face of the group, for each face.
    grouped : ndarray of bool, shape (N,)
        Whether the group of a face has other faces.
    similarity : ndarray of float64, shape (N,), or None
        Largest correlation of each face with another picture; None for exact duplicates.
    """

    kind: str
    first: NDArray[np.int64]
    grouped: NDArray[np.bool_]
    similarity: NDArray[np.float64] | None = None

    def conflicts(self, faces: Faces) -> NDArray[np.bool_]:
        """Return which faces are in a group with different labels."""
        return _false(faces) if faces.labels is None else self.grouped & disagreeing(self.first, faces.labels)

    def leaks(self, faces: Faces) -> NDArray[np.bool_]:
        """Return which faces are in a group across splits."""
        return _false(faces) if faces.splits is None else self.grouped & disagreeing(self.first, faces.splits)

    def counts(self, faces: Faces) -> Duplicates:
        """Return the numbers of groups and faces."""
        leading = self.grouped & (self.first == np.arange(len(faces)))
        return Duplicates(
            groups=int(leading.sum()),
            faces=int(self.grouped.sum()),
            conflicting_groups=int((leading & self.conflicts(faces)).sum()),
            leaking_groups=int((leading & self.leaks(faces)).sum()),
            leaked_faces=self._leaked_faces(faces),
        )

    def rows(self, faces: Faces) -> list[AuditRow]:
        """Return a row of the audit for each face in a group, by group."""
        conflicts, leaks = self.conflicts(faces), self.leaks(faces)
        members = np.flatnonzero(self.grouped)
        return [
            AuditRow(
                self.kind,
                int(faces.rows[self.first[at]]),
                *row_label_split(faces, at),
                conflict=bool(conflicts[at]),
                leak=bool(leaks[at]),
                similarity=None if self.similarity is None else float(self.similarity[at]),
            )
            for at in members[np.argsort(self.first[members], kind="stable")].tolist()
        ]

    def _leaked_faces(self, faces: Faces) -> dict[str, int]:
        """Count for each split except Training its faces in a group with a Training face."""
        if faces.splits is None:
            return {}
        with_training = np.isin(self.first, self.first[faces.splits == "Training"])
        others = [split for split in np.unique(faces.splits).tolist() if split != "Training"]
        return {split: int((with_training & (faces.splits == split)).sum()) for split in others}


def exact_duplicates(equal: NDArray[np.int64]) -> Groups:
    """Return the groups of faces with the same pixels, given the first equal face of each."""
    sizes = np.bincount(equal, minlength=len(equal))
    return Groups("duplicate", equal, sizes[equal] > 1)


def near_duplicates(faces: Faces, equal: NDArray[np.int64]) -> Groups:
    """Return the groups of faces that show nearly the same picture, given the first equal face of each."""
    pictures = np.unique(equal)  # compare each picture once, however many faces have its pixels
    pairs = find_near_duplicates(faces.images[pictures])
    similarity = np.zeros(len(faces))
    for end in (pairs.first, pairs.second):
        np.maximum.at(similarity, pictures[end], pairs.similarity)
    similarity = similarity[equal]
    first = np.empty(len(faces), np.int64)
    first[pictures] = pictures[pairs.components(len(pictures))]
    return Groups("near duplicate", first[equal], similarity > 0, similarity)


def row_label_split(faces: Faces, at: int) -> tuple[int, str, str]:
    """Return row number, label and split of a face; texts are empty if the data do not state them."""
    label = "" if faces.labels is None else EXPRESSIONS[faces.labels[at]]
    return int(faces.rows[at]), label, "" if faces.splits is None else str(faces.splits[at])


def _false(faces: Faces) -> NDArray[np.bool_]:
    return np.zeros(len(faces), np.bool_)
