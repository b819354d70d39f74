"""The model card: architecture, training data and accuracy of a model, stored in each of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from fer_core.cards.summary import card_rows, html_table
from fer_core.cards.training_record import are_seeds, is_sha256, require_training_record
from fer_core.errors import CardError
from fer_core.exports_folder import GRAPH_FILES
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.git_lfs import refuse_lfs_pointer

SCHEMA_VERSION: Final = 2
OF_THE_PRECISION: Final = ("precision", "selection", "scores")
"""Keys that differ between the graphs of one model."""
TABLES: Final = ("architecture_arguments", "standardization", "temperature", "training_data", "scores", "versions")

OTHER_COLUMNS: Final = ("id", "label", "source")
"""Columns of an output with one column per class, in addition to the classes."""

NOT_FITTED: Final = "none"
"""Value of `fitted_on` if the temperature was not fitted."""
FITTED_FIGURES: Final = ("n", "nll_before", "nll_after", "ece_before", "ece_after")
"""Further keys of a fitted temperature."""


@dataclass(frozen=True)
class ModelCard:
    """A model card, which is the same in `card.json`, the safetensors metadata and the ONNX `metadata_props`.

    Attributes
    ----------
    architecture : str
        Name in the registry of `fer_train.models`.
    architecture_arguments : dict
        Arguments of the constructor in the registry.
    labels : tuple of str
        Class names, in the order of the columns of `logits` and `probabilities`.
    input_size : tuple of int
        (height, width) in pixels.
    standardization : dict
        `mean` and `std` of the Training pixels; the first layer computes (pixel - mean) / std, unless
        `architecture_arguments` states that each face is standardized by its own mean and deviation.
    temperature : dict
        `value`: the graph computes `probabilities` as softmax(logits / value), in every precision. `fitted_on`: the
        split, or "none" with a `value` of 1. If it was fitted, also `n`, the number of faces of that split, and the
        negative log likelihood and expected calibration error of the float32 network on them at temperature 1 and at
        `value`: `nll_before`, `nll_after`, `ece_before`, `ece_after`.
    precision : {"fp32", "fp16", "int8"}
        Precision of the graph that contains the card; `selection` and `scores` describe the same graph.
    weights_sha256 : str
        Hash of the float32 tensors of `weights.safetensors`; see `fer_train.runs.checkpoint.weights_sha256`.
    training_data : dict
        Faces and ancestors that the network learned from, as `fer_core.cards.training_record` describes them.
    selection : str
        Which weights of the run were kept, how they were quantized, and on which split choices were made.
    seeds : tuple of int
        Seeds of the last training run, or of each member; `initial` has the seeds of earlier runs.
    scores : dict
        Split to measurements: `n`, `accuracy`, `wilson_95`, `tta`; in a lower precision also `fp32_accuracy`,
        `equal_predictions` and `max_absolute_difference` of a logit, compared with the float32 graph on the same faces.
        Empty if nothing was measured.
    versions : dict
        Library versions at export.
    git_commit : str
        Commit of the code that exported, with `+changes` if files were modified; `unknown` outside a checkout.
    schema_version : int
        Version of this table of keys.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fer_core import ModelCard
    >>> card = ModelCard.load_json(Path("exports/compact/card.json"))
    >>> card.architecture, card.precision, card.training_data["rows"]["Training"]
    ('compact', 'fp32', 28709)
    """

    architecture: str
    architecture_arguments: dict[str, Any]
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    standardization: dict[str, float]
    temperature: dict[str, Any]
    precision: str
    weights_sha256: str
    training_data: dict[str, Any]
    selection: str
    seeds: tuple[int, ...]
    scores: dict[str, Any]
    versions: dict[str, str]
    git_commit: str
    schema_version: int = SCHEMA_VERSION

    @property
    def validation_split(self) -> str:
        """Name of the validation split."""
        return next((name for name in self.training_data["rows"] if name != "Training"), "PublicTest")

    def __post_init__(self) -> None:
        for key in TABLES:
            table = _as_json(getattr(self, key))
            self._require(isinstance(table, dict), key, "a table that JSON can store")
            object.__setattr__(self, key, table)
        version = self.schema_version
        self._require(type(version) is int and version == SCHEMA_VERSION, "schema_version", str(SCHEMA_VERSION))
        for key in ("architecture", "selection", "git_commit"):
            self._require(isinstance(getattr(self, key), str) and getattr(self, key) != "", key, "a text")
        self._require(self.precision in list(GRAPH_FILES), "precision", f"one of {', '.join(GRAPH_FILES)}")
        self._require(is_sha256(self.weights_sha256), "weights_sha256", "64 hexadecimal digits")
        self._require(isinstance(self.seeds, tuple) and are_seeds(self.seeds), "seeds", "one or more integers")
        self._require_contract()
        require_training_record(self.training_data, "training_data")

    def _require_contract(self) -> None:
        """Check the properties that callers of the graph rely on: classes, input, standardization and temperature."""
        expected = f"two or more distinct names of columns other than {', '.join(OTHER_COLUMNS)}"
        self._require(_are_class_names(self.labels), "labels", expected)
        size = self.input_size == (IMAGE_SIZE, IMAGE_SIZE) and all(type(side) is int for side in self.input_size)
        self._require(size, "input_size", f"({IMAGE_SIZE}, {IMAGE_SIZE})")
        scale = self.standardization
        numbers = all(type(value) in (int, float) for value in scale.values())
        ok = set(scale) == {"mean", "std"} and numbers and scale["std"] > 0
        self._require(ok, "standardization", "mean and std > 0")
        expected = "value > 0, fitted_on and, if it was fitted, its figures"
        self._require(_is_temperature(self.temperature), "temperature", expected)

    def _require(self, ok: bool, key: str, expected: str) -> None:
        if not ok:
            raise CardError(f"{key}: expected {expected}, found {getattr(self, key)!r:.200}")

    def _repr_html_(self) -> str:
        """Return a summary of the card as an HTML table, which notebooks show."""
        return html_table(f"Model card of {self.architecture}", card_rows(asdict(self)))

    def temperature_text(self) -> str:
        """Return a line about the temperature scaling of the probabilities."""
        table = self.temperature
        if table["fitted_on"] == NOT_FITTED:
            return "temperature 1, not fitted"
        return (
            f"temperature {table['value']:.4f}, fitted on {table['n']:,} {table['fitted_on']} faces: "
            f"expected calibration error from {table['ece_before']:.4f} to {table['ece_after']:.4f}, "
            f"negative log likelihood from {table['nll_before']:.4f} to {table['nll_after']:.4f}"
        )

    def to_metadata(self) -> dict[str, str]:
        """Return the card as a flat table of texts for ONNX and safetensors; each value is JSON."""
        return {key: json.dumps(value, sort_keys=True) for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> ModelCard:
        """Read a card from metadata.

        Parameters
        ----------
        metadata : mapping of str to str
            Table that `to_metadata` returned.
        source : str
            Name of the file in errors.

        Raises
        ------
        CardError
            If a key is missing or unknown, or a value is invalid. No key has a default.
        """
        keys = {field.name for field in fields(cls)}
        for name, wrong in (("has no", keys - set(metadata)), ("has an unknown", set(metadata) - keys)):
            if wrong:
                raise CardError(f"{source}: the model card {name} {', '.join(sorted(wrong))}")
        values: dict[str, Any] = {}
        for key, text in metadata.items():
            try:
                value = _loads(text)
            except (ValueError, TypeError, RecursionError):
                raise CardError(f"{source}: model card, {key}: expected JSON, found {text!r:.60}") from None
            values[key] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**values)
        except CardError as error:
            raise CardError(f"{source}: model card, {error}") from None

    def save_json(self, path: Path) -> None:
        """Write the card as readable JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load_json(cls, path: Path) -> ModelCard:
        """Read a `card.json`; errors are those of `from_metadata`."""
        refuse_lfs_pointer(path, CardError)
        try:
            table = _loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CardError(f"{path}: cannot be read as a model card: {reason}") from None
        if not isinstance(table, dict):
            raise CardError(f"{path}: expected a model card, found {type(table).__name__}")
        return cls.from_metadata({key: json.dumps(value) for key, value in table.items()}, str(path))

    def require_equal(self, other: ModelCard, source: str, other_source: str) -> None:
        """Raise CardError naming a key in which two cards of one model differ.

        If their precisions differ, the keys in `OF_THE_PRECISION` may differ as well.
        """
        mine, theirs = asdict(self), asdict(other)
        if self.precision != other.precision:
            for key in OF_THE_PRECISION:
                del mine[key], theirs[key]
        if mine != theirs:
            key, one, another = _first_difference(mine, theirs)
            raise CardError(f"{source} and {other_source} disagree on {key}: {one!r:.80} and {another!r:.80}")


