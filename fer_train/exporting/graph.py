"""The ONNX graph of a network, from stored faces to probabilities, with the model card in its metadata."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ModelCard, ModelError

OPSET: Final = 20


class ScoringGraph(nn.Module):
    """The exported graph, including preprocessing and softmax, so that a caller needs neither.

    Parameters
    ----------
    model : torch.nn.Module
        Network in evaluation mode.
    temperature : float
        Divisor of the logits before the softmax, above 0.
    """

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        """Map faces, uint8 (batch, 48, 48), to logits and probabilities, float32 (batch, classes)."""
        logits = self.model(faces.unsqueeze(1).float()).float()
        return logits, torch.softmax(logits / self.temperature, dim=1)


def write_graph(model: nn.Module, card: ModelCard, path: Path) -> None:
    """Write the ONNX graph of `model`, with `card` in its metadata, and check it with the ONNX checker.

    BatchNorm stays a separate node, so that the graph holds the weights as they were trained; the optimization of the
    exporter would fold it into the convolutions. ONNX Runtime does that when it loads the graph.
    """
    import onnx
    from onnxscript.optimizer import fold_constants, remove_unused_nodes
    from onnxscript.rewriter import rewrite
    from onnxscript.rewriter.rules.common import materialize_reshape_shape_rule, reshape_reshape_rule

    example = torch.zeros(2, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations within the exporter
        program = torch.onnx.export(
            ScoringGraph(model, card.temperature["value"]).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["faces"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"faces": {0: torch.export.Dim("batch")}},
            optimize=False,
        )
    if program is None:
        raise ModelError(f"{path}: the exporter returned no graph")
    fold_constants(program.model, onnx_shape_inference=True)
    program.model = rewrite(program.model, [materialize_reshape_shape_rule, reshape_reshape_rule])
    remove_unused_nodes(program.model)
    graph = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]  # stack traces, with folders of the exporting machine
        node.doc_string = ""
    for value in [*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        del value.metadata_props[:]
    onnx.helper.set_model_props(graph, card.to_metadata())
    onnx.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())


def stamp(graph: Path, card: ModelCard) -> None:
    """Replace the metadata of a graph by `card`, and check the graph with the ONNX checker."""
    import onnx

    model = onnx.load(graph)
    del model.metadata_props[:]  # of the tools that wrote it
    onnx.helper.set_model_props(model, card.to_metadata())
    onnx.checker.check_model(model, full_check=True)
    graph.write_bytes(model.SerializeToString())
