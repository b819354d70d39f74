"""Manifest of a folder of predictions: its inputs, settings and complete parts, by which a run resumes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from fer_core import OutputError
from fer_core.outputs.claims import HIDDEN
from fer_core.settings import flatten
from fer_infer.cluster import storage
from fer_infer.cluster.storage import InputFile, join
from fer_infer.scoring.summary import Counts

MANIFEST_FILE: Final = "manifest.json"
SCHEMA_VERSION: Final = 1

OURS: Final = re.compile(r"manifest\.json|part-\d{5,}\.(csv|parquet)|rejects-\d{5,}\.csv|\..*\.part")
"""Names of files in a folder of predictions; the last are temporary files of a killed run."""


@dataclass(frozen=True)
class Part(Counts):
    """Predictions for one input file.

    Attributes
    ----------
    rows, rejected : int
        Predictions and rejected rows.
    label_counts : dict of str to int
        Faces per predicted class.
    input : InputFile
        The input file when it was scored.
    name, sha256 : str
        Name of the part in the folder, and checksum of its content.
    rejects_name, rejects_sha256 : str or None
        Name and checksum of the list of rejected rows; None if no row was rejected.
    provider, provider_note : str
        Execution provider, and why it was not CUDA.
    """

    input: InputFile
    name: str
    sha256: str
    rejects_name: str | None
    rejects_sha256: str | None
    provider: str
    provider_note: str

    def is_in(self, folder: str) -> bool:
        """Return whether `folder` still contains this part as it was written."""
        files = {self.name: self.sha256, self.rejects_name: self.rejects_sha256}
        return all(storage.sha256(join(folder, name)) == digest for name, digest in files.items() if name)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Part:
        """Return the part that a JSON object describes."""
        return cls(**{**table, "input": InputFile(**table["input"])})


@dataclass
class Manifest:
    """Content of `manifest.json`.

    Attributes
    ----------
    settings : dict
        Everything besides the inputs that determines the predictions, such as the model and the columns. Runs with
        equal settings and inputs make equal parts.
    inputs : tuple of InputFile
        Input files in order; the input at position N has the part ``part-N``.
    parts : dict of int to Part
        Complete parts by position.
    """

    settings: dict[str, Any]
    inputs: tuple[InputFile, ...]
    parts: dict[int, Part] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the content of `manifest.json`."""
        table = {
            "schema_version": SCHEMA_VERSION,
            "complete": len(self.parts) == len(self.inputs),
            "settings": self.settings,
            "inputs": [asdict(file) for file in self.inputs],
            "parts": {str(position): asdict(part) for position, part in sorted(self.parts.items())},
        }
        return json.dumps(table, indent=2) + "\n"

    @classmethod
    def load(cls, folder: str) -> Manifest:
        """Read `manifest.json` in `folder`; raise OutputError if it is not one of this schema."""
        text = storage.read(join(folder, MANIFEST_FILE))
        try:
            table = json.loads(text)
            if table["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"schema_version {table['schema_version']!r}")
            if not isinstance(table["settings"], dict):
                raise TypeError(f"settings {table['settings']!r}")
            return cls(
                settings=table["settings"],
                inputs=tuple(InputFile(**file) for file in table["inputs"]),
                parts={int(position): Part.from_table(part) for position, part in table["parts"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"expected a manifest of schema_version {SCHEMA_VERSION} ({error})"
            raise OutputError(f"{join(folder, MANIFEST_FILE)}: {message}; `force=True` discards it") from None

    def save(self, folder: str) -> None:
        """Write `manifest.json` into `folder`; an earlier one is replaced."""
        storage.write(self.to_json().encode(), join(folder, MANIFEST_FILE))

    def require_continues(self, earlier: Manifest, folder: str) -> None:
        """Raise OutputError unless this run resumes `earlier` in `folder`.

        An input may have changed; its part is then made again.
        """
        where = join(folder, MANIFEST_FILE)
        mine, theirs = flatten(self.settings), flatten(earlier.settings)
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                raise OutputError(
                    f"{where}: was made with {key} {theirs.get(key)!r}, not {mine.get(key)!r}; `force=True` discards it"
                )
        sources, before = [file.source for file in self.inputs], [file.source for file in earlier.inputs]
        if sources != before:
            new, gone = sorted(set(sources) - set(before)), sorted(set(before) - set(sources))
            change = f"{new[0]} is new" if new else f"{gone[0]} is missing" if gone else "their order changed"
            raise OutputError(f"{where}: was made from other inputs ({change}); `force=True` discards it")

    def take_over(self, folder: str, *, force: bool) -> list[str]:
        """Take over the parts that an earlier run completed in `folder`.

        Parameters
        ----------
        folder : str
            Absolute path or URI; the folder need not exist.
        force : bool
            Take over nothing.

        Returns
        -------
        list of str
            Names of the other files of that run, to be removed in this order before `save`.

        Raises
        ------
        OutputError
            If `folder` contains files that no such run makes, or, without `force`, a run that this one cannot resume.
        """
        names = [name for name in storage.names_in(folder) if not HIDDEN.fullmatch(name)]
        for name in names:
            if not OURS.fullmatch(name):
                raise OutputError(f"{folder}: expected a folder with only predictions, found {name!r} in it")
        kept: set[str | None] = set()
        if names and not force:
            if MANIFEST_FILE in names:
                earlier = Manifest.load(folder)
                self.require_continues(earlier, folder)
                now = dict(enumerate(self.inputs))
                self.parts = {
                    n: part for n, part in earlier.parts.items() if part.input == now.get(n) and part.is_in(folder)
                }
                finished = (name for part in self.parts.values() for name in (part.name, part.rejects_name))
                kept = {MANIFEST_FILE, *finished}
            elif any(name.startswith(("part-", "rejects-")) for name in names):
                raise OutputError(f"{folder}: contains parts but no {MANIFEST_FILE}; `force=True` discards them")
        # The manifest is removed first, because it must not list parts that are gone.
        return sorted(set(names) - kept, key=lambda name: (name != MANIFEST_FILE, name))
