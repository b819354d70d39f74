"""CSV to predictions: `fer-infer score` against the model alone and against what people run.

python benchmarks/score_csv.py [DATA]    a CSV, or a folder with test.csv; default: drawn faces

Each model scores as many faces as take it seconds, the first ones of DATA.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from _fer_package import FerPackage
from _side_by_side import Goal, compare, print_goals, real_data

from fer_core import IMAGE_SIZE, ModelError, read_faces
from fer_core.io.csv.writer import write_csv
from fer_infer import Scorer, score
from fer_infer.config import DEFAULT_BATCH_SIZE
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_train.data.splits import synthesize
from fer_train.runs.checkpoint import load_model

EXPORTS: Final = Path(__file__).resolve().parent.parent / "exports"
MODELS: Final = {"course-cnn": 1500, "compact": 7178}
"""Exported models, and how many faces each scores: compact as many as test.csv has."""
PRECISIONS: Final = ("int8", "fp32")

TUTORIAL: Final = "pandas + PyTorch eager, fp32"
PACKAGE: Final = "pandas + the package fer, TFLite"

TIMES_TUTORIAL: Final = 5
TIMES_ALONE: Final = 1.05
COMPACT_RATE: Final = 8000


def whole(precision: str, columns: str) -> str:
    """Name a way from the CSV to the predictions."""
    return f"fer_infer.score, {precision}, {columns}"


def alone(precision: str) -> str:
    """Name the way from decoded faces to logits that everyone takes: ONNX Runtime's own threads, batch by batch."""
    return f"ONNX Runtime alone, {precision}, decoded batches"


def decoded(precision: str) -> str:
    """Name our way from decoded faces to logits."""
    return f"fer_infer.Scorer, {precision}, decoded faces"


def with_pandas(path: Path) -> np.ndarray:
    """Read a CSV as tutorials do: pandas, and np.fromstring a row."""
    table = pd.read_csv(path)
    column = next(name for name in table.columns if name.strip() in ("pixels", "feature"))
    images = np.stack([np.fromstring(cell, dtype=np.float32, sep=" ") for cell in table[column]])
    return images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def save(labels: np.ndarray, path: Path) -> None:
    """Write predictions as tutorials do."""
    pd.DataFrame({"id": np.arange(len(labels)), "label": labels}).to_csv(path, index=False)


def with_pytorch(path: Path, model: torch.nn.Module, output: Path) -> None:
    """Score with PyTorch, eager, float32, batches of 64."""
    faces = torch.from_numpy(with_pandas(path)).unsqueeze(1)
    with torch.no_grad():
        save(torch.cat([model(batch).argmax(1) for batch in torch.split(faces, 64)]).numpy(), output)


def in_batches(session: Any, images: np.ndarray) -> list[np.ndarray]:
    """Run a session on faces that are in memory already."""
    return [
        session.run(["logits"], {"faces": images[start : start + DEFAULT_BATCH_SIZE]})[0]
        for start in range(0, len(images), DEFAULT_BATCH_SIZE)
    ]


def with_naive_onnx(path: Path, session: Any, output: Path) -> None:
    """Score with ONNX Runtime, one face a call."""
    faces = with_pandas(path).astype(np.uint8)
    save(np.array([session.run(["logits"], {"faces": face[None]})[0][0].argmax() for face in faces]), output)


def with_fer_package(path: Path, model: FerPackage, output: Path) -> None:
    """Score with the package's model, in batches."""
    save(model.probabilities(with_pandas(path)).argmax(1), output)


def _session(graph: Path) -> Any:
    return load_runtime().InferenceSession(str(graph), providers=["CPUExecutionProvider"])


def ways_of(
    folder: Path, path: Path, output: Path, package: FerPackage | None
) -> dict[str, Callable[[], object] | None]:
    """Return every way to score with one exported model, None for what is absent; the last is the tutorial's."""
    images = read_faces(path).images
    ways: dict[str, Callable[[], object] | None] = {}
    for precision in PRECISIONS:
        try:
            scorer = Scorer(folder, "cpu", precision)
        except ModelError:  # not exported in this precision
            scorer = None
        for columns in ("id-label", "probabilities"):
            ways[whole(precision, columns)] = scorer and partial(
                score, path, folder, output, device="cpu", precision=precision, columns=columns, force=True
            )
        ways[decoded(precision)] = scorer and partial(scorer.run, images)
        ways[alone(precision)] = scorer and partial(in_batches, _session(scorer.path), images)
    naive = _session(folder / "model.onnx")
    peer = output.with_suffix(".peer")
    ways["pandas + ONNX Runtime, fp32, one by one"] = partial(with_naive_onnx, path, naive, peer)
    ways[PACKAGE] = package and partial(with_fer_package, path, package, peer)
    eager = load_model(folder).to(memory_format=torch.contiguous_format)  # as PyTorch lays it out by itself
    ways[TUTORIAL] = partial(with_pytorch, path, eager, peer)
    return ways


def goals_of(name: str, seconds: dict[str, float], n: int) -> list[Goal]:
    """Return what one model is to reach, and does as far as it was measured."""

    def ratio(way: str, against: str) -> float | None:
        return seconds[way] / seconds[against] if way in seconds and against in seconds else None

    int8 = whole("int8", "id-label")
    goals = [Goal(f"{name}: {int8}, times as fast as {TUTORIAL}", ratio(TUTORIAL, int8), at_least=TIMES_TUTORIAL)]
    for precision in PRECISIONS:
        for columns in ("id-label", "probabilities"):
            way = whole(precision, columns)
            for peer in (alone(precision), decoded(precision)):
                goals.append(Goal(f"{name}: {way}, times of {peer}", ratio(way, peer), at_most=TIMES_ALONE))
    if name == "compact":
        rate = n / seconds[int8] if int8 in seconds else None
        goals.append(Goal(f"{name}: {int8}, faces/s", rate, at_least=COMPACT_RATE))
        goals.append(Goal(f"{name}: {int8}, times as fast as {PACKAGE}", ratio(PACKAGE, int8), at_least=1))
    return goals


def main() -> None:
    """Print a table and the goals for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    try:
        package = FerPackage()
    except LookupError as error:
        print(f"\nThe package fer is not measured: {error}.")
        package = None
    with tempfile.TemporaryDirectory() as temporary:
        real = real_data(chosen.data, "test.csv", "public_test.csv", "fer2013.csv")
        for name, rows in MODELS.items():
            path = Path(temporary) / f"{rows}.csv"
            if real is None:
                write_csv(synthesize(rows, 0), path)
            else:
                with real.open("rb") as lines:
                    path.write_bytes(b"".join(islice(lines, rows + 1)))
            n = len(read_faces(path))
            seconds: dict[str, float] = {}
            if (EXPORTS / name).is_dir():
                ways = ways_of(EXPORTS / name, path, Path(temporary) / "predictions.csv", package)
                title = f"{name}, CPU: {n:,} {'drawn faces' if real is None else f'faces of {real.name}'}"
                seconds = compare(title, ways, units=n, unit="faces", repeats=chosen.repeats)
            else:
                print(f"\n{name}, CPU: there is no exports/{name}")
            print_goals(*goals_of(name, seconds, n))


if __name__ == "__main__":
    main()
