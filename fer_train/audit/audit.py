"""Audit of a data set: duplicates, conflicting labels, leaks across splits, blank faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, Faces, read_faces
from fer_core.io.crop import ALIGNED
from fer_core.io.reader import OnError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.staging import staged
from fer_infer.photos.crops import crop_for
from fer_train.audit import groups
from fer_train.audit.blank_faces import FLAT_SHARE, flat_shares
from fer_train.audit.findings import Audit, AuditRow
from fer_train.audit.published_counts import published_differences
from fer_train.data.duplicates import first_equal

FOLDER: Final = OutputFolder(
    always=("findings.csv", "audit.json"),
    sometimes=("duplicate.png", "near_duplicate.png", "blank.png", "faceless.png", REJECTS_FILE),
)
"""Names of the files that are written."""


def audit(
    data: str | Path,
    output: str | Path | None = None,
    *,
    near_duplicates: bool = True,
    limit: int | None = None,
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
    faces: str = ALIGNED,
) -> Audit:
    """Audit a file of faces, and write the findings.

    Parameters
    ----------
    data : str or Path
        Faces, with or without labels and splits; conflicts and leaks are only found with them.
    output : str or Path, optional
        Folder to write; see `Audit.save`. Its contact sheets show faces of `data`.
    near_duplicates : bool
        Compare all pairs of faces; the time grows with the square of their number.
    limit : int, optional
        Use at most the first `limit` faces.
    force : bool
        Replace an existing output.
    on_error : {"fail", "skip"}
        Parameter of `fer_core.iter_faces`; rows left out are in `faces.rejected` of the result, and listed in
        `rejects.csv` in the folder.
    input_columns : mapping of str to str, optional
        Parameter `columns` of `fer_core.iter_faces`.
    faces : {"aligned", "detect", "whole"}
        How to take faces from images, see `fer_infer.photos.crops.crop_for`.
    """
    crop = crop_for(faces)
    with nullcontext() if output is None else staged(output, force=force, folder=FOLDER, inputs=(data,)) as stage:
        found = read_faces(data, on_error=on_error, columns=input_columns, crop=crop).take(slice(limit))
        result = audit_faces(found, near_duplicates=near_duplicates)
        if stage is not None:
            result.save(stage)
            save_rejects(stage, found.rejected)
    return result


def audit_faces(faces: Faces, *, near_duplicates: bool = True) -> Audit:
    """Audit faces in memory; parameters are those of `audit`."""
    equal = first_equal(faces.images)
    exact = groups.exact_duplicates(equal)
    near = groups.near_duplicates(faces, equal) if near_duplicates else None
    flat = flat_shares(faces.images)
    blank = np.ptp(faces.images, axis=(1, 2)) == 0
    faceless = (flat >= FLAT_SHARE) & ~blank
    counts = _class_counts(faces)
    return Audit(
        faces=faces,
        class_counts=counts,
        published_differences=published_differences(counts),
        duplicates=exact.counts(faces),
        near_duplicates=None if near is None else near.counts(faces),
        blank=int(blank.sum()),
        faceless=int(faceless.sum()),
        findings=(
            *exact.rows(faces),
            *([] if near is None else near.rows(faces)),
            *_flat_rows(faces, "blank", blank, flat),
            *_flat_rows(faces, "faceless", faceless, flat),
        ),
    )


def _flat_rows(faces: Faces, kind: str, chosen: NDArray[np.bool_], flat: NDArray[np.float64]) -> Iterator[AuditRow]:
    for at in np.flatnonzero(chosen).tolist():
        row = groups.row_label_split(faces, at)
        yield AuditRow(kind, row[0], *row, flat_share=float(flat[at]))


def _class_counts(faces: Faces) -> dict[str, dict[str, int]]:
    if faces.labels is None:
        return {}
    splits = {"all": faces.labels}
    if faces.splits is not None:
        splits = {str(split): faces.labels[faces.splits == split] for split in np.unique(faces.splits)}
    return {
        split: dict(zip(EXPRESSIONS, np.bincount(labels, minlength=len(EXPRESSIONS)).tolist(), strict=True))
        for split, labels in splits.items()
    }
