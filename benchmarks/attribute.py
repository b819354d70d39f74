"""Compute attribution maps: batched saliency against a loop of one-face Captum calls, and the cost of each method.

Cost is the rate, the passes per face and the errors of the maps; and the passes and seconds of a report.
DATA is a CSV, or a folder with public_test.csv; by default faces are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from captum.attr import Saliency
from numpy.typing import NDArray

from benchmarks.harness.arithmetic import note_limit
from benchmarks.harness.command import benchmark, count_option, data_argument, faces_option, models_option
from benchmarks.harness.faces import drawn_faces, find_data
from benchmarks.harness.passes import PassCounter
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from benchmarks.harness.side_by_side import compare
from fer_core import Faces, FerError, read_faces
from fer_core.exports_folder import ExportsFolder
from fer_explain.attribution import METHODS, AttributionConfig, attributions_of, batch_size_for
from fer_explain.attribution.preflight import require_suited
from fer_explain.config import MEMORY_MB
from fer_explain.evaluation.skill import Skill
from fer_explain.report.face_maps import explain_faces
from fer_explain.report.map_checks import check_maps
from fer_explain.report.methods import choose_methods
from fer_explain.report.predictions import score_faces
from fer_explain.verification import VerifiedModel, load_verified
from fer_infer.attribution.differentiable import ERRORS
from fer_infer.diagnostics.stopwatch import timed
from fer_infer.saliency import SaliencyModel
from fer_train.models import count_multiply_adds
from fer_train.prediction import predict_logits, true_float32
from fer_train.runs.checkpoint import load_model

OURS: Final = "fer_explain"
GRAPH: Final = "saliency.onnx in ONNX Runtime"
PEER: Final = "a loop of one-face Captum calls"
SALIENCY: Final = METHODS["saliency"]
MOST_ON_A_KINK: Final = 0.03
"""Largest fraction of faces whose map in a batch may differ from their map alone."""
ATOL: Final = 1e-6

Images = NDArray[np.uint8]
Maps = NDArray[np.float32]


def one_by_one(model: torch.nn.Module, images: Images, targets: NDArray[np.int64], device: str) -> Maps:
    """Compute the saliency of each face in a Captum call of its own, as tutorials do."""
    captum, maps = Saliency(model), []
    for image, target in zip(images, targets.tolist(), strict=True):
        face = torch.from_numpy(image).to(device).float()[None, None].requires_grad_()
        maps.append(captum.attribute(face, target=target).detach().cpu().numpy())
    return np.concatenate(maps)[:, 0]


def saliency(model: torch.nn.Module, images: Images, targets: NDArray[np.int64], size: int) -> Maps:
    """Compute the same with this toolkit, in batches."""
    return attributions_of(model, SALIENCY, images, targets, batch_size=size)["attributions"]


def compare_saliency(report: Report, folder: Path, images: Images, repeats: int) -> None:
    """Compare the rates of both ways for one model, after checking that their maps agree."""
    model = load_model(folder).to(report.device)
    tutorial = load_model(folder).to(report.device)
    tutorial.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # PyTorch's default
    targets = predict_logits(model, images).argmax(1)
    size = batch_size_for(model, SALIENCY, MEMORY_MB)
    expected = one_by_one(model, images, targets, report.device)
    near = np.isclose(saliency(model, images, targets, size), expected, atol=ATOL)
    off = np.asarray(~near.all(axis=(1, 2)))
    if off.any():
        # A batch is rounded differently than one face, and where the input of a ReLU is 0 up to rounding, its gradient
        # jumps. Such faces must be rare, and must agree in batches of one.
        alone = saliency(model, images[off], targets[off], 1)
        if off.mean() > MOST_ON_A_KINK or not np.allclose(alone, expected[off], atol=ATOL):
            line = f"{folder.name}: the two ways disagree on {off.sum()} of {len(off)} faces"
            if report.device == "cpu":
                raise FerError(line)
            report.note(f"{line}, by at most {np.abs(alone - expected[off]).max():.2g} in batches of one.")
    ways = {
        OURS: lambda: saliency(model, images, targets, size),
        PEER: lambda: one_by_one(tutorial, images, targets, report.device),
    }
    if ExportsFolder(folder).saliency.is_file():
        graph = SaliencyModel(folder, report.device)
        ways[GRAPH] = lambda: graph.explain(images, targets).saliency
    rates = compare(
        report,
        f"Saliency, {folder.name}: {len(images):,} faces, batches of {size}",
        ways,
        units=len(images),
        unit="faces",
        repeats=repeats,
    )
    report.goals(Goal(f"times as fast as {PEER}", rates[OURS] / rates[PEER], at_least=5))
    if GRAPH in rates:
        report.goals(Goal(f"{GRAPH}, times as fast as {OURS}", rates[GRAPH] / rates[OURS], at_least=1))
    passes = 2  # forward to the logit and back to the pixels
    note_limit(report, "Saliency", passes * count_multiply_adds(model), torch.float32, PEER, rates[PEER])


def method_rates(report: Report, folder: Path, images: Images) -> Iterator[tuple[Cell, ...]]:
    """Yield rate, passes and errors of every method, or why it does not suit the network."""
    model = load_model(folder).to(report.device)
    targets = predict_logits(model, images).argmax(1)
    for name, method in METHODS.items():
        try:
            require_suited(model, method, AttributionConfig())
        except FerError as error:
            yield str(error), *[None] * 6
            continue
        size = batch_size_for(model, method, MEMORY_MB)
        with PassCounter(model) as passes:
            seconds, found = timed(
                lambda: attributions_of(model, method, images, targets, batch_size=size),  # noqa: B023
                report.wait,
            )
        errors = found.get(ERRORS)
        each = (passes.forward / len(images), passes.backward / len(images))
        known = (None, None) if errors is None else (float(np.median(errors)), float(errors.max()))
        yield name, size, len(images) / seconds, *each, *known


def report_passes(folder: Path, faces: Faces) -> Iterator[tuple[Cell, ...]]:
    """Yield passes and seconds of the maps of a report, of two classes per face, and of their tests."""
    verified = load_verified(folder)
    scored = score_faces(verified, faces)
    methods = choose_methods(verified.network, None).methods
    logits = predict_logits(verified.network, faces.images)
    for method in methods:
        yield (
            method.name,
            *_passes(
                verified,
                faces,
                lambda: explain_faces(verified, faces, scored.probabilities, (method,), logits=logits),  # noqa: B023
            ),
        )
    explained = explain_faces(verified, faces, scored.probabilities, methods, logits=logits)
    skill = Skill(True, "assumed", "")
    yield "tests of the maps", *_passes(verified, faces, lambda: check_maps(verified, explained, scored, skill))


def _passes(verified: VerifiedModel, faces: Faces, way: Callable[[], object]) -> tuple[float, float, float]:
    with PassCounter(verified.network) as passes:
        seconds, _ = timed(way)
    return passes.forward / len(faces), passes.backward / len(faces), seconds


@benchmark(
    data_argument,
    models_option("course-cnn", "course-dnn", "compact", "best"),
    faces_option(1000),
    count_option("--method-faces", 32, "Number of faces for the table of methods."),
    count_option("--repeats", 3, "Timed runs of saliency."),
)
def main(
    report: Report, data: Path | None, models: tuple[Path, ...], faces: int, method_faces: int, repeats: int
) -> None:
    """Print the tables."""
    path = find_data(data, "public_test.csv", "test.csv", "fer2013.csv")
    measured = (read_faces(path) if path else drawn_faces(faces)).take(slice(faces))
    images = measured.images
    for folder in models:
        with true_float32():
            compare_saliency(report, folder, images, repeats)
    few = measured.take(slice(method_faces))
    report.table(
        f"Every method, {models[0].name}: {len(few):,} faces",
        {
            "method": TEXT,
            "batch size": "{:,d}",
            "faces/s": "{:,.1f}",
            "forward passes per face": "{:,.1f}",
            "backward": "{:,.1f}",
            "median error": "{:.1%}",
            "largest": "{:.1%}",
        },
        method_rates(report, models[0], few.images),
        conditions=f"{MEMORY_MB:g} MiB, one run",
    )
    if report.device == "cpu":  # on which reports are written
        report.table(
            f"A report, {models[-1].name}: {len(few):,} faces",
            {"part": TEXT, "forward passes per face": "{:,.1f}", "backward": "{:,.1f}", "s": "{:,.1f}"},
            report_passes(models[-1], few),
            conditions="one run",
        )


if __name__ == "__main__":
    main()
