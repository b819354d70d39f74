"""Settings of the commands, each declared once with its default, range and help. Nothing heavy is imported here."""

from fer_explain.config.attribution import MEMORY_MB, OUTPUTS, TARGET_HELP, AttributionConfig
from fer_explain.config.evaluation import (
    CONTROLS_PER_MAP,
    CONTROLS_PER_METHOD,
    FaithfulnessConfig,
    GroundTruthConfig,
    RegionConfig,
    RegionSampleConfig,
    SampleConfig,
    SanitySampleConfig,
)
from fer_explain.config.layers import FACE_LIMIT, AscentConfig, FilterConfig
from fer_explain.config.report import ReportConfig

__all__ = [
    "CONTROLS_PER_MAP",
    "CONTROLS_PER_METHOD",
    "FACE_LIMIT",
    "MEMORY_MB",
    "OUTPUTS",
    "TARGET_HELP",
    "AscentConfig",
    "AttributionConfig",
    "FaithfulnessConfig",
    "FilterConfig",
    "GroundTruthConfig",
    "RegionConfig",
    "RegionSampleConfig",
    "ReportConfig",
    "SampleConfig",
    "SanitySampleConfig",
]
