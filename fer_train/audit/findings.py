"""Findings of an audit: counts, a table of faces, and contact sheets."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Final

from fer_core import Faces
from fer_train.audit.contact_sheet import Strip, save_contact_sheet

SHEET_GROUPS: Final = 120
"""Largest number of groups on a contact sheet; those with conflicting labels or leaks come first."""


@dataclass(frozen=True)
class Duplicates:
    """Number of duplicates.

    Attributes
    ----------
    groups, faces : int
        Number of groups of two or more faces, and of the faces in them.
    conflicting_groups : int
        Number of groups with different labels.
    leaking_groups : int
        Number of groups across splits.
    leaked_faces : dict
        For each split except Training, the number of its faces in a group with a Training face.
    """

    groups: int
    faces: int
    conflicting_groups: int
    leaking_groups: int
    leaked_faces: dict[str, int]


@dataclass(frozen=True)
class AuditRow:
    """One finding about one face.

    Attributes
    ----------
    kind : {"duplicate", "near duplicate", "blank", "faceless"}
        duplicate: other faces have the same pixels; near duplicate: other faces show the same picture in other pixels;
        blank: all pixels have one gray level; faceless: the picture has almost no structure.
    group : int
        Row number of the first face of its group.
    row : int
        Row number in the source.
    label, split : str
        Label and split in the source; empty without them.
    conflict, leak : bool
        Whether its group has different labels, and whether it is across splits.
    similarity : float or None
        Largest correlation of a near duplicate with another picture.
    flat_share : float or None
        Fraction of flat pixels of a blank or faceless picture; see `flat_shares`.
    """

    kind: str
    group: int
    row: int
    label: str
    split: str
    conflict: bool = False
    leak: bool = False
    similarity: float | None = None
    flat_share: float | None = None


@dataclass(frozen=True, eq=False)
class Audit:
    """Findings and their numbers.

    Attributes
    ----------
    faces : Faces
        Faces that were audited.
    class_counts : dict
        Number of faces by split (or "all"), then by label name; empty without labels.
    published_differences : dict or None
        See `fer_train.audit.published_counts.published_differences`.
    duplicates : Duplicates
        Groups of faces with the same pixels.
    near_duplicates : Duplicates or None
        Groups linked by near duplicates, including faces with the same pixels; None if they were not searched.
    blank, faceless : int
        Number of faces of one gray level, and of others with almost no structure.
    findings : tuple of AuditRow
        Findings by kind, then by group, then by row.
    """

    faces: Faces
    class_counts: dict[str, dict[str, int]]
    published_differences: dict[str, dict[str, int]] | None
    duplicates: Duplicates
    near_duplicates: Duplicates | None
    blank: int
    faceless: int
    findings: tuple[AuditRow, ...]

    def to_text(self) -> str:
        """Return the numbers in lines."""
        lines = [f"{self.faces.source}: {len(self.faces):,} faces"]
        for split, counts in self.class_counts.items():
            classes = ", ".join(f"{label} {count:,}" for label, count in counts.items())
            lines.append(f"  {split}: {sum(counts.values()):,}: {classes}")
        if self.published_differences is not None:
            lines.append(f"  {_published_text(self.published_differences)}")
        lines.append(f"  {_duplicates_text(self.duplicates, 'exact duplicates')}")
        for split, leaked in self.duplicates.leaked_faces.items():
            lines.append(f"  {leaked:,} faces of {split} are also in Training")
        if self.near_duplicates is not None:
            lines.append(f"  {_duplicates_text(self.near_duplicates, 'near duplicates')}")
            for split, leaked in self.near_duplicates.leaked_faces.items():
                lines.append(f"  {leaked:,} faces of {split} are in Training exactly or nearly")
        lines.append(f"  {self.blank:,} blank faces, {self.faceless:,} others with almost no structure")
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write `findings.csv`, `audit.json`, and a contact sheet per kind of finding into a folder."""
        with (folder / "findings.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([field.name for field in fields(AuditRow)])
            writer.writerows(map(_cell, astuple(finding)) for finding in self.findings)
        names = ("class_counts", "published_differences", "blank", "faceless")
        table = {
            "source": Path(self.faces.source).name,
            "sha256": self.faces.sha256(),
            "rows": len(self.faces),
            **{name: getattr(self, name) for name in names},
            "duplicates": asdict(self.duplicates),
            "near_duplicates": self.near_duplicates and asdict(self.near_duplicates),
        }
        (folder / "audit.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
        for kind in sorted({finding.kind for finding in self.findings}):
            _save_sheet(
                self.faces, [f for f in self.findings if f.kind == kind], folder / f"{kind.replace(' ', '_')}.png"
            )


def _published_text(differences: Mapping[str, Mapping[str, int]]) -> str:
    if not differences:
        return "class counts agree with those published for FER2013"
    splits = [
        f"{split} has {', '.join(f'{label} {more:+,}' for label, more in labels.items())}"
        for split, labels in differences.items()
    ]
    return f"class counts differ from those published for FER2013: {'; '.join(splits)}"


def _duplicates_text(found: Duplicates, what: str) -> str:
    return (
        f"{found.faces:,} faces in {found.groups:,} groups of {what}: {found.conflicting_groups:,} groups with "
        f"conflicting labels, {found.leaking_groups:,} across splits"
    )


def _cell(value: str | float | None) -> str:
    """Return a cell of the table: yes for True, nothing for False and None, four decimals for fractions."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _save_sheet(faces: Faces, findings: Sequence[AuditRow], path: Path) -> None:
    """Draw at most `SHEET_GROUPS` groups of one kind, those with conflicts and leaks first."""
    groups = [list(members) for _, members in groupby(findings, key=lambda finding: finding.group)]
    groups.sort(key=lambda members: (not members[0].conflict, not members[0].leak))
    shown = groups[:SHEET_GROUPS]
    position = {row: at for at, row in enumerate(faces.rows.tolist())}
    strips = [
        Strip(
            faces.images[[position[finding.row] for finding in members]],
            [(f"row {finding.row}", finding.label, finding.split) for finding in members],
            warning=members[0].conflict,
        )
        for members in shown
    ]
    title = f"{findings[0].kind}: {len(shown):,} of {len(groups):,} groups; framed in red: conflicting labels"
    save_contact_sheet(strips, path, title)
