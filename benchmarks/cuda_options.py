"""Score on a GPU in every way that `fer_infer.runtime.cuda.CudaOptions` offers: speed, memory and agreement.

The differences are those of the logits from the PyTorch model's in float32 on the CPU. Speed is the rate of decoded
faces to scores, and of ONNX Runtime alone on a batch that is on the device already. DATA is a CSV; by default faces
are drawn. Without a GPU, the default options are measured on the CPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.command import benchmark, count_option, data_argument, faces_option, models_option
from benchmarks.harness.faces import drawn_faces
from benchmarks.harness.report import TEXT, Cell, Report
from benchmarks.score_csv import resident
from fer_core import ModelError, read_faces
from fer_infer import Scorer
from fer_infer.diagnostics.stopwatch import timed
from fer_infer.runtime.cuda import CudaOptions
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model

OPTIONS: Final = {
    "default": CudaOptions(),
    "pageable memory": CudaOptions(page_locked=False),
    "CUDA graph": CudaOptions(cuda_graph=True),
    "NHWC": CudaOptions(prefer_nhwc=True),
    "NHWC, CUDA graph": CudaOptions(prefer_nhwc=True, cuda_graph=True),
    "exhaustive search": CudaOptions(algorithm_search="EXHAUSTIVE"),
    "exhaustive search, NHWC, CUDA graph": CudaOptions(
        algorithm_search="EXHAUSTIVE", prefer_nhwc=True, cuda_graph=True
    ),
    "TF32": CudaOptions(tf32=True),
    "TF32, NHWC, CUDA graph": CudaOptions(tf32=True, prefer_nhwc=True, cuda_graph=True),
}
"""TensorFloat-32 changes float32 graphs only."""

COLUMNS: Final = {
    "precision": TEXT,
    "options": TEXT,
    "batch size": "{:,d}",
    "faces/s": "{:,.0f}",
    "ONNX Runtime alone, faces/s": "{:,.0f}",
    "GPU memory, MiB": "{:,.0f}",
    "max abs. logit difference": "{:.2g}",
    "changed predictions": "{:,d}",
}

Images = NDArray[np.uint8]


def free_bytes(device: str) -> int:
    """Return the free GPU memory, after everything unused has been freed; 0 on a CPU."""
    if device == "cpu":
        return 0
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]


def measure(report: Report, folder: Path, images: Images, sizes: tuple[int, ...], repeats: int) -> Iterator[list[Cell]]:
    """Yield one row per precision, options and batch size."""
    expected = predict_logits(load_model(folder), images)
    for precision in ("fp32", "fp16"):
        for name, options in OPTIONS.items():
            if (report.device == "cpu" and name != "default") or (options.tf32 and precision != "fp32"):
                continue
            for size in sizes:
                before = free_bytes(report.device)
                try:
                    scorer = Scorer(folder, report.device, precision, cuda=options)
                except ModelError:
                    continue  # not exported in this precision
                logits = scorer.run(images, batch_size=size)[0]
                held = before - free_bytes(report.device)
                ways = (
                    partial(scorer.run, images, batch_size=size),
                    resident(scorer.path, len(images), size, report.device, options),
                )
                rates: list[Cell] = []
                for way in ways:
                    way()
                    seconds = [timed(way, report.wait)[0] for _ in range(repeats)]
                    rates.append(len(images) / float(np.median(seconds)))
                difference = float(np.abs(logits - expected).max())
                changed = int((logits.argmax(1) != expected.argmax(1)).sum())
                memory = held / 2**20 if report.device == "cuda" else None
                yield [precision, name, size, *rates, memory, difference, changed]


@benchmark(
    data_argument,
    models_option("course-cnn", "compact"),
    faces_option(16384),
    count_option("--batch-size", None, "The only batch size.  [default: 128, 512, 2048 and 16384]"),
    count_option("--repeats", 5, "Timed runs."),
)
def main(
    report: Report, data: Path | None, models: tuple[Path, ...], faces: int, batch_size: int | None, repeats: int
) -> None:
    """Print a table per model."""
    images = (read_faces(data) if data else drawn_faces(faces)).images
    images = np.ascontiguousarray(images[np.arange(faces) % len(images)])
    sizes = (128, 512, 2048, 16384) if batch_size is None else (batch_size,)
    for folder in models:
        rows = measure(report, folder, images, sizes, repeats)
        report.table(f"CUDA options, {folder.name}: {faces:,} faces", COLUMNS, rows, conditions=f"median of {repeats}")


if __name__ == "__main__":
    main()
