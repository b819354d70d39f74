"""Score and evaluate exported models with ONNX Runtime, without PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_infer.attribution.maps import AttributionMaps, attributions_of
    from fer_infer.evaluation.evaluate import evaluate
    from fer_infer.photos.find import find_faces
    from fer_infer.photos.found_face import FoundFace
    from fer_infer.photos.map_overlay import overlay_map
    from fer_infer.saliency import SaliencyMaps, SaliencyModel
    from fer_infer.scorer import Scorer
    from fer_infer.scoring.crop import crop
    from fer_infer.scoring.pipeline import score
    from fer_infer.web.site import write_site

__all__ = [
    "AttributionMaps",
    "FoundFace",
    "SaliencyMaps",
    "SaliencyModel",
    "Scorer",
    "attributions_of",
    "crop",
    "evaluate",
    "find_faces",
    "overlay_map",
    "score",
    "write_site",
]

__getattr__ = attach(
    __name__,
    {
        "AttributionMaps": "fer_infer.attribution.maps",
        "FoundFace": "fer_infer.photos.found_face",
        "SaliencyMaps": "fer_infer.saliency",
        "SaliencyModel": "fer_infer.saliency",
        "Scorer": "fer_infer.scorer",
        "attributions_of": "fer_infer.attribution.maps",
        "crop": "fer_infer.scoring.crop",
        "evaluate": "fer_infer.evaluation.evaluate",
        "find_faces": "fer_infer.photos.find",
        "overlay_map": "fer_infer.photos.map_overlay",
        "score": "fer_infer.scoring.pipeline",
        "write_site": "fer_infer.web.site",
    },
)
