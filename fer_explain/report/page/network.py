"""What the page says of the network: the proof, the card, its first filters, a layer, and what its units answer to."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fer_core import ModelCard
from fer_core.errors import listed
from fer_explain.layers.feature_maps import names_of_units
from fer_explain.layers.filters import FilterConfig, FilterReport
from fer_explain.maximization.maximize import channel_captions
from fer_explain.plots import data_uri, overlay, tint, value_limits
from fer_explain.report.face_maps import ClassMeans, ExplainedFaces
from fer_explain.report.internals import Climbed, FirstFilters, Inside
from fer_explain.report.page.picture import Picture, tint_scale
from fer_explain.verification import Agreement, LowerPrecision, Proven
from fer_train.exporting.parity import PARITY_ATOL

MOST_LISTED: Final = 12
"""Dead filters, or pairs of duplicates, named on the page; `fer-explain filters` lists them all."""


def proof_view(
    proven: Proven, explained: ExplainedFaces, agreement: Agreement | None, lower: tuple[LowerPrecision, ...]
) -> dict[str, Any]:
    """Describe what was checked of weights and logits; `rows` holds, for each face, both sets of logits."""
    view: dict[str, Any] = {
        "weights_file": proven.weights_file.name,
        "weights_sha256": proven.weights_sha256,
        "graph_file": None,
        "limit": f"{PARITY_ATOL:g}",
    }
    if proven.scorer is None or agreement is None or proven.probed is None or proven.tensors_in_graph is None:
        return view
    pairs = zip(explained.faces.rows.tolist(), agreement.pytorch, agreement.onnx, strict=True)
    held, total = proven.tensors_in_graph
    faces = explained.faces.rows
    return view | {
        "graph_file": proven.scorer.path.name,
        "graph_sha256": proven.scorer.card.weights_sha256,
        "held": held,
        "total": total,
        "difference": f"{max(agreement.max_difference, proven.probed.max_difference):.1e}",
        "probes": len(proven.probed.onnx),
        "lower": [
            {
                "file": graph.file,
                "default": graph.default,
                "difference": f"{graph.max_difference:.2g}",
                "changed": listed([str(row) for row in faces[graph.changed].tolist()], MOST_LISTED),
                "n": len(graph.changed),
            }
            for graph in lower
        ],
        "provider": proven.scorer.provider,
        "rows": [
            (row, pytorch.tolist(), onnx.tolist(), float(np.abs(pytorch - onnx).max())) for row, pytorch, onnx in pairs
        ],
    }


def means_view(means: ClassMeans, names: tuple[str, ...], *, signed: bool) -> list[Picture]:
    """Describe the mean map of each class that was predicted at all."""
    maps = overlay(means.faces, means.attributions, signed=signed)
    return [
        Picture(data_uri(image), f"Mean map of {n} faces predicted {name}", f"{name} ({n})")
        for image, name, n in zip(maps, names, means.counts, strict=True)
        if n
    ]


def inside_view(inside: Inside, names: tuple[str, ...]) -> dict[str, Any]:
    """Describe a layer: a tile for each channel's output (none for a dense layer) and for each climbed image."""
    layer, outputs = inside.layer, inside.outputs
    tiles = []
    limits = value_limits(outputs)
    if outputs.ndim == 3:
        tiles = [
            Picture(data_uri(image), f"Channel {c}, {channel.min():.2f} to {channel.max():.2f}", str(c))
            for c, (image, channel) in enumerate(zip(tint(outputs, limits), outputs, strict=True))
        ]
    return {
        "layer": layer,
        "shape": " x ".join(map(str, layer.shape)),
        "row": inside.row,
        "tiles": tiles,
        "scale": tint_scale(limits),
        "notes": _notes(inside.found),
        "climbed": _climbed(inside.climbed, names_of_units(layer, names)),
        "left_out": layer.shape[0] - len(inside.climbed.images.channels),
        "dead": int(inside.climbed.images.dead.sum()),
        "faces": inside.climbed.highest.n,
        "classes": [] if inside.classes is None else _climbed(inside.classes, names),
    }


def _climbed(climbed: Climbed, names: tuple[str, ...] | None) -> list[Picture]:
    found = climbed.images
    what = found.layer.unit if names is None else "the class"
    images = np.rint(found.images).astype(np.uint8)
    return [
        Picture(data_uri(image), f"What {what} {caption.replace(':', ' answers to; activation', 1)}", caption)
        for image, caption in zip(images, channel_captions(found, names, climbed.highest), strict=True)
    ]


def _notes(found: FilterReport) -> list[str]:
    """Say which filters are dead, rare or duplicates; nothing where none is."""
    unit, thresholds = found.layer.unit, FilterConfig()
    said = {
        "dead": "never above zero",
        "rare": f"above zero at less than {thresholds.rare:.1%} of the places",
    }
    notes = []
    for state, meaning in said.items():
        channels = [str(channel) for channel, own in enumerate(found.states) if own == state]
        if channels:
            notes.append(
                f"{state.capitalize()}, {meaning} on {found.faces:,} faces: {unit} {listed(channels, MOST_LISTED)}."
            )
    for what, pairs, threshold in (
        ("Weights of a cosine", found.alike_weights, thresholds.cosine),
        ("Outputs of a correlation", found.alike_outputs, thresholds.correlation),
    ):
        if pairs:
            named = [f"{low} and {high} ({value:.2f})" for low, high, value in pairs]
            notes.append(
                f"{what} of at least {threshold:g}, so that one of two would do: {listed(named, MOST_LISTED)}."
            )
    return notes


def filters_view(filters: FirstFilters | None) -> dict[str, Any] | None:
    """Describe the first filters; None where their weights are no pictures."""
    if filters is None:
        return None
    high = float(np.abs(filters.weights).max()) or 1.0
    limits = (-high, high)
    unit = "filter" if filters.layer.kind == "Conv2d" else "unit"
    weights = [
        Picture(data_uri(image), f"Weights of {unit} {c}, {values.min():.3f} to {values.max():.3f}", str(c))
        for c, (image, values) in enumerate(zip(tint(filters.weights, limits), filters.weights, strict=True))
    ]
    patches = [] if filters.patches is None else [data_uri(patch) for patch in filters.patches]
    return {
        "layer": filters.layer,
        "size": "{} x {}".format(*filters.weights.shape[1:]),
        "convolution": filters.layer.kind == "Conv2d",
        "weights": weights,
        "patches": [
            Picture(src, f"What woke {unit} {c} most, one place in each of some faces", "")
            for c, src in enumerate(patches)
        ],
        "scale": tint_scale(limits, 3),
        "faces": filters.found.faces,
        "notes": _notes(filters.found),
        "left_out": filters.layer.shape[0] - len(weights),
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
        ("Temperature", card.temperature_text()),
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
    try:
        low, high = score["wilson_95"]
        interval = f"95% interval {low:.2%} to {high:.2%}, n = {score['n']:,}"
        return f"accuracy {score['accuracy']:.2%} ({interval}, TTA {score.get('tta', 'not stated')})"
    except (TypeError, ValueError):  # a card of others, whose numbers are none
        return str(score)
