"""Explain facial-expression models: attribution maps and their evaluation, layers, activation maximization, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_explain.attribution.explanation import Attributions, explain
    from fer_explain.attribution.map_file import attribute
    from fer_explain.attribution.masks import masked_face, salient_mask
    from fer_explain.attribution.registry import METHODS
    from fer_explain.config import (
        AscentConfig,
        AttributionConfig,
        FaithfulnessConfig,
        FilterConfig,
        GroundTruthConfig,
        RegionConfig,
        ReportConfig,
        SampleConfig,
    )
    from fer_explain.evaluation.faithfulness import measure_faithfulness
    from fer_explain.evaluation.ground_truth import compare_with_ground_truth
    from fer_explain.evaluation.regions.measurement import regions
    from fer_explain.evaluation.sanity import check_sanity
    from fer_explain.face_file import FaceFile
    from fer_explain.layers.feature_maps import draw_feature_maps, layer_output
    from fer_explain.layers.filters import draw_filters
    from fer_explain.layers.structure import list_layers
    from fer_explain.maximization.ascent import maximize_channels
    from fer_explain.maximization.maximize import maximize
    from fer_explain.report.report import write_report
    from fer_explain.verification import VerifiedModel, load_verified

__all__ = [
    "METHODS",
    "AscentConfig",
    "AttributionConfig",
    "Attributions",
    "FaceFile",
    "FaithfulnessConfig",
    "FilterConfig",
    "GroundTruthConfig",
    "RegionConfig",
    "ReportConfig",
    "SampleConfig",
    "VerifiedModel",
    "attribute",
    "check_sanity",
    "compare_with_ground_truth",
    "draw_feature_maps",
    "draw_filters",
    "explain",
    "layer_output",
    "list_layers",
    "load_verified",
    "masked_face",
    "maximize",
    "maximize_channels",
    "measure_faithfulness",
    "regions",
    "salient_mask",
    "write_report",
]

__getattr__ = attach(
    __name__,
    {
        "METHODS": "fer_explain.attribution.registry",
        "AscentConfig": "fer_explain.config",
        "AttributionConfig": "fer_explain.config",
        "Attributions": "fer_explain.attribution.explanation",
        "FaceFile": "fer_explain.face_file",
        "FaithfulnessConfig": "fer_explain.config",
        "FilterConfig": "fer_explain.config",
        "GroundTruthConfig": "fer_explain.config",
        "RegionConfig": "fer_explain.config",
        "ReportConfig": "fer_explain.config",
        "SampleConfig": "fer_explain.config",
        "VerifiedModel": "fer_explain.verification",
        "attribute": "fer_explain.attribution.map_file",
        "check_sanity": "fer_explain.evaluation.sanity",
        "compare_with_ground_truth": "fer_explain.evaluation.ground_truth",
        "draw_feature_maps": "fer_explain.layers.feature_maps",
        "draw_filters": "fer_explain.layers.filters",
        "explain": "fer_explain.attribution.explanation",
        "layer_output": "fer_explain.layers.feature_maps",
        "list_layers": "fer_explain.layers.structure",
        "load_verified": "fer_explain.verification",
        "masked_face": "fer_explain.attribution.masks",
        "maximize": "fer_explain.maximization.maximize",
        "maximize_channels": "fer_explain.maximization.ascent",
        "measure_faithfulness": "fer_explain.evaluation.faithfulness",
        "regions": "fer_explain.evaluation.regions.measurement",
        "salient_mask": "fer_explain.attribution.masks",
        "write_report": "fer_explain.report.report",
    },
)
