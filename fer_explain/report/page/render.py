"""The page as HTML: the sections of a report, filled into the template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fer_core.io.crop import ALIGNED, DETECT, WHOLE
from fer_explain.plots import file_uri
from fer_explain.report.files import LAYER_FIGURE
from fer_explain.report.page.accuracy import confused_view, evaluation_view, label_errors_view
from fer_explain.report.page.faces import FaceCard, face_cards, methods_view, tests_view
from fer_explain.report.page.network import (
    card_rows,
    filters_view,
    layer_view,
    maximization_view,
    means_view,
    verification_view,
)
from fer_explain.report.page.regions import regions_view
from fer_explain.report.predictions import ScoredFaces
from fer_explain.report.results import ReportResults
from fer_explain.report.selection import Selection

TAKEN: Final = {ALIGNED: "", DETECT: "found in photos (detect)", WHOLE: "whole pictures, resized to 48x48 (whole)"}
"""Setting `faces` -> where the faces come from, in words."""

TEMPLATE: Final = "page.html.jinja"


def render(results: ReportResults, figures: Path) -> str:
    """Return the page as HTML; all values are escaped.

    Parameters
    ----------
    results : ReportResults
        Everything that the page shows.
    figures : Path
        Folder of the figures, one of which is embedded for a dense layer.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(_sections(results, figures))


def _sections(results: ReportResults, figures: Path) -> dict[str, Any]:
    """Return the variables of the template by name."""
    verified, scored, selection, maps = results.verified, results.scored, results.selection, results.maps
    names, internals = verified.card.labels, results.internals
    cards = face_cards(maps.explained, maps.checked, names, maps.photos)
    is_image = internals.outputs.ndim == 3
    return {
        "name": results.name,
        "architecture": verified.card.architecture,
        "labels": names,
        "data": _data_view(scored, results.taken),
        **_shown_faces(scored, selection, cards),
        "evaluation": evaluation_view(scored, selection),
        "confused": confused_view(scored, selection, cards),
        "label_errors": label_errors_view(scored, selection, names),
        "n_label_errors": selection.n_label_errors,
        "methods": methods_view(maps.methods, maps.explained),
        "tests": tests_view(maps.checked, maps.explained),
        "never_predicted": [name for name, n in zip(names, maps.means.counts, strict=True) if not n],
        "regions": regions_view(maps.regions, maps.explained.methods[0].name),
        "means": means_view(maps.means, names, signed=maps.explained.methods[0].signed),
        "filters": filters_view(internals.first_filters),
        "layer": layer_view(internals),
        "layer_figure": None if is_image else file_uri(figures / LAYER_FIGURE),
        "maximization": maximization_view(internals, names),
        "verification": verification_view(verified, results.comparison, maps.explained.faces.rows.tolist()),
        "card": card_rows(verified.card),
    }


def _data_view(scored: ScoredFaces, taken: str) -> dict[str, Any]:
    faces = scored.faces
    return {
        "source": Path(faces.source).name or faces.source,
        "splits": [] if faces.splits is None else list(dict.fromkeys(faces.splits.tolist())),
        "n": len(faces),
        "taken": TAKEN[taken],
    }


def _shown_faces(scored: ScoredFaces, selection: Selection, cards: dict[int, FaceCard]) -> dict[str, Any]:
    """Return the cards of the chosen faces and of the mistakes; each face has one card."""
    rows = scored.faces.rows
    chosen = [cards[row] for row in rows[list(selection.chosen)].tolist()]
    mistakes = rows[list(selection.mistakes)].tolist()
    above = {card.row for card in chosen}
    return {
        "chosen": chosen,
        "mistakes": [cards[row] for row in mistakes if row not in above],
        "mistakes_above": [row for row in mistakes if row in above],
    }
