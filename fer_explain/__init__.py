"""What a model sees in faces: attributions, layer outputs, gradient ascent, and the report that holds them together.

The commands' functions of the same names as their modules are imported from there:
``from fer_explain.layers.feature_maps import feature_maps`` and ``from fer_explain.report import report``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_explain.attribution import METHODS, AttributionConfig, attributions_of, saliency
    from fer_explain.attribution.map_file import attribute
    from fer_explain.attribution.masks import masked_face, salient_mask
    from fer_explain.evaluation.metrics.faithfulness import FaithfulnessConfig, measure_faithfulness
    from fer_explain.layers.feature_maps import layer_output
    from fer_explain.layers.structure import list_layers
    from fer_explain.maximization.ascent import AscentConfig, maximize_channels
    from fer_explain.maximization.maximize import maximize
    from fer_explain.plots import normalize
    from fer_explain.verification import compare_logits, load_verified

__all__ = [
    "METHODS",
    "AscentConfig",
    "FaithfulnessConfig",
    "AttributionConfig",
    "attribute",
    "attributions_of",
    "compare_logits",
    "layer_output",
    "list_layers",
    "load_verified",
    "masked_face",
    "maximize",
    "maximize_channels",
    "measure_faithfulness",
    "normalize",
    "saliency",
    "salient_mask",
]

__getattr__ = attach(
    __name__,
    {
        "METHODS": "fer_explain.attribution",
        "AscentConfig": "fer_explain.maximization.ascent",
        "FaithfulnessConfig": "fer_explain.evaluation.metrics.faithfulness",
        "AttributionConfig": "fer_explain.attribution",
        "attribute": "fer_explain.attribution.map_file",
        "attributions_of": "fer_explain.attribution",
        "compare_logits": "fer_explain.verification",
        "layer_output": "fer_explain.layers.feature_maps",
        "list_layers": "fer_explain.layers.structure",
        "load_verified": "fer_explain.verification",
        "masked_face": "fer_explain.attribution.masks",
        "maximize": "fer_explain.maximization.maximize",
        "maximize_channels": "fer_explain.maximization.ascent",
        "measure_faithfulness": "fer_explain.evaluation.metrics.faithfulness",
        "normalize": "fer_explain.plots",
        "salient_mask": "fer_explain.attribution.masks",
        "saliency": "fer_explain.attribution",
    },
)
