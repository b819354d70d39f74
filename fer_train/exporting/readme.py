"""The README of an exports folder: the model, its accuracy, and the parity check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fer_core import ModelCard
from fer_core.exports_folder import GRAPH_FILES, SALIENCY_FILE
from fer_infer.evaluation.chance import chance_note

if TYPE_CHECKING:
    from fer_train.exporting.comparison import PrecisionComparison
    from fer_train.exporting.parity import Parity
    from fer_train.exporting.saliency.parity import SaliencyParity


SHARED = ("dropped", "held_out", "rows_left_out", "faces")
"""Records of the training data that all members of an ensemble share."""


def export_readme(name: str, card: ModelCard, parity: Parity) -> str:
    """Return the README in Markdown.

    Parameters
    ----------
    name : str
        Name of the folder.
    card : ModelCard
        Card of the float32 graph.
    parity : Parity
        Parity of the export.
    """
    data = card.training_data
    scores = "\n".join(f"| {split} | {_score(score)} |" for split, score in card.scores.items())
    labels = ", ".join(f"{number} {label}" for number, label in enumerate(card.labels))
    note = chance_note(card.scores)
    warning = f"**{note[0].upper()}{note[1:]}.**\n\n" if note else ""
    return f"""# {name}

{warning}Architecture `{card.architecture}`, {card.precision}: {card.selection}.
Trained on {data["rows"]["Training"]:,} Training faces of `{data["source"]}`, seed {", ".join(map(str, card.seeds))}.
{_provenance(data)}
| split | accuracy (95% interval) |
|---|---|
{scores}

    fer-infer score faces.csv --model exports/{name} --output predictions.csv

`model.onnx` maps `faces`, uint8 (batch, 48, 48), to `logits` and `probabilities`, float32
(batch, {len(card.labels)}): {labels}. Standardization is part of the graph, and
`probabilities` is softmax(`logits` / {card.temperature["value"]:.6g}):
{card.temperature_text()}.

`weights.safetensors` contains the PyTorch network: `fer_train.load_model("exports/{name}")`.
The sha256 of its tensors is `{card.weights_sha256}`.

Network and graph were compared on {parity.n:,} faces of `{parity.source}` at batch sizes
{", ".join(map(str, parity.batch_sizes))} ({", ".join(parity.providers)}):
they differ by at most {parity.max_absolute_difference:.1e} in a logit, by
{parity.max_probability_difference:.1e} in a probability and in {parity.changed_predictions} predictions.
The graph contains {parity.weights_in_graph} tensors of the weights bit for bit.
{_other_graphs(parity)}"""


def _provenance(data: Mapping[str, Any]) -> str:
    """Return the lineage of a network and the faces left out, one line each."""

    def network(record: Mapping[str, Any]) -> str:
        return f"`{record['architecture']}` with the weights of sha256 `{record['weights_sha256']:.12}`"

    text = ""
    if "initial" in data:
        text += f"Training started from an earlier {network(data['initial'])}.\n"
    if "teachers" in data:
        text += f"Teachers: {' and '.join(map(network, data['teachers']))}.\n"
    for member in data.get("members", ()):
        text += f"Member: {network(member)}.\n"
        lineage = {key: value for key, value in member["training_data"].items() if key not in SHARED}
        text += "".join(f"- {line}\n" for line in _provenance(lineage).splitlines())
    if "dropped" in data:
        text += f"Faces left out of Training: {', '.join(f'{n:,} {what}' for what, n in data['dropped'].items())}.\n"
    if "held_out" in data:
        drawn = data["held_out"]
        text += f"Validated on {drawn['fraction']:.2%} of the faces, held out by seed {drawn['seed']}.\n"
    if "faces" in data:
        text += f"Faces were taken from images by `--faces {data['faces']}`; do the same to images to predict.\n"
    if "rows_left_out" in data:
        text += f"Rows left out because they could not be read: {data['rows_left_out']:,}.\n"
    return text


def _other_graphs(parity: Parity) -> str:
    text = ""
    if parity.int8 is not None:
        made = parity.int8
        text += _section("int8", made.chosen.comparison) + (
            f"{made.chosen.method} ranges of the activations on {made.calibration_n:,} Training faces of "
            f"`{made.calibration_source}`;\n"
            f"layers in float32: {made.chosen.float_layers}; chosen out {made.chosen_by}.\n"
        )
    if parity.fp16 is not None:
        text += _section("fp16", parity.fp16)
    if parity.saliency is not None:
        text += _saliency(parity.saliency)
    return text


def _saliency(parity: SaliencyParity) -> str:
    cam = (
        "" if parity.grad_cam_max_relative_difference is None else "\nand `grad_cam`, Grad-CAM of the last convolution"
    )
    return (
        f"\n## saliency\n\n`{SALIENCY_FILE}` also takes `target`, int64 (batch): a class, or -1 for the\n"
        f"predicted one. It returns `saliency`, the gradient of its logit at the pixels,\n"
        f"float32 (batch, 48, 48){cam}.\n"
        f"Compared with PyTorch's gradients: {parity.to_text()}.\n"
    )


def _section(precision: str, comparison: PrecisionComparison) -> str:
    return (
        f"\n## {precision}\n\n`{GRAPH_FILES[precision]}` compared with `model.onnx` on "
        f"{comparison.agreement.n:,} faces of `{comparison.source}` {comparison.split}:\n{comparison.to_text()}.\n"
    )


def _score(score: dict[str, Any]) -> str:
    low, high = score["wilson_95"]
    augmentation = "no test-time augmentation" if score["tta"] == "none" else f"augmentation {score['tta']}"
    return f"{score['accuracy']:.2%} ({low:.2%} to {high:.2%}, n = {score['n']:,}, {augmentation})"
