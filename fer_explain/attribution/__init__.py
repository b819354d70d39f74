"""Which pixels a decision depends on: attribution methods, one registry, batched over faces.

What is explained is a logit unless a probability is asked for: the softmax lets a class rise because another one
falls, and its gradient vanishes where the network is sure.
"""

from fer_explain.attribution.attributions import (
    BATCH_SIZE,
    attributions_of,
    batch_size_for,
    explainable,
    missed_shares,
    saliency,
)
from fer_explain.attribution.hooks import cam_layer
from fer_explain.attribution.registry import METHODS, Method, find_method, methods_table
from fer_explain.attribution.settings import Batch, Settings, baseline_of
from fer_explain.attribution.targets import resolve_targets

__all__ = [
    "BATCH_SIZE",
    "METHODS",
    "Batch",
    "Method",
    "Settings",
    "attributions_of",
    "baseline_of",
    "batch_size_for",
    "cam_layer",
    "explainable",
    "find_method",
    "methods_table",
    "missed_shares",
    "resolve_targets",
    "saliency",
]
