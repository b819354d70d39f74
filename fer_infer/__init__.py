"""Scoring and evaluation with ONNX Runtime alone; nothing here imports torch, and nothing heavy before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_infer.evaluation.evaluate import evaluate
    from fer_infer.scorer import Scorer
    from fer_infer.scoring.pipeline import score

__all__ = ["Scorer", "evaluate", "score"]

_HOMES = {
    "Scorer": "fer_infer.scorer",
    "evaluate": "fer_infer.evaluation.evaluate",
    "score": "fer_infer.scoring.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), because ONNX Runtime and scikit-learn take longer to load than `--help` may."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
