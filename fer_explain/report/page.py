"""From numbers to the page: what the template of a report is filled with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces, ModelCard
from fer_explain.figures import data_uri, overlay, scale_strip, tint, value_limits
from fer_explain.maximization import channel_captions
from fer_explain.proof import Agreement, Proven
from fer_explain.report.explained import ExplainedFaces, Inside
from fer_infer.metrics import Evaluation
from fer_train.export import PARITY_ATOL

TEMPLATE: Final = "template.html.jinja"


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its `src`, a data URI, its `alt` text and its `caption`."""

    src: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Bar:
    """One class of a face: `name`, `percent` 0..100, and whether it is the `predicted` and the `true` one."""

    name: str
    percent: float
    predicted: bool
    true: bool


@dataclass(frozen=True)
class FaceView:
    """One face of the page; `true` and `correct` are None where it has no label."""

    row: int
    id: str | None
    usage: str | None
    predicted: str
    percent: float
    true: str | None
    correct: bool | None
    pictures: tuple[Picture, ...]
    bars: tuple[Bar, ...]


def render(context: dict[str, Any]) -> str:
    """Fill the template; every value is escaped, and a missing one is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE).render(context)


def face_views(explained: ExplainedFaces, names: tuple[str, ...]) -> dict[int, FaceView]:
    """Return the view of each face by its row number."""
    faces = explained.faces
    maps = overlay(faces.images, explained.attributions, signed=explained.method.signed)
    others = overlay(faces.images, explained.other_attributions, signed=explained.method.signed)
    views = {}
    for i, row in enumerate(faces.rows.tolist()):
        predicted, other = int(explained.targets[i]), int(explained.others[i])
        true = None if faces.labels is None else int(faces.labels[i])
        role = "true" if other == true else "runner-up"
        kept = f"{explained.share:.0%}"
        method, place = explained.method.name, _strongest(explained.attributions[i])
        of_other = _strongest(explained.other_attributions[i])
        pictures = (
            Picture(data_uri(faces.images[i]), f"Row {row}: the face as it is", "original"),
            _map_picture(maps[i], row, method, "predicted", names[predicted], place),
            _map_picture(others[i], row, method, role, names[other], of_other),
            Picture(
                data_uri(explained.masked[i]),
                f"Row {row}: the face with all but its {kept} most salient pixels gray",
                f"salient {kept}",
            ),
        )
        percents = 100 * explained.probabilities[i]
        bars = tuple(Bar(name, float(percents[c]), c == predicted, c == true) for c, name in enumerate(names))
        views[row] = FaceView(
            row=row,
            id=None if faces.ids is None else str(faces.ids[i]),
            usage=None if faces.usage is None else str(faces.usage[i]),
            predicted=names[predicted],
            percent=float(percents[predicted]),
            true=None if true is None else names[true],
            correct=None if true is None else true == predicted,
            pictures=pictures,
            bars=bars,
        )
    return views


def _map_picture(image: NDArray[np.uint8], row: int, method: str, role: str, name: str, place: str) -> Picture:
    return Picture(data_uri(image), f"Row {row}: {method} of the {role} class {name}, {place}", f"{role}: {name}")


def _strongest(attributions: NDArray[np.float32]) -> str:
    """Say in words where a map is strongest, for those who cannot see it."""
    if attributions.min() == attributions.max():
        return "flat: no pixel stands out"
    y, x = np.unravel_index(int(np.abs(attributions).argmax()), attributions.shape)
    height = ("top", "middle", "bottom")[3 * int(y) // attributions.shape[0]]
    side = ("left", "centre", "right")[3 * int(x) // attributions.shape[1]]
    return f"strongest at the {height} {side}"


def method_view(explained: ExplainedFaces) -> dict[str, str]:
    """Describe the method of the maps and their colour scale."""
    method = explained.method
    return {
        "name": method.name,
        "paper": method.paper,
        "sign": method.sign,
        "scale": data_uri(np.repeat(scale_strip(signed=method.signed), 8, axis=0)),
        "low": "against" if method.signed else "no influence",
        "high": "for" if method.signed else "strongest",
        "share": f"{explained.share:.0%}",
    }


def proof_view(proven: Proven, explained: ExplainedFaces, agreement: Agreement | None) -> dict[str, Any]:
    """Describe what was checked of weights and logits; `rows` holds, for each face, both sets of logits."""
    view: dict[str, Any] = {
        "weights_file": proven.weights_file.name,
        "weights_sha256": proven.weights_sha256,
        "graph_file": None,
        "limit": f"{PARITY_ATOL:g}",
    }
    if proven.scorer is None or agreement is None or proven.tensors_in_graph is None:
        return view
    pairs = zip(explained.faces.rows.tolist(), agreement.pytorch, agreement.onnx, strict=True)
    held, total = proven.tensors_in_graph
    return view | {
        "graph_file": proven.scorer.path.name,
        "graph_sha256": proven.scorer.card.weights_sha256,
        "held": held,
        "total": total,
        "difference": f"{agreement.max_difference:.1e}",
        "provider": proven.scorer.provider,
        "rows": [
            (row, pytorch.tolist(), onnx.tolist(), float(np.abs(pytorch - onnx).max())) for row, pytorch, onnx in pairs
        ],
    }


def evaluation_view(evaluation: Evaluation | None, faces: Faces) -> dict[str, Any] | None:
    """Describe accuracy and confusion; None without labels."""
    if evaluation is None:
        return None
    low, high = evaluation.wilson_95
    shares = evaluation.confusion / np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)
    names = [score.name for score in evaluation.classes]
    cells = [
        (name, [(int(n), 100 * float(share)) for n, share in zip(counts, row, strict=True)])
        for name, counts, row in zip(names, evaluation.confusion, shares, strict=True)
    ]
    return {
        "accuracy": f"{evaluation.accuracy:.1%}",
        "low": f"{low:.1%}",
        "high": f"{high:.1%}",
        "n": evaluation.n,
        "macro_f1": f"{evaluation.macro_f1:.3f}",
        "cells": cells,
        "classes": evaluation.classes,
        "most_confused": evaluation.most_confused[:3],
        "pairs": evaluation.most_confused_pairs[:3],
        "seen_in_training": faces.usage is not None and "Training" in faces.usage,
    }


def inside_view(inside: Inside, names: tuple[str, ...] | None) -> dict[str, Any]:
    """Describe a layer: a tile for each channel's output (none for a dense layer) and for each climbed image."""
    layer, outputs = inside.layer, inside.outputs
    tiles = []
    limits = value_limits(outputs)
    if outputs.ndim == 3:
        tiles = [
            Picture(data_uri(image), f"Channel {c}, {channel.min():.2f} to {channel.max():.2f}", str(c))
            for c, (image, channel) in enumerate(zip(tint(outputs, limits), outputs, strict=True))
        ]
    climbed = np.rint(inside.maximization.images).astype(np.uint8)
    captions = channel_captions(inside.maximization, names)
    ramp = np.linspace(*limits, 96, dtype=np.float32)
    return {
        "layer": layer,
        "shape": " x ".join(map(str, layer.shape)),
        "row": inside.row,
        "tiles": tiles,
        "scale": data_uri(np.repeat(tint(ramp, limits)[None], 8, axis=0)),
        "low": f"{limits[0]:.2f}",
        "high": f"{limits[1]:.2f}",
        "climbed": [
            Picture(data_uri(image), f"What {layer.unit} {caption.replace(':', ' answers to; activation')}", caption)
            for image, caption in zip(climbed, captions, strict=True)
        ],
        "left_out": layer.shape[0] - len(climbed),
        "dead": int(inside.maximization.dead.sum()),
    }


