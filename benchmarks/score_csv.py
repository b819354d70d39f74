"""CSV to predictions: `fer-infer score` against the tutorial way, with the same weights, and against the model alone.

python benchmarks/score_csv.py [DATA]    default: 2,000 drawn faces
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _side_by_side import compare

from fer_core import IMAGE_SIZE, read_faces
from fer_core.csv_writer import write_csv
from fer_infer import Scorer, score
from fer_train.checkpoint import load_model
from fer_train.data import synthesize

MODEL = Path(__file__).resolve().parent.parent / "exports" / "course-cnn"


def tutorial(path: Path, model: torch.nn.Module) -> np.ndarray:
    """Score as tutorials do: pandas, np.fromstring a row, PyTorch eager in float32, batches of 64."""
    table = pd.read_csv(path)
    column = next(name for name in table.columns if name.strip() in ("pixels", "feature"))
    images = np.stack([np.fromstring(cell, dtype=np.float32, sep=" ") for cell in table[column]])
    faces = torch.from_numpy(images).reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        labels = torch.cat([model(batch).argmax(1) for batch in torch.split(faces, 64)]).numpy()
    pd.DataFrame({"id": np.arange(len(labels)), "label": labels}).to_csv(path.with_suffix(".tutorial"), index=False)
    return labels


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "faces.csv", Path(folder) / "predictions.csv"
        if len(sys.argv) > 1:
            path.symlink_to(Path(sys.argv[1]).resolve())
        else:
            write_csv(synthesize(2000, 0), path)
        model, scorer, faces = load_model(MODEL), Scorer(MODEL), read_faces(path)
        if not np.array_equal(scorer.score(faces.images).argmax(1), tutorial(path, model)):
            sys.exit("the ways disagree")
        compare(
            f"{MODEL.name}, fp32, {scorer.provider}: {len(faces):,} faces",
            {
                "fer_infer.score": lambda: score(path, MODEL, output, force=True),
                "ONNX Runtime alone, decoded faces": lambda: scorer.run(faces.images),
                "pandas + np.fromstring + PyTorch": lambda: tutorial(path, model),
            },
            units=len(faces),
            unit="faces",
            repeats=3,
        )


if __name__ == "__main__":
    main()
