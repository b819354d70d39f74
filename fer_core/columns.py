"""Columns of faces, whatever the file format: their names, the roles they play, and the values of labels and splits."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from fer_core.errors import ConfigError, DataError, DataWarning
from fer_core.expressions import EXPRESSIONS, USAGES

ROLES: Final = ("pixels", "label", "usage", "id")
"""What a column can hold, in the order in which the cells of a row are checked."""

COLUMNS: Final = {
    "pixels": "pixels",
    "feature": "pixels",
    "emotion": "label",
    "label": "label",
    "usage": "usage",
    "id": "id",
}
"""Column names in lower case, and their roles."""

PANDAS_INDEX: Final = ("", "Unnamed: 0")
"""Names of a first column that `DataFrame.to_csv` writes, and that is left out without a word."""

MAX_ID_LENGTH: Final = 256
"""A longer id is refused: NumPy keeps each id of a batch in the space of its longest one."""

SPLITS: Final = {name.lower(): name for name in USAGES} | {
    "train": "Training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Names of splits in lower case, and what each is called here. `test` stays `test`: it can be either test split."""

CLASS_NAMES: Final = {name: number for number, name in enumerate(EXPRESSIONS)} | {
    "anger": 0,
    "disgusted": 1,
    "fearful": 2,
    "happiness": 3,
    "sadness": 4,
    "surprised": 5,
}
"""Names of classes in lower case, as data sets write them, and their labels."""

LABEL_EXPECTED: Final = f"expected a label in 0..{len(EXPRESSIONS) - 1} or the name of a class"
USAGE_EXPECTED: Final = f"expected one of {', '.join(USAGES)}, train, validation, test"
ID_EXPECTED: Final = f"expected an id of 1 to {MAX_ID_LENGTH} characters without control characters"
"""How the error of a cell begins, in every file format."""

_WHOLE_NUMBER: Final = re.compile(r"([0-9]{1,3})(?:\.0*)?")


def label_of(text: str) -> int | None:
    """Return the label that a cell holds, or None where it holds none.

    Parameters
    ----------
    text : str
        A number in 0..6, also written as `5.0`, or the name of a class in any case; spaces around it are ignored.
    """
    text = text.strip(" ").lower()
    if text in CLASS_NAMES:
        return CLASS_NAMES[text]
    number = _WHOLE_NUMBER.fullmatch(text)
    label = int(number[1]) if number else -1
    return label if 0 <= label < len(EXPRESSIONS) else None


def usage_of(text: str) -> str | None:
    """Return the split that a cell or a folder names, as it is called here, or None where it names none.

    Parameters
    ----------
    text : str
        A name in `SPLITS`, in any case; spaces around it are ignored.
    """
    return SPLITS.get(text.strip(" ").lower())


def assign_roles(
    names: Sequence[str],
    source: str,
    *,
    row: int | None = None,
    roles: Collection[str] = ROLES,
    columns: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Decide which column of a table plays which role.

    Columns without a role are left out, and a `DataWarning` names them, except for the index that pandas writes.

    Parameters
    ----------
    names : sequence of str
        The names of the columns, in order.
    source : str
        The file, for errors.
    row : int, optional
        Row number of the header, for errors; None where the format has no header row.
    roles : collection of str
        The roles to read besides `pixels`; columns of other roles are left out without a warning.
    columns : mapping of str to str, optional
        Role to column name, where the user chose; it decides where two columns could play one role.

    Returns
    -------
    dict of str to int
        Position of the column of each role.

    Raises
    ------
    ConfigError
        If `columns` holds an unknown role.
    DataError
        If there is no column of pixels, a chosen column is missing, or two columns could play one role.
    """
    chosen = dict(columns or {})
    if unknown := set(chosen) - set(ROLES):
        raise ConfigError(f"columns: expected roles {', '.join(ROLES)}, found {', '.join(sorted(unknown))}")
    plain = [name.strip(" ") for name in names]
    places: dict[str, int] = {}
    for role, name in chosen.items():
        found = [place for place, other in enumerate(plain) if other == name.strip(" ")]
        if len(found) != 1:
            raise DataError(
                source, f"expected one column {name!r} for {role}, found {len(found)} in {_listed(plain)}", row=row
            )
        places[role] = found[0]
    taken = set(places.values())
    left_out: list[str] = []
    for place, name in enumerate(plain):
        if place in taken:
            continue
        if (known := COLUMNS.get(name.lower())) is None:
            if place or name not in PANDAS_INDEX:
                left_out.append(name)
        elif known in places and known not in chosen:
            message = (
                f"expected one column of {known}, found {plain[places[known]]!r} and {name!r}; "
                f"choose one with --column {known}={name}"
            )
            raise DataError(source, message, row=row)
        elif known not in chosen and (known in roles or known == "pixels"):
            places[known] = place
    if "pixels" not in places:
        raise DataError(source, f"expected a column 'pixels' or 'feature', found {_listed(plain)}", row=row)
    if left_out:
        warnings.warn(f"{source}: columns left out: {_listed(left_out)}", DataWarning, stacklevel=2)
    return places


def shorten(text: str, length: int = 40) -> str:
    """Return a text in quotes, cut where it is long."""
    return repr(text if len(text) <= length else text[:length] + "...")


def _listed(names: Sequence[str], most: int = 8) -> str:
    listed = ", ".join(shorten(name) for name in names[:most])
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed or "none"
