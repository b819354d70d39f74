"""What a model sees in faces: attributions, layer outputs, gradient ascent, and the report that holds them together.

The commands' functions of the same names as their modules are imported from there:
``from fer_explain.layers.feature_maps import feature_maps`` and ``from fer_explain.report import report``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fer_explain.attribution import METHODS, Settings, attributions_of, saliency
    from fer_explain.attribution.map_file import attribute
    from fer_explain.attribution.masks import masked_face, normalize, salient_mask
    from fer_explain.evaluation.metrics.faithfulness import FaithfulnessConfig, measure_faithfulness
    from fer_explain.layers.feature_maps import layer_output
    from fer_explain.layers.structure import list_layers
    from fer_explain.maximization.ascent import AscentConfig, maximize_channels
    from fer_explain.maximization.maximize import maximize
    from fer_explain.verification import compare_logits, load_proven

__all__ = [
    "METHODS",
    "AscentConfig",
    "FaithfulnessConfig",
    "Settings",
    "attribute",
    "attributions_of",
    "compare_logits",
    "layer_output",
    "list_layers",
    "load_proven",
    "masked_face",
    "maximize",
    "maximize_channels",
    "measure_faithfulness",
    "normalize",
    "saliency",
    "salient_mask",
]

_HOMES = {
    "METHODS": "attribution",
    "AscentConfig": "ascent",
    "FaithfulnessConfig": "measures.faithfulness",
    "Settings": "attribution",
    "attribute": "map_file",
    "attributions_of": "attribution",
    "compare_logits": "proof",
    "layer_output": "feature_maps",
    "list_layers": "layers",
    "load_proven": "proof",
    "masked_face": "saliency_mask",
    "maximize": "maximization",
    "maximize_channels": "ascent",
    "measure_faithfulness": "measures.faithfulness",
    "normalize": "saliency_mask",
    "salient_mask": "saliency_mask",
    "saliency": "attribution",
}


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), because torch and Captum take longer to load than `--help` may."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"fer_explain.{_HOMES[name]}"), name)
