"""Files next to the page of a report: maps as numbers, and figures as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE
from fer_core.outputs.map_colors import overlay, scale_strip
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE
from fer_explain.attribution import Method, error_text
from fer_explain.layers.feature_maps import feature_map_sheet
from fer_explain.layers.structure import class_names_of
from fer_explain.maximization.maximize import maximization_sheet
from fer_explain.plots import save_figure
from fer_explain.report.face_maps import ClassMeans, ExplainedFaces
from fer_explain.report.internals import Internals
from fer_explain.report.results import ReportResults
from fer_explain.sheets import LARGE_TILE, sheet
from fer_explain.verification import VerifiedModel
from fer_infer.attribution.differentiable import DELTAS, ERRORS, SAMPLES

FIGURES: Final = "figures"
LAYER_FIGURE: Final = "layer_outputs.png"
OTHER_FIGURES: Final = ("confusion", "maximization", "classes", "class_means", "face_row_*", "photo_row_*")

FOLDER: Final = OutputFolder(
    always=("index.html", "attributions.npz"),
    sometimes=(f"{FIGURES}/{LAYER_FIGURE}", *(f"{FIGURES}/{name}.png" for name in OTHER_FIGURES), REJECTS_FILE),
)
"""Names of the files in the output folder."""

SCALE_CAPTIONS: Final = {False: "no / strongest influence", True: "against / for the class"}
"""Whether maps are signed -> caption of their color scale."""


def save_attributions(path: Path, explained: ExplainedFaces, verified: VerifiedModel) -> None:
    """Write one entry per map: values, row number, class, method, its errors and the logits of the face.

    Entries are ordered by method, then predicted before other classes, then by face.
    """
    methods = [method.name for method in explained.methods]
    maps = np.stack([side.attributions for side in explained.sides], axis=1)
    n, repeats = len(explained.faces), 2 * len(methods)
    errors: dict[str, Any] = {
        name: np.stack([getattr(side, name) for side in explained.sides], axis=1).reshape(-1)
        for name in (DELTAS, SAMPLES, ERRORS)
    }
    np.savez(
        path,
        attributions=maps.reshape(-1, *maps.shape[-2:]),
        targets=np.tile(np.concatenate([side.classes for side in explained.sides]), len(methods)),
        logits=np.tile(explained.logits, (repeats, 1)),
        rows=np.tile(explained.faces.rows, repeats),
        methods=np.repeat(np.array(methods), 2 * n),
        **errors,
        weights_sha256=np.array(verified.weights_sha256),
    )


def save_figures(folder: Path, results: ReportResults) -> None:
    """Write the images of the page as sheets with titles."""
    from PIL import Image

    from fer_infer.evaluation.plots import save_confusion

    folder.mkdir()
    card, evaluation, explained = results.verified.card, results.scored.evaluation, results.maps.explained
    if evaluation is not None:
        title = f"{card.architecture}: accuracy {evaluation.accuracy:.2%} on {evaluation.n:,} faces"
        save_confusion(evaluation.confusion, card.labels, folder / "confusion.png", title)
    _save_internals(folder, results.internals, card.labels)
    _save_means(folder / "class_means.png", results.maps.means, explained.methods[0], card.labels)
    for i, row in enumerate(explained.faces.rows.tolist()):
        _save_face(folder / f"face_row_{row}.png", explained, i, card.labels)
    for row, photo in results.maps.photos.items():
        Image.fromarray(photo.mapped).save(folder / f"photo_row_{row}.png")


def _save_internals(folder: Path, internals: Internals, labels: tuple[str, ...]) -> None:
    class_names = class_names_of(internals.layer, labels)
    outputs = feature_map_sheet(internals.outputs, internals.layer, internals.row, class_names)
    save_figure(outputs, folder / LAYER_FIGURE)
    channels = internals.channels
    save_figure(maximization_sheet(channels.images, class_names, channels.maxima), folder / "maximization.png")
    if internals.classes is not None:
        classes = maximization_sheet(internals.classes.images, labels, internals.classes.maxima)
        save_figure(classes, folder / "classes.png")


def _save_means(path: Path, means: ClassMeans, method: Method, labels: tuple[str, ...]) -> None:
    captions = [f"{name} ({n})" for name, n in zip(labels, means.counts, strict=True)]
    maps = overlay(means.faces, means.attributions, signed=method.signed)
    strips, strip_captions = _scales((method,))
    title = f"Mean {method.name} map of the faces predicted as each class"
    save_figure(sheet(np.concatenate([maps, strips]), captions + strip_captions, title, tile_pixels=LARGE_TILE), path)


def _save_face(path: Path, explained: ExplainedFaces, i: int, labels: tuple[str, ...]) -> None:
    """Draw a row of the face and its maps of the predicted class, then of the masked face and the other class."""
    faces = explained.faces
    face = faces.images[i]
    leading = ((face, "original"), (explained.predicted.masked[i], "salient pixels"))
    tiles, captions = [], []
    for side, (gray, caption) in zip(explained.sides, leading, strict=True):
        tiles.append(np.repeat(gray[..., None], 3, axis=2))
        captions.append(caption)
        for m, method in enumerate(explained.methods):
            tiles.append(overlay(face, side.attributions[m, i], signed=method.signed))
            error = f", {error_text(method, float(side.errors[m, i]))}" if side.unfinished[m, i] else ""
            captions.append(f"{labels[side.classes[i]]}: {method.name}{error}")
    strips, strip_captions = _scales(explained.methods)
    label = "" if faces.labels is None else f", label {labels[faces.labels[i]]}"
    title = f"Row {faces.rows[i]}: predicted {labels[explained.predicted.classes[i]]}{label}; maps of logits"
    tiles_and_scales = np.concatenate([np.stack(tiles), strips])
    columns = 1 + len(explained.methods)
    figure = sheet(tiles_and_scales, captions + strip_captions, title, tile_pixels=LARGE_TILE, columns=columns)
    save_figure(figure, path)


def _scales(methods: Sequence[Method]) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the color scales of maps, one tile each, and their captions."""
    kinds = sorted({method.signed for method in methods})
    strips = [np.repeat(scale_strip(signed=signed, length=IMAGE_SIZE), IMAGE_SIZE, axis=0) for signed in kinds]
    return np.stack(strips), [SCALE_CAPTIONS[signed] for signed in kinds]
