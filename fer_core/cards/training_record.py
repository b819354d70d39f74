"""Record of what a network learned from: faces and earlier networks (its lineage)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fer_core.errors import CardError

MAX_GENERATIONS: Final = 16
"""Longest chain of ancestors that a record may have."""

OWN: Final = ("seeds", "training_data")
"""Keys of a network that cards of earlier versions lack, both of them."""

Check = Callable[[Any], bool]


def is_sha256(value: object) -> bool:
    """Return whether a value is a sha256 as hexadecimal text."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def require_training_record(record: Mapping[str, Any], name: str, generation: int = 0) -> None:
    """Check the `training_data` of a model card, and those of all ancestors.

    Parameters
    ----------
    record : mapping
        ``source`` (text), ``sha256`` of images and labels, and ``rows``, the number of rows of each split, Training
        included. Optional keys:

        - ``validation_sha256``: sha256 of the validation faces.
        - ``dropped``: number of Training faces that were left out, by reason.
        - ``held_out``: ``fraction`` and ``seed`` of a validation split that was drawn from the Training rows.
        - ``rows_left_out``: number of rows that could not be read.
        - ``faces``: how faces were taken from images, ``detect`` or ``whole``; without it, they were aligned.
        - ``initial``: the network whose weights training began with.
        - ``teachers``: list of the networks that taught this one, each with its ``temperature`` if it was recorded.
        - ``members``: list of the networks of an ensemble.

        A network is a table of ``architecture``, ``weights_sha256``, and ``seeds`` and ``training_data`` of its own.
        The last two are both missing for ancestors in cards that were written before they were recorded; `members`
        always have them.
    name : str
        Name of the record in errors.
    generation : int
        Number of descendants through which this record was reached.

    Raises
    ------
    CardError
        If a key is missing or unknown, or a value is not what is described above; it names the key with its path, such
        as ``training_data.teachers[1].seeds``.
    """
    _require_values(record, name, _RECORD, ("source", "sha256", "rows"))
    if "initial" in record:
        _require_network(record["initial"], f"{name}.initial", generation, _NETWORK)
    for place, network in enumerate(record.get("teachers", ())):
        _require_network(network, f"{name}.teachers[{place}]", generation, _TEACHER)
    for place, network in enumerate(record.get("members", ())):
        _require_network(network, f"{name}.members[{place}]", generation, _NETWORK, OWN)


def _require_network(
    network: Any, name: str, generation: int, checks: Mapping[str, tuple[Check, str]], required: tuple[str, ...] = ()
) -> None:
    if ("seeds" in network) != ("training_data" in network):
        required = OWN
    _require_values(network, name, checks, ("architecture", "weights_sha256", *required))
    if generation >= MAX_GENERATIONS:
        raise CardError(f"{name}: expected at most {MAX_GENERATIONS} generations of ancestors, found more")
    if "training_data" in network:
        require_training_record(network["training_data"], f"{name}.training_data", generation + 1)


def _require_values(
    table: Mapping[str, Any], name: str, checks: Mapping[str, tuple[Check, str]], required: tuple[str, ...]
) -> None:
    missing, unknown = [key for key in required if key not in table], sorted(set(table) - set(checks))
    if missing or unknown:
        found = f"no {missing[0]}" if missing else f"an unknown {unknown[0]}"
        raise CardError(f"{name}: expected {', '.join(required)}, found {found}")
    for key, value in table.items():
        check, expected = checks[key]
        if not check(value):
            raise CardError(f"{name}.{key}: expected {expected}, found {value!r:.200}")


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _are_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_table, value))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_cut(value: object) -> bool:
    return value in ("detect", "whole")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_is_text, value)) and all(map(_is_count, value.values()))


def _are_rows(value: object) -> bool:
    return isinstance(value, dict) and _are_counts(value) and value.get("Training", 0) > 0


def _is_draw(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"fraction", "seed"} or not _is_count(value["seed"]):
        return False
    return type(value["fraction"]) is float and 0 < value["fraction"] < 1


def are_seeds(value: object) -> bool:
    """Return whether a value is a sequence of one or more integers."""
    return isinstance(value, list | tuple) and len(value) > 0 and all(type(seed) is int for seed in value)


def _is_temperature(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


_RECORD: Final[Mapping[str, tuple[Check, str]]] = {
    "source": (_is_text, "a text"),
    "sha256": (is_sha256, "64 hexadecimal digits"),
    "rows": (_are_rows, "the number of rows of Training and other splits"),
    "validation_sha256": (is_sha256, "64 hexadecimal digits"),
    "dropped": (_are_counts, "numbers of faces by reason"),
    "held_out": (_is_draw, "a fraction between 0 and 1 and a seed"),
    "rows_left_out": (_is_count, "a number of rows"),
    "faces": (_is_cut, "detect or whole"),
    "initial": (_is_table, "a table that describes a network"),
    "teachers": (_are_tables, "a list of one or more networks"),
    "members": (_are_tables, "a list of one or more networks"),
}
_NETWORK: Final[Mapping[str, tuple[Check, str]]] = {
    "architecture": (_is_text, "a text"),
    "weights_sha256": (is_sha256, "64 hexadecimal digits"),
    "seeds": (are_seeds, "one or more integers"),
    "training_data": (_is_table, "a table"),
}
_TEACHER: Final[Mapping[str, tuple[Check, str]]] = {**_NETWORK, "temperature": (_is_temperature, "a number above 0")}
