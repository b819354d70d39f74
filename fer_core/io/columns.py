"""Columns of tables of faces in any file format: their names and roles."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from fer_core.errors import ConfigError, DataError, DataWarning, listed, shorten
from fer_core.fer2013 import PIXELS

ROLES: Final = ("pixels", "label", "split", "id")
"""Contents of columns, in the order in which the cells of a row are checked."""

COLUMNS: Final = {
    "pixels": "pixels",
    "feature": "pixels",
    "emotion": "label",
    "label": "label",
    "usage": "split",
    "split": "split",
    "id": "id",
}
"""Column names in lower case, and their roles."""

MAX_ID_LENGTH: Final = 256
"""Longer ids are refused, since NumPy stores every id of a batch in the space of the longest one."""

ID_EXPECTED: Final = f"expected an id of 1 to {MAX_ID_LENGTH} characters without control characters"
"""Beginning of the error message of a cell."""

PIXELS_EXPECTED: Final = (
    f"expected a column 'pixels' or 'feature', or {PIXELS} columns such as pixel0 to pixel{PIXELS - 1}"
)
"""Beginning of the error message of a table without pixels."""

LEAST_PIXEL_COLUMNS: Final = 100
"""Number of numbered columns from which on they count as pixels, even if they are not 2,304."""

_NUMBERED: Final = re.compile(r"(.*?)([0-9]+)", re.DOTALL)


def id_of(text: str) -> str | None:
    """Return the id in a cell without the spaces around it, or None if it cannot be one."""
    text = text.strip(" ")
    return text if 0 < len(text) <= MAX_ID_LENGTH and min(text) >= " " else None


def pixel_columns(names: Sequence[str], source: str, *, row: int | None = None) -> range | None:
    """Return the positions of the pixel columns in a table with one column per pixel; None for other tables.

    These are 2,304 adjacent columns whose names are the same text, which may be empty, followed by consecutive
    numbers, such as pixel0 to pixel2303.

    Parameters
    ----------
    names, source, row
        As in `assign_roles`.

    Raises
    ------
    DataError
        If the number of such columns is wrong, or there is another column of pixels.
    """
    plain = [name.strip(" ") for name in names]
    run = max(_numbered_runs(plain), key=len, default=range(0))
    if len(run) < LEAST_PIXEL_COLUMNS:
        return None
    shown = f"{plain[run.start]!r} to {plain[run.stop - 1]!r}"
    if len(run) != PIXELS:
        raise DataError(source, f"expected {PIXELS} columns of pixels, found {len(run)}: {shown}", row=row)
    for name in plain:
        if COLUMNS.get(name.lower()) == "pixels":
            message = f"expected pixels in one column or in {PIXELS}, found {name!r} and {shown}"
            raise DataError(source, f"{message}; `columns={{'pixels': {name!r}}}` chooses the former", row=row)
    return run


def _numbered_runs(names: Sequence[str]) -> list[range]:
    """Return the ranges of adjacent columns whose names are the same text followed by consecutive numbers."""
    runs: list[range] = []
    start, before = 0, ("", -2)
    for place, name in enumerate([*names, ""]):
        match = _NUMBERED.fullmatch(name)
        here = (match[1], int(match[2][:9])) if match else ("", -2)
        if here != (before[0], before[1] + 1) or here[1] < 0:
            runs.append(range(start, place))
            start = place
        before = here
    return runs


def assign_roles(
    names: Sequence[str],
    source: str,
    *,
    row: int | None = None,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Assign roles to the columns of a table.

    Columns without a role are ignored; `warn_of_columns_left_out` names them.

    Parameters
    ----------
    names : sequence of str
        Names of the columns, in order.
    source : str
        Name of the file in errors.
    row : int, optional
        Row number of the header in errors; None for formats without a header row.
    roles : collection of str
        Roles to read in addition to `pixels`; columns of other roles are ignored without a warning.
    columns : mapping of str to str, optional
        Role to column name, chosen by the user. Required if two columns could have one role.

    Returns
    -------
    dict of str to int
        Position of the column of each role. In a table with one column per pixel (see `pixel_columns`), the position
        of the first of them.

    Raises
    ------
    ConfigError
        If `columns` contains an unknown role.
    DataError
        If there is no column of pixels, a chosen column is missing, or two columns could have one role.
    """
    chosen = dict(columns or {})
    plain = [name.strip(" ") for name in names]
    places = _chosen_places(plain, source, row, chosen)
    taken = set(places.values())
    run = None if "pixels" in places else pixel_columns(plain, source, row=row)
    if run is not None:
        places["pixels"] = run.start
        taken.update(run)
    for place, name in enumerate(plain):
        if place in taken:
            continue
        if (known := COLUMNS.get(name.lower())) is None or known in chosen:
            continue
        if known in places:
            raise _two_columns(plain[places[known]], name, known, source, row)
        if known in roles or known == "pixels":
            places[known] = place
    if "pixels" not in places:
        raise DataError(source, f"{PIXELS_EXPECTED}, found {_quoted(plain)}", row=row)
    return places


def _chosen_places(names: Sequence[str], source: str, row: int | None, chosen: Mapping[str, str]) -> dict[str, int]:
    """Return the positions of the columns that the user chose, by role."""
    if unknown := set(chosen) - set(ROLES):
        raise ConfigError(f"columns: expected roles {', '.join(ROLES)}, found {', '.join(sorted(unknown))}")
    places: dict[str, int] = {}
    for role, name in chosen.items():
        found = [place for place, other in enumerate(names) if other == name.strip(" ")]
        if len(found) != 1:
            message = f"expected one column {name!r} for {role}, found {len(found)} in {_quoted(names)}"
            raise DataError(source, message, row=row)
        places[role] = found[0]
    return places


def _two_columns(one: str, other: str, role: str, source: str, row: int | None) -> DataError:
    remedy = "rename one of them" if one == other else f"`columns={{{role!r}: {other!r}}}` chooses one"
    return DataError(source, f"expected one column of {role}, found {one!r} and {other!r}; {remedy}", row=row)


def warn_of_columns_left_out(
    names: Sequence[str],
    source: str,
    read: Collection[int],
    *,
    columns: Mapping[str, str] | None = None,
    named: set[str] | None = None,
) -> None:
    """Issue a `DataWarning` that names the columns without a role, such as the index that pandas writes.

    Parameters
    ----------
    names, source, columns
        As in `assign_roles`. A chosen column has a role, even if that role is not read.
    read : collection of int
        Positions of the columns that are read.
    named : set of str, optional
        Columns that were named for other files of a data set, and are not named again. New ones are added to it.
    """
    plain = [name.strip(" ") for name in names]
    chosen = {name.strip(" ") for name in (columns or {}).values()}
    others = [name for place, name in enumerate(plain) if place not in read and name not in chosen]
    left_out = [name for name in others if name.lower() not in COLUMNS]
    if named is not None:
        left_out = [name for name in left_out if name not in named]
        named.update(left_out)
    if left_out:
        warnings.warn(f"{source}: columns left out: {_quoted(left_out)}", DataWarning, stacklevel=2)


def _quoted(names: Sequence[str]) -> str:
    return listed([shorten(name) for name in names])
