"""Attribution methods: which pixels a decision depends on.

By default a logit is explained, not a probability: through the softmax a class also rises when another one falls, and
its gradient vanishes where the network is certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_explain.attribution.attributions import (
        BATCH_SIZE,
        attributions_of,
        batch_size_for,
        explainable,
    )
    from fer_explain.attribution.convergence import error_text, missed_shares, unfinished_maps
    from fer_explain.attribution.methods.batch import Batch, baseline_of
    from fer_explain.attribution.methods.hooks import cam_layer
    from fer_explain.attribution.registry import METHODS, Method, find_method, methods_table
    from fer_explain.attribution.targets import resolve_targets
    from fer_explain.config import AttributionConfig

__all__ = [
    "BATCH_SIZE",
    "METHODS",
    "AttributionConfig",
    "Batch",
    "Method",
    "attributions_of",
    "baseline_of",
    "batch_size_for",
    "cam_layer",
    "error_text",
    "explainable",
    "find_method",
    "methods_table",
    "missed_shares",
    "resolve_targets",
    "unfinished_maps",
]

__getattr__ = attach(
    __name__,
    {
        **dict.fromkeys(
            ("BATCH_SIZE", "attributions_of", "batch_size_for", "explainable"), "fer_explain.attribution.attributions"
        ),
        **dict.fromkeys(("error_text", "missed_shares", "unfinished_maps"), "fer_explain.attribution.convergence"),
        **dict.fromkeys(("Batch", "baseline_of"), "fer_explain.attribution.methods.batch"),
        **dict.fromkeys(("METHODS", "Method", "find_method", "methods_table"), "fer_explain.attribution.registry"),
        "AttributionConfig": "fer_explain.config",
        "cam_layer": "fer_explain.attribution.methods.hooks",
        "resolve_targets": "fer_explain.attribution.targets",
    },
)
