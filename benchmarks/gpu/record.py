"""What a step found: one JSON file a step, rewritten after each entry, so that a cut loses one entry at most."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fer_core import FerError
from fer_core.outputs.staging import staged

Entry = dict[str, Any]


class SkippedError(FerError):
    """Why an entry cannot be had here; no failure."""


class Record:
    """The entries of one step.

    Parameters
    ----------
    folder : Path
        Holds `STEP.json` of every step.
    merged : Path
        One file that repeats all of them, for wherever files are counted.
    step : str
        Name of the step.
    on : str
        What the figures depend on most.

    Attributes
    ----------
    failed : list of str
        Keys of the entries that raised an error this time.

    Raises
    ------
    FerError
        If `folder` has results from anything else than `on`: they are not to be lost, nor mixed.
    """

    def __init__(self, folder: Path, merged: Path, step: str, on: str) -> None:
        self.failed: list[str] = []
        self._path = folder / f"{step}.json"
        self._merged = merged
        self._on = on
        self.entries: dict[str, Entry] = read_entries(self._path) if self._path.is_file() else {}
        others = {entry["on"] for entry in self.entries.values()} - {on}
        if others:
            raise FerError(f"{self._path}: is of {', '.join(sorted(others))}; name another --state for {on}")
        self._save_merged()  # at once, for it may be a new folder that earlier steps are not yet in

    def take(self, key: str, measure: Callable[[], Entry]) -> None:
        """Measure and save an entry, unless an earlier run has; an error becomes the entry and stops nothing."""
        found = self.entries.get(key)
        if found is not None and not {"error", "skipped"} & set(found):
            return
        start = time.perf_counter()
        try:
            entry = measure()
        except SkippedError as reason:
            entry = {"skipped": str(reason)}
        except Exception as error:  # whatever stops one entry is no reason to lose the ones after it
            self.failed.append(key)
            entry = {"error": f"{type(error).__name__}: {error}"}
        self.entries[key] = {"on": self._on, "took_s": round(time.perf_counter() - start, 2), **entry}
        self._save()
        print(f"{self._path.stem} {key}: {_shown(entry)}", file=sys.stderr, flush=True)

    def _save(self) -> None:
        _write(self._path, self.entries)
        self._save_merged()

    def _save_merged(self) -> None:
        _write(self._merged, {path.stem: read_entries(path) for path in sorted(self._path.parent.glob("*.json"))})


def read_entries(path: Path) -> dict[str, Any]:
    """Read a file that `Record` wrote; raise FerError naming it where it is anything else."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FerError(f"{path}: cannot be read as results: {error}") from None
    if not isinstance(table, dict):
        raise FerError(f"{path}: expected a JSON object of results, found {type(table).__name__}")
    return table


def leaves(entry: Entry, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """Yield the values of an entry, however deep, each with the names that lead to it."""
    for name, value in entry.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield " ".join((*path, name)), "; ".join(map(str, value)) if isinstance(value, list) else value


def _write(path: Path, table: dict[str, Any]) -> None:
    with staged(path, force=True) as stage:
        stage.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _shown(entry: Entry) -> str:
    for problem in ("skipped", "error"):
        if problem in entry:
            return f"{problem}: {entry[problem]}"
    return ", ".join(f"{name} {value:.5g}" for name, value in leaves(entry) if isinstance(value, float)) or "done"
