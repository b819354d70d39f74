"""What a folder of predictions holds, of which inputs, made by which model: the record that makes it resumable."""

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

MANIFEST_FILE: Final = "manifest.json"
SCHEMA_VERSION: Final = 1

OURS: Final = re.compile(r"manifest\.json|part-\d{5,}\.(csv|parquet)|rejects-\d{5,}\.csv|\..*\.part")
"""Names of what stands in a folder of predictions; the last are what a killed run left half written."""


@dataclass(frozen=True)
class Part:
    """The predictions of one input.

    Attributes
    ----------
    input : InputFile
        As it was when it was scored.
    name, sha256 : str
        The file in the folder and its content.
    rows : int
        Predictions in it.
    rejected : int
        Rows left out.
    rejects_name, rejects_sha256 : str or None
        The list of them; None where there are none.
    label_counts : dict of str to int
        Faces by predicted class.
    provider, provider_note : str
        On which the model ran, and why it was not CUDA.
    """

    input: InputFile
    name: str
    sha256: str
    rows: int
    rejected: int
    rejects_name: str | None
    rejects_sha256: str | None
    label_counts: dict[str, int]
    provider: str
    provider_note: str

    def is_in(self, folder: str) -> bool:
        """Say whether `folder` still holds this part as it was written."""
        files = {self.name: self.sha256, self.rejects_name: self.rejects_sha256}
        return all(storage.sha256(join(folder, name)) == digest for name, digest in files.items() if name)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Part:
        """Rebuild a part from its JSON object."""
        return cls(**{**table, "input": InputFile(**table["input"])})


@dataclass
class Manifest:
    """The record of a folder of predictions.

    Attributes
    ----------
    settings : dict
        Everything that the predictions follow from: the model, the columns, what becomes of wrong rows. Two runs
        that agree in it and in their inputs give the same parts.
    inputs : tuple of InputFile
        In order; the input at position N has the part ``part-N``.
    parts : dict of int to Part
        What is done, by position.
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
        """Read `manifest.json` of `folder`; raise OutputError where it is none of ours."""
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
            message = f"expected a record of predictions of schema_version {SCHEMA_VERSION}, found none ({error})"
            raise OutputError(f"{join(folder, MANIFEST_FILE)}: {message}; --force starts anew") from None

    def save(self, folder: str) -> None:
        """Write `manifest.json` into `folder`, in place of an earlier one."""
        storage.write(self.to_json().encode(), join(folder, MANIFEST_FILE))

    def require_continues(self, earlier: Manifest, folder: str) -> None:
        """Raise OutputError unless this run would add to `folder` what `earlier` left to be done.

        An input whose content changed is no contradiction: its part is made again.
        """
        where = join(folder, MANIFEST_FILE)
        mine, theirs = flatten(self.settings), flatten(earlier.settings)
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                raise OutputError(
                    f"{where}: was made with {key} {theirs.get(key)!r}, not {mine.get(key)!r}; --force starts anew"
                )
        sources, before = [file.source for file in self.inputs], [file.source for file in earlier.inputs]
        if sources != before:
            new, gone = sorted(set(sources) - set(before)), sorted(set(before) - set(sources))
            change = f"{new[0]} is new" if new else f"{gone[0]} is missing" if gone else "their order changed"
            raise OutputError(f"{where}: was made of other inputs ({change}); --force starts anew")

    def take_over(self, folder: str, *, force: bool) -> list[str]:
        """Take the parts that an earlier run finished in `folder`.

        Parameters
        ----------
        folder : str
            Absolute path or URI; it need not exist.
        force : bool
            Take nothing.

        Returns
        -------
        list of str
            Names of what else that run left, to be removed in this order before `save`.

        Raises
        ------
        OutputError
            If `folder` holds files that no such run makes, or, without `force`, a run that this does not continue.
        """
        names = [name for name in storage.names_in(folder) if not HIDDEN.fullmatch(name)]
        for name in names:
            if not OURS.fullmatch(name):
                raise OutputError(f"{folder}: expected a folder of predictions alone, found {name!r} in it")
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
                raise OutputError(f"{folder}: holds parts and no {MANIFEST_FILE}; --force starts anew")
        # The record goes first, as it must not tell of parts that are gone.
        return sorted(set(names) - kept, key=lambda name: (name != MANIFEST_FILE, name))
