"""The list of rows that were left out of a data set because they are invalid."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fer_core.errors import DataError
from fer_core.outputs.staging import staged

REJECTS_FILE: Final = "rejects.csv"
"""Name of the list in an output folder."""
HEADER: Final = ("file", "row", "column", "message")


def reject_cells(error: DataError) -> tuple[str, int | None, str | None, str]:
    """Return the cells of a rejected row, in the order of `HEADER`."""
    return error.source, error.row, error.column, error.message


def save_rejects(folder: Path, rejected: Sequence[DataError]) -> None:
    """Write rejected rows to `REJECTS_FILE` in a folder; without such rows no file is written."""
    path = folder / REJECTS_FILE
    if not rejected:
        path.unlink(missing_ok=True)
        return
    with (
        staged(path, force=True) as stage,
        stage.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(HEADER)
        lines.writerows(map(reject_cells, rejected))


def rejects_text(rejected: Sequence[DataError] | int, folder: str | Path | None) -> str:
    """Return the line that reports the number of rejected rows, and the list of them, if there is one."""
    count = rejected if isinstance(rejected, int) else len(rejected)
    listed = "" if folder is None else f", listed in {Path(folder) / REJECTS_FILE}"
    return f"rows left out: {count:,}{listed}"
