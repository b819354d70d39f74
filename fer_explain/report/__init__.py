"""The report: one self-contained page on what a model sees in faces, and the proof that this is what scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fer_core import DataError, Faces, ModelError, read_faces
from fer_core.output import staged
from fer_explain.feature_maps import feature_map_sheet, names_of_units
from fer_explain.figures import file_uri, overlay, save_figure, sheet
from fer_explain.layers import find_layer
from fer_explain.maximization import maximization_sheet
from fer_explain.proof import Proven, compare_logits, load_proven
from fer_explain.report import page
from fer_explain.report.explained import (
    ExplainedFaces,
    Inside,
    default_layer,
    explain_faces,
    look_inside,
    score_faces,
)
from fer_explain.report.selection import Selection, select_faces
from fer_infer.metrics import Evaluation, evaluate_predictions

__all__ = ["report"]

LAYER_FIGURE: Final = "layer_outputs.png"


def report(
    data: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    rows: Sequence[int] | None = None,
    worst: int | None = None,
    usage: str | None = None,
    layer: str | int | None = None,
    share: float = 0.2,
    seed: int = 0,
    force: bool = False,
) -> Path:
    """Write a report on how a model sees the faces of a file.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them. With labels, all of them are scored for the accuracy.
    model : str or Path
        An exports folder or a run. A run that was never exported is explained without the comparison with the graph
        that scores, and the report says so.
    output : str or Path
        The folder to make: `index.html`, which needs nothing else; `figures/` with the same pictures for other
        documents; and `attributions.npz` with `attributions` and `other_attributions` float32 (N, 48, 48), `targets`
        and `other_targets` int64 (N,), `logits` float32 (N, classes), `rows` int64 (N,), `method` and
        `weights_sha256`.
    rows : sequence of int, optional
        Row numbers of the faces to show; the header of a CSV is row 1.
    worst : int, optional
        How many of the most confident mistakes to show. Without `rows` and `worst`: 12 faces spread over the
        classes and, if there are labels, 6 mistakes.
    usage : str, optional
        Use this split only.
    layer : str or int, optional
        The layer to look into; by default the last activation before the first pooling.
    share : float
        Share of the pixels that the masked faces keep, above 0 and at most 1.
    seed : int
        Of the gradient ascent's start.
    force : bool
        Replace an existing folder.

    Returns
    -------
    Path
        The page, `index.html` in `output`.

    Raises
    ------
    CardError, ModelError
        If the weights are not those of the model that scores, or the two disagree on a face.
    FerError
        If the data, a row, the layer or the output is not what it must be. In every case no output is left.
    """
    with staged(output, force=force, folder=True) as stage:
        proven = load_proven(model)
        chosen_layer = default_layer(proven.network) if layer is None else find_layer(proven.network, layer)
        faces = _read(data, usage, proven)
        probabilities = score_faces(proven, faces.images)
        evaluation = None
        if faces.labels is not None:
            evaluation = evaluate_predictions(faces.labels, probabilities, proven.card.labels)
        selection = select_faces(faces, probabilities, rows, worst)
        shown = faces.take(np.array(selection.shown, np.intp))
        agreement = compare_logits(proven, shown.images)
        explained = explain_faces(proven, shown, share=share)
        inside = look_inside(proven, chosen_layer, shown if len(shown) else faces, seed=seed)
        _save_attributions(stage / "attributions.npz", explained, proven)
        _save_figures(stage / "figures", explained, inside, evaluation, proven)
        context = _context(proven, faces, evaluation, selection, explained, inside)
        context["proof"] = page.proof_view(proven, explained, agreement)
        context["name"] = Path(model).resolve().name
        context["layer_figure"] = file_uri(stage / "figures" / LAYER_FIGURE) if inside.outputs.ndim == 1 else None
        (stage / "index.html").write_text(page.render(context), encoding="utf-8")
    return Path(output) / "index.html"


def _read(data: str | Path, usage: str | None, proven: Proven) -> Faces:
    faces = read_faces(data, usage)
    if not len(faces):
        raise DataError(str(data), "has no face" + ("" if usage is None else f" of usage {usage!r}"))
    classes = len(proven.card.labels)
    if faces.labels is not None and faces.labels.max() >= classes:
        raise ModelError(
            f"{proven.weights_file}: has {classes} classes, but {faces.source} labels up to {faces.labels.max()}"
        )
    return faces


def _context(
    proven: Proven,
    faces: Faces,
    evaluation: Evaluation | None,
    selection: Selection,
    explained: ExplainedFaces,
    inside: Inside,
) -> dict[str, Any]:
    names = proven.card.labels
    views = page.face_views(explained, names)
    splits = [] if faces.usage is None else list(dict.fromkeys(faces.usage.tolist()))
    return {
        "architecture": proven.card.architecture,
        "source": Path(faces.source).name or faces.source,
        "splits": splits,
        "n": len(faces),
        "labels": names,
        "card": page.card_rows(proven.card),
        "evaluation": page.evaluation_view(evaluation, faces),
        "chosen": [views[row] for row in faces.rows[list(selection.chosen)].tolist()],
        "mistakes": [views[row] for row in faces.rows[list(selection.mistakes)].tolist()],
        "method": page.method_view(explained),
        "inside": page.inside_view(inside, names_of_units(inside.layer, names)),
    }


def _save_attributions(path: Path, explained: ExplainedFaces, proven: Proven) -> None:
    np.savez(
        path,
        attributions=explained.attributions,
        targets=explained.targets,
        other_attributions=explained.other_attributions,
        other_targets=explained.others,
        logits=explained.logits,
        rows=explained.faces.rows,
        method=np.array(explained.method.name),
        weights_sha256=np.array(proven.weights_sha256),
    )


def _save_figures(
    folder: Path, explained: ExplainedFaces, inside: Inside, evaluation: Evaluation | None, proven: Proven
) -> None:
    from fer_infer.figures import save_confusion

    folder.mkdir()
    names = proven.card.labels
    if evaluation is not None:
        title = f"{proven.card.architecture}: {evaluation.accuracy:.2%} of {evaluation.n:,} faces"
        save_confusion(evaluation.confusion, names, folder / "confusion.png", title)
    units = names_of_units(inside.layer, names)
    layer_sheet = feature_map_sheet(inside.outputs, inside.layer, inside.row, units)
    save_figure(layer_sheet, folder / LAYER_FIGURE)
    save_figure(maximization_sheet(inside.maximization, units), folder / "maximization.png")
    faces, signed = explained.faces, explained.method.signed
    maps = [
        overlay(faces.images, each, signed=signed) for each in (explained.attributions, explained.other_attributions)
    ]
    for i, row in enumerate(faces.rows.tolist()):
        gray = [np.repeat(image[i][..., None], 3, axis=2) for image in (faces.images, explained.masked)]
        predicted, other = names[explained.targets[i]], names[explained.others[i]]
        captions = ["original", f"for {predicted} (predicted)", f"for {other}", f"salient {explained.share:.0%}"]
        true = "" if faces.labels is None else f", true {names[faces.labels[i]]}"
        title = f"Row {row}: predicted {predicted}{true}, {explained.method.name}"
        tiles = np.stack([gray[0], maps[0][i], maps[1][i], gray[1]])
        save_figure(sheet(tiles, captions, title, tile_pixels=192), folder / f"face_row_{row}.png")
