"""What stands beside the page: the maps as numbers, and its pictures for other documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.rejects import REJECTS_FILE
from fer_explain.attribution import Method
from fer_explain.layers.feature_maps import feature_map_sheet, names_of_units
from fer_explain.maximization.maximize import maximization_sheet
from fer_explain.plots import overlay, save_figure, scale_strip, sheet
from fer_explain.report.face_maps import ClassMeans, ExplainedFaces
from fer_explain.report.internals import Inside
from fer_explain.verification import Proven
from fer_infer.evaluation.metrics import Evaluation

LAYER_FIGURE: Final = "layer_outputs.png"
PICTURES: Final = ("confusion", "maximization", "classes", "class_means", "face_row_*")

FOLDER: Final = OutputFolder(
    always=("index.html", "attributions.npz"),
    sometimes=(f"figures/{LAYER_FIGURE}", *(f"figures/{name}.png" for name in PICTURES), REJECTS_FILE),
)
"""Names of all that is written."""


def save_attributions(path: Path, explained: ExplainedFaces, proven: Proven) -> None:
    """Write each map of the page as one line of arrays: values, row number, class, method, delta, the face's logits.

    The lines go method by method, within a method from the predicted classes to the others, and then face by face.
    """
    methods = [method.name for method in explained.methods]
    maps = np.stack([explained.attributions, explained.other_attributions], axis=1)
    n, repeats = len(explained.faces), 2 * len(methods)
    np.savez(
        path,
        attributions=maps.reshape(-1, *maps.shape[-2:]),
        targets=np.tile(np.concatenate([explained.targets, explained.others]), len(methods)),
        logits=np.tile(explained.logits, (repeats, 1)),
        rows=np.tile(explained.faces.rows, repeats),
        methods=np.repeat(np.array(methods), 2 * n),
        deltas=np.stack([explained.deltas, explained.other_deltas], axis=1).reshape(-1),
        weights_sha256=np.array(proven.weights_sha256),
    )


def save_figures(
    folder: Path,
    explained: ExplainedFaces,
    means: ClassMeans,
    inside: Inside,
    evaluation: Evaluation | None,
    proven: Proven,
) -> None:
    """Draw the pictures of the page as sheets with titles."""
    from fer_infer.evaluation.plots import save_confusion

    folder.mkdir()
    names = proven.card.labels
    if evaluation is not None:
        title = f"{proven.card.architecture}: {evaluation.accuracy:.2%} of {evaluation.n:,} faces"
        save_confusion(evaluation.confusion, names, folder / "confusion.png", title)
    units = names_of_units(inside.layer, names)
    save_figure(feature_map_sheet(inside.outputs, inside.layer, inside.row, units), folder / LAYER_FIGURE)
    climbed = inside.climbed
    save_figure(maximization_sheet(climbed.images, units, climbed.highest), folder / "maximization.png")
    if inside.classes is not None:
        sheet_of_classes = maximization_sheet(inside.classes.images, names, inside.classes.highest)
        save_figure(sheet_of_classes, folder / "classes.png")
    lead = explained.methods[0]
    captions = [f"{name} ({n})" for name, n in zip(names, means.counts, strict=True)]
    title = f"Mean {lead.name} of the faces predicted as each class"
    maps = overlay(means.faces, means.attributions, signed=lead.signed)
    strips, strip_captions = _scales((lead,))
    tiles = np.concatenate([maps, strips])
    save_figure(sheet(tiles, captions + strip_captions, title, tile_pixels=144), folder / "class_means.png")
    for i, row in enumerate(explained.faces.rows.tolist()):
        _save_face(folder / f"face_row_{row}.png", explained, i, names)


def _save_face(path: Path, explained: ExplainedFaces, i: int, names: tuple[str, ...]) -> None:
    """Draw one face: itself and its maps of the predicted class, then masked and its maps of the other class."""
    faces = explained.faces
    face = faces.images[i]
    sides = ((explained.attributions, face, "original"), (explained.other_attributions, explained.masked[i], "salient"))
    tiles, captions = [], []
    for classes, (attributions, gray, caption) in zip((explained.targets, explained.others), sides, strict=True):
        tiles.append(np.repeat(gray[..., None], 3, axis=2))
        captions.append(caption)
        for m, method in enumerate(explained.methods):
            tiles.append(overlay(face, attributions[m, i], signed=method.signed))
            captions.append(f"{names[classes[i]]}: {method.name}")
    strips, strip_captions = _scales(explained.methods)
    true = "" if faces.labels is None else f", true {names[faces.labels[i]]}"
    title = f"Row {faces.rows[i]}: predicted {names[explained.targets[i]]}{true}; maps of logits"
    save_figure(sheet(np.concatenate([tiles, strips]), captions + strip_captions, title, tile_pixels=144), path)


def _scales(methods: Sequence[Method]) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the colour scales of maps, one tile each, and what their two ends mean."""
    ends = {False: "0 to the strongest", True: "against to for the class"}
    kinds = sorted({method.signed for method in methods})
    strips = [np.repeat(scale_strip(signed=signed, length=IMAGE_SIZE), IMAGE_SIZE, axis=0) for signed in kinds]
    return np.stack(strips), [ends[signed] for signed in kinds]
