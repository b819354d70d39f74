"""What is wrong with a data set before anything is trained on it: repeats, contradictions, blanks."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_core import EXPRESSIONS, Faces
from fer_core.output import staged


@dataclass(frozen=True)
class Finding:
    """One row that takes part in a finding.

    Attributes
    ----------
    kind : {"repeat", "conflict", "leak", "blank"}
        repeat: the same pixels stand in another row; conflict: with another label; leak: in another split;
        blank: all pixels have one gray level.
    group : int
        Rows of one number have the same pixels.
    row : int
        Row number in the source.
    label, usage : str
        As the source says; empty where it does not.
    """

    kind: str
    group: int
    row: int
    label: str
    usage: str


@dataclass(frozen=True)
class Audit:
    """Findings and their counts.

    Attributes
    ----------
    rows : int
        Faces examined.
    class_counts : dict
        By usage (or "all"), then by label name.
    exact_repeats : int
        Rows beyond the first of each group of equal pixels.
    repeat_groups, conflict_groups, leak_groups : int
        Groups of equal pixels; those with more than one label; those that stand in more than one split.
    leaked_rows : dict
        For each split but Training, the rows whose pixels also stand in Training.
    blank_rows : int
        Faces of one gray level.
    findings : tuple of Finding
        Each row concerned, sorted by group and row.
    """

    rows: int
    class_counts: dict[str, dict[str, int]]
    exact_repeats: int
    repeat_groups: int
    conflict_groups: int
    leak_groups: int
    leaked_rows: dict[str, int]
    blank_rows: int
    findings: tuple[Finding, ...]

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the findings as CSV."""
        with staged(path, force=force) as stage, stage.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["kind", "group", "row", "label", "usage"])
            writer.writerows((f.kind, f.group, f.row, f.label, f.usage) for f in self.findings)


def audit(faces: Faces) -> Audit:
    """Examine faces.

    Parameters
    ----------
    faces : Faces
        Labels and usage may be missing; what needs them is then not found.

    Returns
    -------
    Audit
    """
    n = len(faces)
    labels = faces.labels if faces.labels is not None else np.full(n, -1)
    usage = faces.usage if faces.usage is not None else np.full(n, "")
    _, group, size = np.unique(faces.images.reshape(n, -1), axis=0, return_inverse=True, return_counts=True)
    findings = []
    conflicts = leaks = 0
    for number in np.flatnonzero(size > 1):
        members = np.flatnonzero(group == number)
        kinds = ["repeat"]
        if len(set(labels[members].tolist())) > 1:
            kinds.append("conflict")
            conflicts += 1
        if len(set(usage[members].tolist())) > 1:
            kinds.append("leak")
            leaks += 1
        findings += [_finding(kind, faces, int(number), int(at)) for kind in kinds for at in members]
    blank = np.flatnonzero(np.ptp(faces.images.reshape(n, -1), axis=1) == 0)
    findings += [_finding("blank", faces, int(group[at]), int(at)) for at in blank]
    trained = np.isin(group, group[usage == "Training"])
    return Audit(
        rows=n,
        class_counts=_class_counts(faces),
        exact_repeats=int((size - 1).sum()),
        repeat_groups=int((size > 1).sum()),
        conflict_groups=conflicts,
        leak_groups=leaks,
        leaked_rows={
            str(split): int((trained & (usage == split)).sum())
            for split in np.unique(usage)
            if split not in ("", "Training")
        },
        blank_rows=len(blank),
        findings=tuple(sorted(findings, key=lambda finding: (finding.kind, finding.group, finding.row))),
    )


def _finding(kind: str, faces: Faces, group: int, at: int) -> Finding:
    label = "" if faces.labels is None else EXPRESSIONS[faces.labels[at]]
    return Finding(kind, group, int(faces.rows[at]), label, "" if faces.usage is None else str(faces.usage[at]))


def _class_counts(faces: Faces) -> dict[str, dict[str, int]]:
    if faces.labels is None:
        return {}
    splits = {"all": faces.labels}
    if faces.usage is not None:
        splits = {str(split): faces.labels[faces.usage == split] for split in np.unique(faces.usage)}
    return {
        split: dict(zip(EXPRESSIONS, np.bincount(labels, minlength=len(EXPRESSIONS)).tolist(), strict=True))
        for split, labels in splits.items()
    }
