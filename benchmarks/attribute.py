"""Attribution: this toolkit, batched, against a loop of one-face Captum calls; and each method's faces a second.

python benchmarks/attribute.py [DATA] [--models FOLDER...] [--faces N]    default: 1,000 drawn faces, all that ships
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from _arithmetic import print_limit
from _side_by_side import Goal, compare, machine, print_goals, real_data
from captum.attr import Saliency

from fer_core import FerError, read_faces
from fer_core.synthetic.drawn_faces import draw_faces
from fer_explain.attribution import METHODS, AttributionConfig, attributions_of, batch_size_for
from fer_explain.attribution.preflight import require_suited
from fer_explain.config import MEMORY_MB
from fer_train.models import count_multiply_adds
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model

EXPORTS = Path(__file__).resolve().parent.parent / "exports"
MODELS = [EXPORTS / name for name in ("course-cnn", "course-dnn", "compact", "best")]
FACES_A_METHOD = 32
ON_A_KINK = 0.03
"""Share of faces whose map in a batch may differ from the one-face map."""


def one_by_one(model: torch.nn.Module, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Take the saliency of each face by a Captum call of its own, as tutorials do."""
    captum, maps = Saliency(model), []
    for image, target in zip(images, targets.tolist(), strict=True):
        face = torch.from_numpy(image).float()[None, None].requires_grad_()
        maps.append(captum.attribute(face, target=target).detach().numpy())
    return np.concatenate(maps)[:, 0]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--models", type=Path, nargs="+", default=MODELS, metavar="FOLDER")
    parser.add_argument("--faces", type=int, default=1000)
    chosen = parser.parse_args()
    path = real_data(chosen.data, "public_test.csv", "test.csv", "fer2013.csv")
    images = (read_faces(path) if path else draw_faces(chosen.faces, seed=0)).images[: chosen.faces]
    for folder in chosen.models:
        print_saliency(folder, images)
    print_methods(chosen.models[0], images[:FACES_A_METHOD])


def print_saliency(folder: Path, images: np.ndarray) -> None:
    """Print how fast the saliency of a network's faces is taken, and what the chip allows."""
    model = load_model(folder)
    targets = predict_logits(model, images).argmax(1)
    saliency = METHODS["saliency"]
    size = batch_size_for(model, saliency, MEMORY_MB)

    tutorial = load_model(folder).to(memory_format=torch.contiguous_format)  # as PyTorch lays it out by itself

    def batched() -> np.ndarray:
        return attributions_of(model, saliency, images, targets, batch_size=size)["attributions"]

    one_face = one_by_one(model, images, targets)
    off = ~np.isclose(batched(), one_face, atol=1e-6).all(axis=(1, 2))
    if off.any():
        # A batch rounds otherwise than one face, and where the input of a ReLU is 0 up to rounding, its gradient jumps:
        # such a face must agree once it is a batch of its own, and such faces must be rare.
        alone = attributions_of(model, saliency, images[off], targets[off], batch_size=1)["attributions"]
        if off.mean() > ON_A_KINK or not np.allclose(alone, one_face[off], atol=1e-6):
            sys.exit(f"{folder.name}: the ways disagree on {off.sum()} of {len(off)} faces")
    peer = "a loop of one-face Captum calls"
    seconds = compare(
        f"Saliency, {folder.name}: {len(images):,} faces, {size} at once",
        {"fer_explain": batched, peer: lambda: one_by_one(tutorial, images, targets)},
        units=len(images),
        unit="faces",
        repeats=3,
    )
    print_goals(Goal(f"times as fast as {peer}", seconds[peer] / seconds["fer_explain"], at_least=5))
    # forward to the logit and back to the pixels
    print_limit("saliency", 2 * count_multiply_adds(model), torch.float32, peer, len(images) / seconds[peer])


def print_methods(folder: Path, images: np.ndarray) -> None:
    """Print faces a second of every method that suits a network, within the default memory."""
    model = load_model(folder)
    targets = predict_logits(model, images).argmax(1)
    print(f"\nEvery method, {folder.name}: {len(images)} faces, {MEMORY_MB:g} MiB\n{machine()}\n")
    print("| method | images at once | faces/s |\n|---|---:|---:|")
    for method in METHODS.values():
        try:
            require_suited(model, method, AttributionConfig())
        except FerError as error:
            print(f"| {error} | | |")
            continue
        size = batch_size_for(model, method, MEMORY_MB)
        start = time.perf_counter()
        attributions_of(model, method, images, targets, batch_size=size)
        print(f"| {method.name} | {size} | {len(images) / (time.perf_counter() - start):,.1f} |")


if __name__ == "__main__":
    main()
