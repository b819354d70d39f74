"""From a run to an exports folder: the ONNX graph, its weights, its card, and the proof that they agree."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError, Faces, ModelCard, ModelError, read_faces
from fer_core.output import staged
from fer_infer.devices import available_devices
from fer_infer.session import CARD_FILE, DEFAULT_BATCH_SIZE, MODEL_FILE, Scorer
from fer_train.checkpoint import WEIGHTS_FILE, load_model_and_card, save_weights
from fer_train.prediction import predict_logits
from fer_train.provenance import git_commit, library_versions
from fer_train.run_folder import SAMPLE_FILE

OPSET: Final = 20
PARITY_ATOL: Final = 1e-4
"""Largest difference of a logit between PyTorch and ONNX Runtime that an export may show."""
BATCH_SIZES: Final = (1, 2, 7, DEFAULT_BATCH_SIZE)


class ScoringGraph(nn.Module):
    """The exported graph: everything between a stored face and its probabilities, so that no caller preprocesses.

    Parameters
    ----------
    model : torch.nn.Module
        The original, in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Map faces, uint8 (batch, 48, 48), to logits and probabilities, float32 (batch, classes)."""
        logits = self.model(faces.unsqueeze(1).float())
        return logits, torch.softmax(logits, dim=1)


@dataclass(frozen=True)
class Parity:
    """How far the deployed graph is from the PyTorch original, on the same rows.

    Attributes
    ----------
    source, n : str, int
        The faces compared.
    providers : list of str
        ONNX Runtime providers that computed them.
    batch_sizes : list of int
        Each tried on each provider.
    max_absolute_difference, max_relative_difference : float
        Of logits, over all of them; relative to the largest absolute logit of the face.
    changed_predictions : int
        Faces whose most probable class differs in any of the comparisons.
    weights_in_graph : str
        How many tensors of `weights.safetensors` stand in the graph bit for bit.
    atol : float
        The limit that was kept.
    """

    source: str
    n: int
    providers: list[str]
    batch_sizes: list[int]
    max_absolute_difference: float
    max_relative_difference: float
    changed_predictions: int
    weights_in_graph: str
    atol: float


def export(
    run: str | Path,
    output: str | Path,
    *,
    data: str | Path | None = None,
    atol: float = PARITY_ATOL,
    force: bool = False,
) -> Parity:
    """Export a run and prove it before it appears.

    Parameters
    ----------
    run : str or Path
        A run folder.
    output : str or Path
        The exports folder to make: `model.onnx`, `weights.safetensors`, `card.json`, `parity.json`,
        `README.md`.
    data : str or Path, optional
        Faces to check parity on; by default the PublicTest sample that the run kept.
    atol : float
        Largest absolute difference of a logit that passes.
    force : bool
        Replace an existing folder.

    Returns
    -------
    Parity
        As written to `parity.json`.

    Raises
    ------
    ModelError
        If the run cannot be read, or the graph does not compute what the original computes; then nothing
        is left at `output`.
    """
    model, card = load_model_and_card(run)
    card = replace(card, versions=library_versions(), git_commit=git_commit())
    faces = _parity_faces(Path(run), data)
    with staged(output, force=force, folder=True) as stage:
        write_graph(model, card, stage / MODEL_FILE)
        save_weights(stage / WEIGHTS_FILE, model.state_dict(), card)
        card.save_json(stage / CARD_FILE)
        parity = check_parity(model, stage / MODEL_FILE, faces, atol)
        (stage / "parity.json").write_text(json.dumps(asdict(parity), indent=2) + "\n", encoding="utf-8")
        (stage / "README.md").write_text(_readme(Path(output).name, card, parity), encoding="utf-8")
    return parity


def _parity_faces(run: Path, data: str | Path | None) -> Faces:
    if data is not None:
        return read_faces(data)
    sample = run / SAMPLE_FILE
    if not sample.is_file():
        raise ConfigError(f"{run}: kept no {SAMPLE_FILE} to check parity on; name faces with --data")
    with np.load(sample) as stored:
        return Faces(stored["images"], stored["rows"], source=str(stored["source"]))


def write_graph(model: nn.Module, card: ModelCard, path: Path) -> None:
    """Write the ONNX graph of `model`, with `card` in its metadata, and check it with the ONNX checker."""
    import onnx

    example = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations, which no user can act on
        program = torch.onnx.export(
            ScoringGraph(model).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["faces"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"faces": {0: torch.export.Dim("batch")}},
        )
    if program is None:
        raise ModelError(f"{path}: the exporter returned no graph")
    graph = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]  # stack traces, which name the exporting machine's folders
        node.doc_string = ""
    for value in [*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        del value.metadata_props[:]
    onnx.helper.set_model_props(graph, card.to_metadata())
    onnx.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())


def check_parity(model: nn.Module, path: Path, faces: Faces, atol: float) -> Parity:
    """Compare the production scorer with the PyTorch original, at every batch size and on every provider.

    Raises
    ------
    ModelError
        If a logit differs by more than `atol`, a prediction changes, or the graph holds other weights.
    """
    expected = predict_logits(model, faces.images)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    absolute = relative = 0.0
    changed = np.zeros(len(faces), bool)
    providers = []
    for device in available_devices():
        scorer = Scorer(path, device)
        providers.append(scorer.provider)
        for batch_size in BATCH_SIZES:
            # one face at a time is slow and shows nothing new after some hundred
            part = slice(256) if batch_size == 1 else slice(None)
            found, _ = scorer.run(faces.images[part], batch_size=batch_size)
            difference = np.abs(found - expected[part])
            absolute = max(absolute, float(difference.max()))
            relative = max(relative, float((difference / scale[part]).max()))
            changed[part] |= found.argmax(axis=1) != expected[part].argmax(axis=1)
    held, total = count_held_weights(path, model.state_dict())
    parity = Parity(
        source=Path(faces.source).name,
        n=len(faces),
        providers=providers,
        batch_sizes=list(BATCH_SIZES),
        max_absolute_difference=absolute,
        max_relative_difference=relative,
        changed_predictions=int(changed.sum()),
        weights_in_graph=f"{held} of {total}",
        atol=atol,
    )
    if not absolute <= atol or changed.any():
        raise ModelError(
            f"{path.name}: differs from its PyTorch original: max |d logit| {absolute:.3g} (limit {atol:.3g}), "
            f"{int(changed.sum())} of {len(faces)} predictions changed"
        )
    return parity


def count_held_weights(path: Path, state: dict[str, Tensor]) -> tuple[int, int]:
    """Count the tensors of a state that stand bit for bit among a graph's initializers, and the tensors in all."""
    import onnx

    held = {onnx.numpy_helper.to_array(tensor).tobytes() for tensor in onnx.load(path).graph.initializer}
    found = sum(tensor.cpu().numpy().tobytes() in held for tensor in state.values())
    return found, len(state)


