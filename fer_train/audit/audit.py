"""What is wrong with a data set before anything is trained on it: duplicates, contradictions, leaks, blanks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import EXPRESSIONS, Faces, read_faces
from fer_core.io.reader import OnError
from fer_core.io.rejects import REJECTS_FILE, save_rejects
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_train.audit.blank_faces import FLAT_SHARE, flat_shares
from fer_train.audit.findings import Audit, Duplicates, Finding
from fer_train.audit.near_duplicates import find_near_duplicates
from fer_train.audit.published_counts import published_differences
from fer_train.data.duplicates import disagreeing, first_equal

FOLDER: Final = OutputFolder(
    always=("findings.csv", "audit.json"),
    sometimes=("duplicate.png", "near_duplicate.png", "blank.png", "faceless.png", REJECTS_FILE),
)
"""Names of all that is written."""


def audit(
    data: str | Path,
    output: str | Path | None = None,
    *,
    near_duplicates: bool = True,
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
) -> Audit:
    """Examine a file of faces and write down what was found.

    Parameters
    ----------
    data : str or Path
        Anything that `read_faces` reads. Labels and splits may be missing; what needs them is then not found.
    output : str or Path, optional
        Folder to make; see `Audit.save`. Its contact sheets show faces of `data`.
    near_duplicates : bool
        Look for these too, in time that grows with the square of the faces.
    force : bool
        Replace an existing output.
    on_error : {"fail", "skip"}
        As for `fer_core.iter_faces`; rows left out are in `faces.rejected` of the result, and listed in
        `rejects.csv` in the folder.
    input_columns : mapping of str to str, optional
        As `columns` of `fer_core.iter_faces`.
    """
    with nullcontext() if output is None else staged(output, force=force, folder=FOLDER, inputs=(data,)) as stage:
        faces = read_faces(data, on_error=on_error, columns=input_columns)
        result = audit_faces(faces, near_duplicates=near_duplicates)
        if stage is not None:
            result.save(stage)
            save_rejects(stage, faces.rejected)
    return result


def audit_faces(faces: Faces, *, near_duplicates: bool = True) -> Audit:
    """Examine faces; parameters as of `audit`."""
    equal = first_equal(faces.images)
    duplicates, findings = _group(faces, "duplicate", equal, np.bincount(equal, minlength=len(faces))[equal] > 1)
    near = None
    if near_duplicates:
        near, more = _near(faces, equal)
        findings += more
    flat = flat_shares(faces.images)
    blank = np.ptp(faces.images, axis=(1, 2)) == 0
    faceless = (flat >= FLAT_SHARE) & ~blank
    for kind, chosen in (("blank", blank), ("faceless", faceless)):
        findings += [
            Finding(kind, int(faces.rows[at]), *_place(faces, at), flat_share=float(flat[at]))
            for at in np.flatnonzero(chosen).tolist()
        ]
    counts = _class_counts(faces)
    return Audit(
        faces=faces,
        class_counts=counts,
        published_differences=published_differences(counts),
        duplicates=duplicates,
        near_duplicates=near,
        blank=int(blank.sum()),
        faceless=int(faceless.sum()),
        findings=tuple(findings),
    )


def _near(faces: Faces, equal: NDArray[np.int64]) -> tuple[Duplicates, list[Finding]]:
    """Link pictures, each once however many faces have its pixels, and say of each face how similar the next one is."""
    pictures = np.unique(equal)
    pairs = find_near_duplicates(faces.images[pictures])
    similarity = np.zeros(len(faces))
    for end in (pairs.first, pairs.second):
        np.maximum.at(similarity, pictures[end], pairs.similarity)
    similarity = similarity[equal]
    group = np.empty(len(faces), np.int64)
    group[pictures] = pictures[pairs.components(len(pictures))]
    return _group(faces, "near duplicate", group[equal], similarity > 0, similarity)


def _group(
    faces: Faces,
    kind: str,
    group: NDArray[np.int64],
    grouped: NDArray[np.bool_],
    similarity: NDArray[np.float64] | None = None,
) -> tuple[Duplicates, list[Finding]]:
    """Count groups and list their faces: `grouped` tells which faces are in one, `group` its first face."""
    nothing = np.zeros(len(faces), np.bool_)
    conflict = nothing if faces.labels is None else disagreeing(group, faces.labels)
    leak = nothing if faces.splits is None else disagreeing(group, faces.splits)
    splits = np.full(len(faces), "") if faces.splits is None else faces.splits
    with_training = np.isin(group, group[splits == "Training"])
    first = group == np.arange(len(faces))
    counts = Duplicates(
        groups=int((grouped & first).sum()),
        faces=int(grouped.sum()),
        conflicting_groups=int((grouped & first & conflict).sum()),
        leaking_groups=int((grouped & first & leak).sum()),
        leaked_faces={
            split: int((with_training & (splits == split)).sum())
            for split in np.unique(splits).tolist()
            if split not in ("", "Training")
        },
    )
    members = np.flatnonzero(grouped)
    findings = [
        Finding(
            kind,
            int(faces.rows[group[at]]),
            *_place(faces, at),
            conflict=bool(conflict[at]),
            leak=bool(leak[at]),
            similarity=None if similarity is None else float(similarity[at]),
        )
        for at in members[np.argsort(group[members], kind="stable")].tolist()
    ]
    return counts, findings


def _place(faces: Faces, at: int) -> tuple[int, str, str]:
    label = "" if faces.labels is None else EXPRESSIONS[faces.labels[at]]
    return int(faces.rows[at]), label, "" if faces.splits is None else str(faces.splits[at])


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
