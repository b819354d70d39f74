"""Everything that a report shows, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fer_core.io.crop import ALIGNED
from fer_explain.report.face_maps import ClassMeans, ExplainedFaces
from fer_explain.report.internals import Internals
from fer_explain.report.map_checks import CheckedMaps
from fer_explain.report.methods import ChosenMethods
from fer_explain.report.photo_maps import PhotoMap
from fer_explain.report.predictions import ScoredFaces
from fer_explain.report.regions import MeasuredRegions
from fer_explain.report.selection import Selection
from fer_explain.verification import ComparedGraph, ComparedLogits, VerifiedModel


@dataclass(frozen=True)
class GraphComparison:
    """Logits of the explained network compared with those of the ONNX graphs; None and empty without graphs."""

    logits: ComparedLogits | None
    lower: tuple[ComparedGraph, ...]


@dataclass(frozen=True)
class MapResults:
    """Attribution maps: methods, faces shown, tests, mean maps per class, regions of the face, and photos."""

    methods: ChosenMethods
    explained: ExplainedFaces
    checked: CheckedMaps
    means: ClassMeans
    regions: MeasuredRegions
    photos: Mapping[int, PhotoMap]


@dataclass(frozen=True)
class ReportResults:
    """Results of a report.

    Attributes
    ----------
    name : str
        Name of the model's folder.
    verified : VerifiedModel
        The verified model.
    comparison : GraphComparison
        Its comparison with the ONNX graphs.
    scored : ScoredFaces
        All faces and their predictions.
    selection : Selection
        Faces that are shown.
    maps : MapResults
        Attribution maps and their tests.
    internals : Internals
        Filters, layer outputs and maximized units.
    taken : {"aligned", "detect", "whole"}
        How the faces were taken from images.
    """

    name: str
    verified: VerifiedModel
    comparison: GraphComparison
    scored: ScoredFaces
    selection: Selection
    maps: MapResults
    internals: Internals
    taken: str = ALIGNED
