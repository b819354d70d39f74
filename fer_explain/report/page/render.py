"""The page: everything that was found out, filled into the template."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_explain.report.face_maps import ChosenMethods, ClassMeans, ExplainedFaces
from fer_explain.report.internals import Inside
from fer_explain.report.map_checks import CheckedMaps
from fer_explain.report.page.accuracy import confused_view, evaluation_view, suspects_view
from fer_explain.report.page.faces import face_cards, methods_view, trust_view
from fer_explain.report.page.network import card_rows, filters_view, inside_view, means_view, proof_view
from fer_explain.report.selection import CELL_FACES, Selection
from fer_explain.verification import ComparedGraph, ComparedLogits, VerifiedModel
from fer_infer.evaluation.metrics import Evaluation

TEMPLATE: Final = "page.html.jinja"


@dataclass(frozen=True)
class Contents:
    """All that a report tells.

    Attributes
    ----------
    name : str
        Of the model's folder.
    proven, agreement, lower
        The network, and its logits beside those of the graphs that score.
    faces, probabilities, evaluation, selection
        The whole file, what was predicted, how well, and which faces are shown.
    methods, explained, checked, means
        The maps and what tests say of them.
    inside : Inside
        The network looked into.
    layer_figure : str or None
        Data URI of the layer's outputs where they are no pictures.
    """

    name: str
    proven: VerifiedModel
    agreement: ComparedLogits | None
    lower: tuple[ComparedGraph, ...]
    faces: Faces
    probabilities: NDArray[np.float32]
    evaluation: Evaluation | None
    selection: Selection
    methods: ChosenMethods
    explained: ExplainedFaces
    checked: CheckedMaps
    means: ClassMeans
    inside: Inside
    layer_figure: str | None


def render(contents: Contents) -> str:
    """Write the page as HTML; every value is escaped, and a missing one is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(_context(contents))


def _context(contents: Contents) -> dict[str, Any]:
    faces, selection, probabilities = contents.faces, contents.selection, contents.probabilities
    explained, names = contents.explained, contents.proven.card.labels
    cards = face_cards(explained, contents.checked, names)
    chosen = [cards[row] for row in faces.rows[list(selection.chosen)].tolist()]
    mistaken = faces.rows[list(selection.mistakes)].tolist()
    above = {card.row for card in chosen}
    return {
        "name": contents.name,
        "architecture": contents.proven.card.architecture,
        "source": Path(faces.source).name or faces.source,
        "splits": [] if faces.splits is None else list(dict.fromkeys(faces.splits.tolist())),
        "n": len(faces),
        "labels": names,
        "chosen": chosen,
        "mistakes": [cards[row] for row in mistaken if row not in above],
        "mistakes_above": [row for row in mistaken if row in above],
        "evaluation": evaluation_view(contents.evaluation, faces, selection, probabilities),
        "confused": confused_view(contents.evaluation, faces, selection, cards),
        "suspects": suspects_view(faces, selection, probabilities, names),
        "suspected": selection.suspected,
        "cell_faces": CELL_FACES,
        "methods": methods_view(contents.methods, explained),
        "trust": trust_view(contents.checked, explained),
        "never": [name for name, n in zip(names, contents.means.counts, strict=True) if not n],
        "means": means_view(contents.means, names, signed=explained.methods[0].signed),
        "filters": filters_view(contents.inside.filters),
        "inside": inside_view(contents.inside, names),
        "layer_figure": contents.layer_figure,
        "proof": proof_view(contents.proven, explained, contents.agreement, contents.lower),
        "card": card_rows(contents.proven.card),
    }