def _readme(name: str, card: ModelCard, parity: Parity) -> str:
    data = card.training_data
    scores = "\n".join(f"| {split} | {_score(score)} |" for split, score in card.scores.items())
    labels = ", ".join(f"{number} {label}" for number, label in enumerate(card.labels))
    return f"""# {name}

`{card.architecture}`, {card.precision}: {card.selection}.
Trained on {data["rows"]["Training"]:,} Training faces of `{data["source"]}`, seed {", ".join(map(str, card.seeds))}.

| split | accuracy |
|---|---|
{scores}

    fer-infer score faces.csv --model exports/{name} --output predictions.csv

`model.onnx` takes `faces`, uint8 (batch, 48, 48), and gives `logits` and `probabilities`, float32
(batch, {len(card.labels)}): {labels}. It standardizes by itself.

`weights.safetensors` is the PyTorch original: `fer_train.checkpoint.load_model("exports/{name}")`.
Its sha256, over the tensors, is `{card.weights_sha256}`.

Original and graph were compared on {parity.n:,} faces of `{parity.source}` at batch sizes
{", ".join(map(str, parity.batch_sizes))} ({", ".join(parity.providers)}):
they differ by at most {parity.max_absolute_difference:.1e} in a logit and in {parity.changed_predictions} predictions.
{parity.weights_in_graph} tensors stand in the graph bit for bit.
"""


def _score(score: dict[str, Any]) -> str:
    low, high = score["wilson_95"]
    return f"{score['accuracy']:.2%} ({low:.2%} to {high:.2%}, n = {score['n']:,}, TTA {score['tta']})"
