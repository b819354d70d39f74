"""Network architectures, their registry, and how large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_train.models.complexity import count_multiply_adds, count_parameters
    from fer_train.models.registry import ARCHITECTURES, ENSEMBLE, as_json, build_model, find_architecture

__all__ = [
    "ARCHITECTURES",
    "ENSEMBLE",
    "as_json",
    "build_model",
    "count_multiply_adds",
    "count_parameters",
    "find_architecture",
]

__getattr__ = attach(
    __name__,
    {
        **dict.fromkeys(("count_multiply_adds", "count_parameters"), "fer_train.models.complexity"),
        **dict.fromkeys(
            ("ARCHITECTURES", "ENSEMBLE", "as_json", "build_model", "find_architecture"), "fer_train.models.registry"
        ),
    },
)
