"""Selection of the validation split: any split except Training and PrivateTest."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from fer_core import ConfigError, DataError, Faces
from fer_core.faces import no_row_of_split
from fer_core.fer2013 import split_of
from fer_core.places import can_be_reread

VALIDATION_SPLITS: Final = ("PublicTest", "validation")
"""Splits that validate by default; the first one that exists is used."""
NEVER_VALIDATE: Final = ("Training", "PrivateTest")


def own_validation(faces: Faces) -> str:
    """Return the default validation split of the data."""
    hold_out = "draw them with `hold_out=0.1`"
    if faces.splits is None:
        message = f"has no Usage column; name the validation faces with `validation`, or {hold_out}"
        raise DataError(faces.source, message)
    found = np.unique(faces.splits).tolist()
    for name in VALIDATION_SPLITS:
        if name in found:
            return name
    others = [name for name in found if name not in NEVER_VALIDATE]
    choice = f"name the split with `validation={others[0]!r}`" if others else "name the faces with `validation`"
    expected = f"expected a split {' or '.join(VALIDATION_SPLITS)} to validate on"
    raise DataError(faces.source, f"{expected}, found {', '.join(found)}; {choice}, or {hold_out}")


def split_named(faces: Faces, validation: str | Path) -> str | None:
    """Return the split of the data that `validation` names; None if it names other faces."""
    if isinstance(validation, Path):
        return None
    name = split_of(validation) or validation
    found = () if faces.splits is None else faces.splits
    if name not in found:
        if split_of(validation) is not None and not can_be_reread(validation):
            raise no_row_of_split(faces.source, name, found)
        return None
    _require_validation(name)
    return name


def validation_of(faces: Faces) -> str:
    """Return the validation split of other faces; without splits, the name of their file decides."""
    if faces.splits is None:
        name = split_of(Path(faces.source).name.partition(".")[0]) or VALIDATION_SPLITS[1]
        name = VALIDATION_SPLITS[1] if name == "Training" else name
    else:
        found = np.unique(faces.splits).tolist()
        others = [name for name in found if name not in NEVER_VALIDATE]
        name = next((one for one in VALIDATION_SPLITS if one in found), others[0] if len(others) == 1 else "")
        if not name:
            expected = f"expected a split {' or '.join(VALIDATION_SPLITS)} to validate on"
            raise DataError(faces.source, f"{expected}, found {', '.join(found)}")
    _require_validation(name)
    return name


def _require_validation(name: str) -> None:
    if name == "PrivateTest":
        raise ConfigError("PrivateTest is the test split, which never selects anything", parameter="validation")
    if name in NEVER_VALIDATE:
        raise ConfigError(f"expected another split than {name}, which is trained on", parameter="validation")
