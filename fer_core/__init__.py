"""Definitions that training, scoring and explaining share: faces and their files, labels, model cards. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_core.errors import (
    CardError,
    ConfigError,
    DataError,
    DataWarning,
    DeviceError,
    FerError,
    FerWarning,
    ModelError,
    OutputError,
    TrainingWarning,
)
from fer_core.fer2013 import EXPRESSIONS, IMAGE_SIZE, PIXELS, SPLITS
from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_core.faces import Faces
    from fer_core.io.in_memory import as_faces
    from fer_core.io.reader import iter_faces, read_faces
    from fer_core.model_card import ModelCard

__all__ = [
    "EXPRESSIONS",
    "IMAGE_SIZE",
    "PIXELS",
    "SPLITS",
    "CardError",
    "ConfigError",
    "DataError",
    "DataWarning",
    "DeviceError",
    "Faces",
    "FerError",
    "FerWarning",
    "ModelCard",
    "ModelError",
    "OutputError",
    "TrainingWarning",
    "as_faces",
    "iter_faces",
    "read_faces",
]

if not TYPE_CHECKING:  # a type checker that sees `__getattr__` accepts any name
    __getattr__ = attach(
        __name__,
        {
            "Faces": "fer_core.faces",
            "ModelCard": "fer_core.model_card",
            "as_faces": "fer_core.io.in_memory",
            "iter_faces": "fer_core.io.reader",
            "read_faces": "fer_core.io.reader",
        },
    )
