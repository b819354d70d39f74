"""The model card: what a model is, what it was trained on and how well it did, carried by every artefact."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from fer_core.errors import CardError
from fer_core.expressions import IMAGE_SIZE

SCHEMA_VERSION: Final = 1
PRECISIONS: Final = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class ModelCard:
    """One card, the same in `card.json`, in the safetensors metadata and in the ONNX `metadata_props`.

    Attributes
    ----------
    architecture : str
        Name in the registry of `fer_train.models`.
    architecture_arguments : dict
        What the registry's constructor was called with.
    labels : tuple of str
        Class names; the position is the column of `logits` and `probabilities`.
    input_size : tuple of int
        (height, width) in pixels.
    standardization : dict
        `mean` and `std` in pixel units; the first layer computes (pixel - mean) / std.
    precision : {"fp32", "fp16", "int8"}
        Of the graph that carries the card.
    weights_sha256 : str
        Over the float32 tensors of `weights.safetensors`; see `fer_train.checkpoint.weights_sha256`.
    training_data : dict
        `source`, `sha256` of images and labels, and `rows` by split.
    selection : str
        Which weights of the run were kept, and on which split anything was chosen.
    seeds : tuple of int
        One a training run that went into the weights.
    scores : dict
        By split, then by figure: `n`, `accuracy`, `wilson_95`, `tta`.
    versions : dict
        Library versions at export.
    git_commit : str
        Of the code that exported, with `+changes` if it was not committed; `unknown` outside a checkout.
    schema_version : int
        Of this record.
    """

    architecture: str
    architecture_arguments: dict[str, Any]
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    standardization: dict[str, float]
    precision: str
    weights_sha256: str
    training_data: dict[str, Any]
    selection: str
    seeds: tuple[int, ...]
    scores: dict[str, Any]
    versions: dict[str, str]
    git_commit: str
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        def require(ok: bool, key: str, expected: str) -> None:
            if not ok:
                raise CardError(f"{key}: expected {expected}, found {getattr(self, key)!r}")

        require(self.schema_version == SCHEMA_VERSION, "schema_version", str(SCHEMA_VERSION))
        for key in ("architecture", "selection", "git_commit"):
            require(isinstance(getattr(self, key), str) and getattr(self, key) != "", key, "a text")
        for key in ("architecture_arguments", "training_data", "scores", "versions"):
            require(isinstance(getattr(self, key), dict), key, "a table")
        names = isinstance(self.labels, tuple) and all(isinstance(name, str) for name in self.labels)
        require(names and len(set(self.labels)) == len(self.labels) >= 2, "labels", "two or more distinct names")
        require(self.input_size == (IMAGE_SIZE, IMAGE_SIZE), "input_size", f"({IMAGE_SIZE}, {IMAGE_SIZE})")
        scale = self.standardization if isinstance(self.standardization, dict) else {}
        numbers = all(isinstance(value, int | float) for value in scale.values())
        require(set(scale) == {"mean", "std"} and numbers and scale["std"] > 0, "standardization", "mean and std > 0")
        require(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}")
        sha = isinstance(self.weights_sha256, str) and re.fullmatch("[0-9a-f]{64}", self.weights_sha256)
        require(bool(sha), "weights_sha256", "64 hexadecimal digits")
        whole = isinstance(self.seeds, tuple) and all(type(seed) is int for seed in self.seeds)
        require(whole and bool(self.seeds), "seeds", "one or more integers")

    def to_metadata(self) -> dict[str, str]:
        """Return the card as the flat text table that ONNX and safetensors can carry; each value is JSON."""
        return {key: json.dumps(value, sort_keys=True) for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], source: str) -> ModelCard:
        """Read a card back.

        Parameters
        ----------
        metadata : mapping of str to str
            As `to_metadata` returns it.
        source : str
            The file it came from, for the errors.

        Raises
        ------
        CardError
            If a key is missing, unknown, or its value is not what it must be. Nothing has a default.
        """
        keys = {field.name for field in fields(cls)}
        for name, wrong in (("has no", keys - set(metadata)), ("has an unknown", set(metadata) - keys)):
            if wrong:
                raise CardError(f"{source}: the model card {name} {', '.join(sorted(wrong))}")
        values: dict[str, Any] = {}
        for key, text in metadata.items():
            try:
                value = json.loads(text)
            except (json.JSONDecodeError, TypeError):
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
        """Read a `card.json`; errors as for `from_metadata`."""
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CardError(f"{path}: cannot be read as a model card: {error}") from None
        if not isinstance(table, dict):
            raise CardError(f"{path}: expected a model card, found {type(table).__name__}")
        return cls.from_metadata({key: json.dumps(value) for key, value in table.items()}, str(path))

    def require_equal(self, other: ModelCard, source: str, other_source: str) -> None:
        """Raise CardError naming the first key in which two cards of one model differ, precision aside."""
        mine, theirs = asdict(replace(self, precision=other.precision)), asdict(other)
        for key, value in mine.items():
            if value != theirs[key]:
                raise CardError(f"{source} and {other_source} disagree on {key}: {value!r:.80} and {theirs[key]!r:.80}")
