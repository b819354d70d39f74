"""Step that times attributions: each method, and saliency against a loop of one-face Captum calls."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from captum.attr import Saliency
from numpy.typing import NDArray
from record import Entry, Record
from timing import side_by_side
from torch import nn
from workbench import Workbench

from fer_explain.attribution import METHODS, AttributionConfig, Method, attributions_of, batch_size_for
from fer_explain.attribution.preflight import require_suited
from fer_explain.config import MEMORY_MB
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model


def attribute_speed(bench: Workbench, record: Record) -> None:
    """Take the faces a second of every method that suits a model."""
    for model in bench.models:
        record.take(f"{model}/saliency against Captum", partial(_against_captum, bench, model))
        for method in ("saliency",) if bench.quick else METHODS:
            record.take(f"{model}/{method}", partial(_method, bench, model, METHODS[method]))


def _subject(bench: Workbench, model: str, faces: int) -> tuple[nn.Module, NDArray[np.uint8], NDArray[np.int64]]:
    network = load_model(bench.exported(model)).to(bench.device)
    images = bench.public.images[:faces]
    return network, images, predict_logits(network, images).argmax(1)


def _against_captum(bench: Workbench, model: str) -> Entry:
    network, images, targets = _subject(bench, model, 8 if bench.quick else 1000)
    size = batch_size_for(network, METHODS["saliency"], MEMORY_MB)

    def one_by_one() -> None:
        captum = Saliency(network)
        for image, target in zip(images, targets.tolist(), strict=True):
            face = torch.from_numpy(image).to(bench.device).float()[None, None].requires_grad_()
            captum.attribute(face, target=target).detach().cpu()

    return {
        "batch_size": size,
        **side_by_side(
            {
                "fer_explain": lambda: attributions_of(network, METHODS["saliency"], images, targets, batch_size=size),
                "one-face Captum calls": one_by_one,
            },
            units=len(images),
            repeats=min(bench.repeats, 5),
            warm_ups=1,
        ),
    }


def _method(bench: Workbench, model: str, method: Method) -> Entry:
    network, images, targets = _subject(bench, model, 8 if bench.quick else 256)
    require_suited(network, method, AttributionConfig())
    size = batch_size_for(network, method, MEMORY_MB)
    found = side_by_side(
        {method.name: lambda: attributions_of(network, method, images, targets, batch_size=size)},
        units=len(images),
        repeats=min(bench.repeats, 3),
        warm_ups=1,
    )
    return {"n": found["n"], "batch_size": size, "faces_per_s": found[method.name]["per_s"]}
