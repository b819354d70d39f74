"""Score a CSV: `fer-infer score` against ONNX Runtime alone, and against what tutorials and other packages do.

DATA is a CSV, or a folder with test.csv; by default faces are drawn. On a CPU, ONNX Runtime gets decoded batches and
uses its own threads. On a GPU, it gets one batch that is on the device already, as often as needed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.harness.command import (
    benchmark,
    count_option,
    data_argument,
    models_option,
    repeats_option,
)
from benchmarks.harness.faces import find_data, write_faces
from benchmarks.harness.report import Goal, Report
from benchmarks.harness.side_by_side import compare
from benchmarks.peers.fer_package import FerPackage
from benchmarks.read_csv import pixel_texts
from fer_core import IMAGE_SIZE, ModelError, read_faces
from fer_infer import Scorer, score
from fer_infer.runtime.cuda import CudaOptions
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_infer.runtime.runners import INPUT, OUTPUTS
from fer_infer.runtime.session import open_session
from fer_train.exporting.half import halve
from fer_train.runs.checkpoint import load_model

FACES: Final = {"course-cnn": 1500, "compact": 7178}
"""Faces per model, if no number is given: compact scores as many as test.csv has."""
PRECISIONS: Final = {"cpu": ("int8", "fp32"), "cuda": ("fp16", "fp32")}
BATCH_SIZES: Final = {"cpu": 128, "cuda": 2048}
COLUMNS: Final = ("id-label", "probabilities")

TUTORIAL: Final = "pandas + PyTorch eager, fp32"
PACKAGE: Final = "pandas + the package fer, TFLite"

Images = NDArray[np.uint8]
Way = Callable[[], object]


def whole(precision: str, columns: str) -> str:
    """Name a way from the CSV to the predictions."""
    return f"fer_infer.score, {precision}, {columns}"


def decoded(precision: str) -> str:
    """Name the scorer's way from decoded faces to scores."""
    return f"fer_infer.Scorer, {precision}, decoded faces"


def alone(precision: str, device: str) -> str:
    """Name ONNX Runtime's own way from decoded faces to scores."""
    return f"ONNX Runtime alone, {precision}, {'decoded' if device == 'cpu' else 'resident'} batches"


def with_pandas(path: Path) -> NDArray[np.float32]:
    """Read a CSV as tutorials do: pandas, and np.fromstring per row."""
    images = np.stack([np.fromstring(cell, dtype=np.float32, sep=" ") for cell in pixel_texts(path)])
    return images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def save(labels: NDArray[np.int64], path: Path) -> None:
    """Write predictions as tutorials do."""
    pd.DataFrame({"id": np.arange(len(labels)), "label": labels}).to_csv(path, index=False)


def with_pytorch(path: Path, model: torch.nn.Module, output: Path) -> None:
    """Score with PyTorch, eager, float32, batches of 64."""
    faces = torch.from_numpy(with_pandas(path)).unsqueeze(1)
    with torch.no_grad():
        labels = [model(batch).argmax(1) for batch in torch.split(faces, 64)]
    save(torch.cat(labels).numpy(), output)


def with_naive_onnx(path: Path, session: Any, output: Path) -> None:
    """Score with ONNX Runtime, one face per call."""
    faces = with_pandas(path).astype(np.uint8)
    save(np.array([session.run(["logits"], {INPUT: face[None]})[0][0].argmax() for face in faces]), output)


def with_fer_package(path: Path, model: FerPackage, output: Path) -> None:
    """Score with the package's model, in batches."""
    save(model.probabilities(with_pandas(path)).argmax(1), output)


def own_session(graph: Path) -> Any:
    """Return a session on the CPU with the default options of ONNX Runtime."""
    return load_runtime().InferenceSession(str(graph), providers=["CPUExecutionProvider"])


def in_batches(session: Any, images: Images) -> None:
    """Run a session on decoded faces."""
    size = BATCH_SIZES["cpu"]
    for start in range(0, len(images), size):
        session.run(["logits"], {INPUT: images[start : start + size]})