def unfitted_temperature() -> dict[str, Any]:
    """Return the `temperature` of a model without temperature scaling."""
    return {"value": 1.0, "fitted_on": NOT_FITTED}


def _are_class_names(names: object) -> bool:
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        return False
    usable = all(name.isprintable() and name not in ("", *OTHER_COLUMNS) for name in names)
    return usable and len(set(names)) == len(names) >= 2


def _is_temperature(table: Mapping[str, Any]) -> bool:
    if set(table) == {"value", "fitted_on"}:
        return type(table["value"]) in (int, float) and table["value"] == 1 and table["fitted_on"] == NOT_FITTED
    if set(table) != {"value", "fitted_on", *FITTED_FIGURES}:
        return False
    split = isinstance(table["fitted_on"], str) and table["fitted_on"] not in ("", NOT_FITTED)
    numbers = all(type(table[key]) in (int, float) for key in ("value", *FITTED_FIGURES))
    return split and numbers and table["value"] > 0 and type(table["n"]) is int and table["n"] > 0


def _as_json(value: object) -> Any:
    """Return a value as JSON preserves it, with lists for tuples and text for keys; None if JSON cannot store it."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None


def _loads(text: str) -> Any:
    """Parse JSON; refuse repeated keys, since one of their values would be lost."""

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise ValueError(f"a key is repeated: {', '.join(sorted({k for k in keys if keys.count(k) > 1}))}")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=table)


def _first_difference(mine: dict[str, Any], theirs: dict[str, Any], within: str = "") -> tuple[str, Any, Any]:
    """Return the dotted name of a key in which two tables differ, and both its values."""
    key = next(key for key in [*mine, *theirs] if mine.get(key, ...) != theirs.get(key, ...))
    one, another = mine.get(key, "nothing"), theirs.get(key, "nothing")
    if isinstance(one, dict) and isinstance(another, dict):
        return _first_difference(one, another, f"{within}{key}.")
    return within + key, one, another
