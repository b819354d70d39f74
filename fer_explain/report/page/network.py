"""Page sections about the network: verification, model card, first filters, one layer, and maximized units."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from fer_core import ModelCard
from fer_core.cards.summary import training_data_text
from fer_core.outputs.map_colors import overlay
from fer_explain.config import FilterConfig
from fer_explain.layers.filters import FilterReport
from fer_explain.layers.structure import class_names_of
from fer_explain.maximization.maximize import image_captions
from fer_explain.plots import data_uri, tint, value_limits
from fer_explain.report.face_maps import ClassMeans
from fer_explain.report.internals import FirstFilters, Internals, MaximizedUnits
from fer_explain.report.page.picture import Picture, tint_scale
from fer_explain.report.results import GraphComparison
from fer_explain.verification import ComparedGraph, VerifiedModel
from fer_train.exporting.parity import PARITY_ATOL

MAX_LISTED: Final = 12
"""Dead filters or pairs of duplicates that are named on the page; `fer-explain filters` lists all."""


def verification_view(verified: VerifiedModel, comparison: GraphComparison, rows: list[int]) -> dict[str, Any]:
    """Return the comparison of the explained network with the ONNX graphs; `rows` are those of the faces shown."""
    view: dict[str, Any] = {
        "weights_file": verified.weights_file.name,
        "weights_sha256": verified.weights_sha256,
        "graph_file": None,
        "limit": f"{PARITY_ATOL:g}",
    }
    compared, on_drawn_faces = comparison.logits, verified.probe_agreement
    if verified.scorer is None or compared is None or on_drawn_faces is None or verified.tensors_in_graph is None:
        return view
    identical, total = verified.tensors_in_graph
    logits = zip(rows, compared.pytorch, compared.onnx, strict=True)
    return view | {
        "graph_file": verified.scorer.path.name,
        "graph_sha256": verified.scorer.card.weights_sha256,
        "identical": identical,
        "total": total,
        "difference": f"{max(each.max_absolute_difference for each in (compared.agreement, on_drawn_faces)):.1e}",
        "drawn_faces": on_drawn_faces.n,
        "lower": [_lower_precision(graph, rows) for graph in comparison.lower],
        "provider": verified.scorer.provider,
        "logits": [
            (row, pytorch.tolist(), onnx.tolist(), float(np.abs(pytorch - onnx).max())) for row, pytorch, onnx in logits
        ],
    }


def _lower_precision(graph: ComparedGraph, rows: list[int]) -> dict[str, Any]:
    changed = [str(rows[position]) for position in graph.agreement.changed]
    return {
        "file": graph.file,
        "default": graph.is_default,
        "difference": f"{graph.agreement.max_absolute_difference:.2g}",
        "changed": _listed(changed),
        "n": len(changed),
    }


def means_view(means: ClassMeans, names: tuple[str, ...], *, signed: bool) -> list[Picture]:
    """Return the mean map of each class that is predicted at least once."""
    maps = overlay(means.faces, means.attributions, signed=signed)
    return [
        Picture(data_uri(image), f"Mean map of {n} faces predicted as {name}", f"{name} ({n})")
        for image, name, n in zip(maps, names, means.counts, strict=True)
        if n
    ]


def layer_view(internals: Internals) -> dict[str, Any]:
    """Return the output of a layer, one image per channel; no images for a dense layer."""
    layer, outputs = internals.layer, internals.outputs
    pictures = []
    limits = value_limits(outputs)
    if outputs.ndim == 3:
        pictures = [
            Picture(data_uri(image), f"Channel {c}, {channel.min():.2f} to {channel.max():.2f}", str(c))
            for c, (image, channel) in enumerate(zip(tint(outputs, limits), outputs, strict=True))
        ]
    return {
        "layer": layer,
        "shape": " x ".join(map(str, layer.shape)),
        "row": internals.row,
        "pictures": pictures,
        "scale": tint_scale(limits),
        "notes": _notes(internals.findings, internals.layer.unit),
    }


def maximization_view(internals: Internals, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the images that maximize the channels of a layer and the logits."""
    layer, channels = internals.layer, internals.channels
    return {
        "layer": layer,
        "channels": _maximized(channels, class_names_of(layer, names)),
        "left_out": layer.shape[0] - len(channels.images.channels),
        "dead": int(channels.images.dead.sum()),
        "faces": channels.maxima.n,
        "classes": [] if internals.classes is None else _maximized(internals.classes, names),
    }


def _maximized(units: MaximizedUnits, names: tuple[str, ...] | None) -> list[Picture]:
    found = units.images
    kind = found.layer.unit if names is None else "class"
    images = np.rint(found.images).astype(np.uint8)
    return [
        Picture(data_uri(image), f"Image that maximizes {kind} {caption.replace(':', '; activation', 1)}", caption)
        for image, caption in zip(images, image_captions(found, names, units.maxima), strict=True)
    ]


def _notes(findings: FilterReport, unit: str) -> list[str]:
    """Return one sentence per kind of finding: dead, rare and duplicate filters."""
    thresholds = FilterConfig()
    meanings = {
        "dead": f"{unit}s that are never above zero on {findings.faces:,} faces",
        "rare": f"{unit}s that are above zero at less than {thresholds.rare:.1%} of the positions",
    }
    notes = []
    for state, meaning in meanings.items():
        channels = [str(channel) for channel, own in enumerate(findings.states) if own == state]
        if channels:
            notes.append(f"{state.capitalize()} {meaning}: {_listed(channels)}.")
    for kind, pairs in (
        (f"cosine similarity of weights of at least {thresholds.cosine:g}", findings.duplicate_weights),
        (f"correlation of outputs of at least {thresholds.correlation:g}", findings.duplicate_outputs),
    ):
        if pairs:
            named = [f"{low} and {high} ({value:.2f})" for low, high, value in pairs]
            notes.append(f"Duplicate {unit}s, with a {kind}: {_listed(named)}.")
    return notes


def _listed(items: list[str]) -> str:
    """Join the first items, and state the number of further ones."""
    more = len(items) - MAX_LISTED
    return ", ".join(items[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def filters_view(filters: FirstFilters | None) -> dict[str, Any] | None:
    """Return the weights of the first layer and their patches; None if the weights are not images."""
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
            Picture(src, f"Patches that activate {unit} {c} most, one per face", "") for c, src in enumerate(patches)
        ],
        "scale": tint_scale(limits, 3),
        "faces": filters.findings.faces,
        "notes": _notes(filters.findings, unit),
        "left_out": filters.layer.shape[0] - len(weights),
    }


def card_rows(card: ModelCard) -> list[tuple[str, str]]:
    """Return the model card as pairs of name and value."""
    data = card.training_data
    arguments = ", ".join(f"{key} = {value}" for key, value in card.architecture_arguments.items())
    pairs = [
        ("Architecture", card.architecture + (f" ({arguments})" if arguments else "")),
        ("Classes", ", ".join(card.labels)),
        ("Input", f"{card.input_size[0]} x {card.input_size[1]} gray levels, 0 to 255"),
        ("Standardization", f"(pixel - {card.standardization['mean']:.4f}) / {card.standardization['std']:.4f}"),
        ("Temperature", card.temperature_text()),
        ("Precision", card.precision),
        ("Weights, sha256", card.weights_sha256),
        ("Training data", training_data_text(data)),
        ("Faces from images", str(data.get("faces", "aligned"))),
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
    except (TypeError, ValueError):  # the card of another program, with other types
        return str(score)