def resident(graph: Path, faces: int, size: int, device: str = "cuda", options: CudaOptions | None = None) -> Way:
    """Return a way that runs a graph on one batch on the device, as often as `faces` need; nothing is copied."""
    session, _ = open_session(graph, device, cuda=options)
    values = load_runtime().OrtValue
    binding = session.io_binding()
    images = np.random.default_rng(0).integers(0, 256, (size, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    binding.bind_ortvalue_input(INPUT, values.ortvalue_from_numpy(images, device))
    for name, output in zip(OUTPUTS, session.get_outputs(), strict=True):
        shape = (size, output.shape[1])
        binding.bind_ortvalue_output(name, values.ortvalue_from_shape_and_type(shape, np.float32, device))

    def way() -> None:
        for _ in range(math.ceil(faces / size)):
            session.run_with_iobinding(binding)

    return way


def resident_pytorch(folder: Path, precision: str, faces: int, size: int, *, compiled: bool) -> Way:
    """Return the same way with the PyTorch model; float32 is not TensorFloat-32, as in the scorer."""
    model = load_model(folder)
    model = (halve(model) if precision == "fp16" else model).to("cuda")
    if compiled:
        model.compile(mode="reduce-overhead")  # which captures CUDA graphs
    batch = torch.randint(0, 256, (size, 1, IMAGE_SIZE, IMAGE_SIZE), dtype=torch.uint8, device="cuda")

    def way() -> None:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            for _ in range(math.ceil(faces / size)):
                logits = model(batch.float().contiguous(memory_format=torch.channels_last)).float()
            torch.softmax(logits, dim=1).cpu()

    return way


def ways_of(folder: Path, path: Path, device: str, package: FerPackage | None) -> dict[str, Way | None]:
    """Return every way to score with one exported model, None for those not available."""
    images, size = read_faces(path).images, BATCH_SIZES[device]
    output, peer = path.with_name("predictions.csv"), path.with_name("peer.csv")
    ways: dict[str, Way | None] = {}
    for precision in PRECISIONS[device]:
        try:
            scorer = Scorer(folder, device, precision)
        except ModelError:  # not exported in this precision
            ways |= dict.fromkeys((whole(precision, "id-label"), decoded(precision), alone(precision, device)))
            continue
        for columns in COLUMNS:
            ways[whole(precision, columns)] = partial(
                score,
                path,
                folder,
                output,
                device=device,
                precision=precision,
                columns=columns,
                batch_size=size,
                force=True,
            )
        ways[decoded(precision)] = partial(scorer.run, images, batch_size=size)
        if device == "cpu":
            ways[alone(precision, device)] = partial(in_batches, own_session(scorer.path), images)
            continue
        ways[alone(precision, device)] = resident(scorer.path, len(images), size)
        for compiled in (False, True):
            name = f"PyTorch {'compiled' if compiled else 'eager'}, {precision}, resident batches"
            ways[name] = resident_pytorch(folder, precision, len(images), size, compiled=compiled)
    if device == "cpu":
        naive = own_session(folder / "model.onnx")
        ways["pandas + ONNX Runtime, fp32, one by one"] = partial(with_naive_onnx, path, naive, peer)
        ways[PACKAGE] = partial(with_fer_package, path, package, peer) if package else None
        eager = load_model(folder)
        eager.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # PyTorch's default
        ways[TUTORIAL] = partial(with_pytorch, path, eager, peer)
    return ways


def goals_of(name: str, rates: dict[str, float], device: str) -> list[Goal]:
    """Return the goals of one model."""

    def ratio(way: str, against: str) -> float | None:
        return rates[way] / rates[against] if way in rates and against in rates else None

    if device == "cuda":
        way, peer = whole("fp16", "id-label"), alone("fp16", device)
        return [Goal(f"{name}: {way}, times as fast as {peer}", ratio(way, peer), at_least=0.9)]
    int8 = whole("int8", "id-label")
    goals = [Goal(f"{name}: {int8}, times as fast as {TUTORIAL}", ratio(int8, TUTORIAL), at_least=5)]
    for precision in PRECISIONS[device]:
        for way in (whole(precision, columns) for columns in COLUMNS):
            for peer in (alone(precision, device), decoded(precision)):
                goals.append(Goal(f"{name}: {way}, times the seconds of {peer}", ratio(peer, way), at_most=1.05))
    if name == "compact":
        goals.append(Goal(f"{name}: {int8}, faces/s", rates.get(int8), at_least=8000))
        goals.append(Goal(f"{name}: {int8}, times as fast as {PACKAGE}", ratio(int8, PACKAGE), at_least=1))
    return goals


@benchmark(
    data_argument,
    models_option(*FACES),
    count_option("--faces", None, "Number of faces.  [default: 1500, with compact 7178]"),
    repeats_option(5),
)
def main(report: Report, data: Path | None, models: tuple[Path, ...], faces: int | None, repeats: int) -> None:
    """Print a table and the goals of each model."""
    package = None
    if report.device == "cpu":
        try:
            package = FerPackage()
        except LookupError as error:
            report.note(f"The package fer is not measured: {error}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.csv"
        for model in models:
            n = faces or FACES.get(model.name, 1500)
            about = write_faces(find_data(data, "test.csv", "public_test.csv", "fer2013.csv"), n, path)
            ways = ways_of(model, path, report.device, package)
            title = f"CSV to predictions, {model.name}, {report.device.upper()}: {about}"
            rates = compare(report, title, ways, units=n, unit="faces", repeats=repeats)
            report.goals(*goals_of(model.name, rates, report.device))


if __name__ == "__main__":
    main()
