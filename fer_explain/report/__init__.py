"""The report: one self-contained page on what a model sees in faces, and the proof that this is what scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fer_core import DataError, Faces, ModelError, read_faces
from fer_core.io.reader import OnError
from fer_core.outputs.rejects import save_rejects
from fer_core.outputs.staging import staged
from fer_explain.attribution.masks import require_share
from fer_explain.evaluation.skill import assess_skill
from fer_explain.layers.structure import find_layer
from fer_explain.plots import file_uri
from fer_explain.report.face_maps import choose_methods, explain_faces, mean_maps, score_faces
from fer_explain.report.files import FOLDER, LAYER_FIGURE, save_attributions, save_figures
from fer_explain.report.internals import default_layer, look_inside
from fer_explain.report.map_checks import check_maps
from fer_explain.report.page.render import Contents, render
from fer_explain.report.selection import select_faces
from fer_explain.verification import Proven, compare_logits, compare_precisions, load_proven
from fer_infer.evaluation.metrics import evaluate_predictions

__all__ = ["report"]


def report(
    data: str | Path,
    model: str | Path,
    output: str | Path,
    *,
    rows: Sequence[int] | None = None,
    worst: int | None = None,
    split: str | None = None,
    methods: Sequence[str] | None = None,
    layer: str | int | None = None,
    share: float = 0.2,
    seed: int = 0,
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
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
        documents; and `attributions.npz` with a line for each map: `attributions` float32 (R, 48, 48), `targets`
        int64 (R,), `logits` float32 (R, classes), `rows` int64 (R,), `methods` str (R,), `deltas` float32 (R,), which
        is by how much a map misses the sum that its method promises, NaN where it promises none, and `weights_sha256`.
    rows : sequence of int, optional
        Row numbers of the faces to show; the header of a CSV is row 1.
    worst : int, optional
        How many of the most confident mistakes to show. Without `rows` and `worst`: 12 faces spread over the
        classes and, if there are labels, 6 mistakes. With labels, up to 8 faces of the two most confused pairs
        of classes are shown besides.
    split : str, optional
        Use this split only.
    methods : sequence of str, optional
        Names in `fer_explain.attribution.METHODS`, of which the first masks faces and makes the mean maps; by
        default saliency, integrated-gradients, grad-cam, occlusion and smoothgrad, where they suit the network.
    layer : str or int, optional
        The layer to look into; by default the last activation before the first pooling.
    share : float
        Share of the pixels that the masked faces keep, above 0 and at most 1.
    seed : int
        Of all chance: in the maps, their tests and the gradient ascents' starts.
    force : bool
        Replace an existing folder.
    on_error : {"fail", "skip"}
        As for `fer_core.iter_faces`; rows left out are listed in `rejects.csv` in the folder.
    input_columns : mapping of str to str, optional
        As `columns` of `fer_core.iter_faces`.

    Returns
    -------
    Path
        The page, `index.html` in `output`.

    Raises
    ------
    CardError, ModelError
        If the weights are not those of the model that scores, the two disagree on a face, or a method asked for
        would draw wrong maps of the network.
    FerError
        If the data, a row, a method, the layer or the output is not what it must be. In every case no output is left.
    """
    require_share(share)
    with staged(output, force=force, folder=FOLDER, inputs=(data, model)) as stage:
        proven = load_proven(model)
        network = proven.network
        chosen_layer = default_layer(network) if layer is None else find_layer(network, layer)
        chosen = choose_methods(network, methods)
        faces = _read(data, split, proven, on_error, input_columns)
        probabilities = score_faces(proven, faces.images)
        evaluation = None
        if faces.labels is not None:
            evaluation = evaluate_predictions(faces.labels, probabilities, proven.card.labels)
        selection = select_faces(faces, probabilities, rows, worst)
        shown = faces.take(selection.shown)
        agreement = compare_logits(proven, shown.images)
        lower = compare_precisions(proven, shown.images, agreement)
        shown_as = probabilities[list(selection.shown)]
        explained = explain_faces(proven, shown, shown_as, chosen.methods, share=share, seed=seed)
        skill = assess_skill(proven.card, faces, probabilities)
        skill.warn(str(model))
        checked = check_maps(proven, explained, faces, skill, seed=seed)
        predicted = probabilities.argmax(axis=1).astype(np.int64)
        means = mean_maps(proven, faces, predicted, chosen.methods[0], seed=seed)
        inside = look_inside(proven, chosen_layer, shown if len(shown) else faces, faces, seed=seed)
        save_attributions(stage / "attributions.npz", explained, proven)
        save_figures(stage / "figures", explained, means, inside, evaluation, proven)
        contents = Contents(
            name=Path(model).resolve().name,
            proven=proven,
            agreement=agreement,
            lower=lower,
            faces=faces,
            probabilities=probabilities,
            evaluation=evaluation,
            selection=selection,
            methods=chosen,
            explained=explained,
            checked=checked,
            means=means,
            inside=inside,
            layer_figure=file_uri(stage / "figures" / LAYER_FIGURE) if inside.outputs.ndim == 1 else None,
        )
        save_rejects(stage, faces.rejected)
        (stage / "index.html").write_text(render(contents), encoding="utf-8", errors="backslashreplace")
    return Path(output) / "index.html"


def _read(
    data: str | Path, split: str | None, proven: Proven, on_error: OnError, columns: Mapping[str, str] | None
) -> Faces:
    faces = read_faces(data, split, on_error=on_error, columns=columns)
    if not len(faces):
        raise DataError(str(data), "has no faces")
    classes = len(proven.card.labels)
    if faces.labels is not None and faces.labels.max() >= classes:
        raise ModelError(
            f"{proven.weights_file}: has {classes} classes, but {faces.source} labels up to {faces.labels.max()}"
        )
    return faces