def card_rows(card: ModelCard) -> list[tuple[str, str]]:
    """Return the model card as pairs of what and value."""
    data = card.training_data
    rows = (
        ", ".join(f"{split} {n:,}" for split, n in data["rows"].items()) if isinstance(data.get("rows"), dict) else ""
    )
    arguments = ", ".join(f"{key} = {value}" for key, value in card.architecture_arguments.items())
    pairs = [
        ("Architecture", card.architecture + (f" ({arguments})" if arguments else "")),
        ("Classes", ", ".join(card.labels)),
        ("Input", f"{card.input_size[0]} x {card.input_size[1]} gray levels, 0 to 255"),
        ("Standardization", f"(pixel - {card.standardization['mean']:.4f}) / {card.standardization['std']:.4f}"),
        ("Precision", card.precision),
        ("Weights, sha256", card.weights_sha256),
        ("Training data", f"{data.get('source', 'not named')}" + (f": {rows}" if rows else "")),
        ("Training data, sha256", str(data.get("sha256", "not stated"))),
        ("Selection", card.selection),
        ("Seeds", ", ".join(map(str, card.seeds))),
    ]
    pairs += [(f"Score on {split}", _score(score)) for split, score in card.scores.items()]
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    return [*pairs, ("Libraries", versions), ("Code", card.git_commit)]


def _score(score: Any) -> str:
    if not isinstance(score, dict) or not {"accuracy", "n", "wilson_95"} <= set(score):
        return str(score)
    low, high = score["wilson_95"]
    tta = score.get("tta", "not stated")
    return f"accuracy {score['accuracy']:.2%} (95% interval {low:.2%} to {high:.2%}, n = {score['n']:,}, TTA {tta})"
