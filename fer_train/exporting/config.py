"""Settings of an export, each declared once with its default, range and help."""

from __future__ import annotations

from dataclasses import dataclass

from fer_core.errors import ConfigError
from fer_core.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Settings):
    """Settings of an export."""

    atol: float = setting(
        1e-4, "Largest absolute difference of a logit between PyTorch and ONNX Runtime that passes.", above=0
    )
    int8: bool = setting(False, "Also write model.int8.onnx, for CPUs.")
    int8_tolerance: float = setting(0.3, "Points of accuracy that the int8 graph may lose.", at_least=0)
    fp16: bool = setting(False, "Also write model.fp16.onnx, for GPUs.")

    saliency: bool = setting(
        False, "Also write saliency.onnx, which explains the float32 model: its gradient at the pixels, and Grad-CAM."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.int8 and self.int8_tolerance != type(self).int8_tolerance:
            raise ConfigError("requires `int8=True`", parameter="int8_tolerance")
