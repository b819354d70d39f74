"""What a model sees in faces: attributions, layers, activation maximization, and the report that combines them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_explain.attribution import METHODS, Settings, attributions_of, saliency
    from fer_explain.attribution.map_file import attribute
    from fer_explain.attribution.masks import masked_face, salient_mask
    from fer_explain.config import AscentConfig, FilterConfig, ReportConfig
    from fer_explain.evaluation.metrics.faithfulness import FaithfulnessConfig, measure_faithfulness
    from fer_explain.layers.feature_maps import draw_feature_maps, layer_output
    from fer_explain.layers.filters import draw_filters
    from fer_explain.layers.structure import list_layers
    from fer_explain.maximization.ascent import maximize_channels
    from fer_explain.maximization.maximize import maximize
    from fer_explain.plots import normalize
    from fer_explain.report.report import write_report
    from fer_explain.verification import compare_logits, load_proven

__all__ = [
    "METHODS",
    "AscentConfig",
    "FaithfulnessConfig",
    "FilterConfig",
    "ReportConfig",
    "Settings",
    "attribute",
    "attributions_of",
    "compare_logits",
    "draw_feature_maps",
    "draw_filters",
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
    "write_report",
]

__getattr__ = attach(
    __name__,
    {
        "METHODS": "fer_explain.attribution",
        "AscentConfig": "fer_explain.config",
        "FaithfulnessConfig": "fer_explain.evaluation.metrics.faithfulness",
        "FilterConfig": "fer_explain.config",
        "ReportConfig": "fer_explain.config",
        "Settings": "fer_explain.attribution",
        "attribute": "fer_explain.attribution.map_file",
        "attributions_of": "fer_explain.attribution",
        "compare_logits": "fer_explain.verification",
        "draw_feature_maps": "fer_explain.layers.feature_maps",
        "draw_filters": "fer_explain.layers.filters",
        "layer_output": "fer_explain.layers.feature_maps",
        "list_layers": "fer_explain.layers.structure",
        "load_proven": "fer_explain.verification",
        "masked_face": "fer_explain.attribution.masks",
        "maximize": "fer_explain.maximization.maximize",
        "maximize_channels": "fer_explain.maximization.ascent",
        "measure_faithfulness": "fer_explain.evaluation.metrics.faithfulness",
        "normalize": "fer_explain.plots",
        "salient_mask": "fer_explain.attribution.masks",
        "saliency": "fer_explain.attribution",
        "write_report": "fer_explain.report.report",
    },
)
