"""Steps that score with the CUDA provider: how near to the original, how fast, in how much memory, by which kernels."""

from __future__ import annotations

import gc
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from record import Entry, Record, SkippedError
from timing import Way, side_by_side
from torch import nn
from workbench import Workbench

from fer_core import IMAGE_SIZE
from fer_infer import Scorer, score
from fer_infer.graph_selection import find_graph
from fer_infer.runtime.cuda import CUDA_PROVIDER, CudaOptions
from fer_infer.runtime.onnx_runtime import load_runtime
from fer_infer.runtime.runners import INPUT, OUTPUTS
from fer_infer.runtime.session import CPU_PROVIDER, open_session
from fer_train.exporting.agreement import Agreement, halve
from fer_train.models import count_multiply_adds
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model
from fer_train.training.trainer import fit

PRECISIONS: Final = ("fp32", "fp16")

VARIANTS: Final[dict[str, CudaOptions]] = {
    "default": CudaOptions(),
    "pageable": CudaOptions(page_locked=False),
    "graph": CudaOptions(cuda_graph=True),
    "nhwc": CudaOptions(prefer_nhwc=True),
    "nhwc graph": CudaOptions(prefer_nhwc=True, cuda_graph=True),
    "exhaustive": CudaOptions(algorithm_search="EXHAUSTIVE"),
    "exhaustive nhwc graph": CudaOptions(algorithm_search="EXHAUSTIVE", prefer_nhwc=True, cuda_graph=True),
    "tf32": CudaOptions(tf32=True),
    "tf32 nhwc graph": CudaOptions(tf32=True, prefer_nhwc=True, cuda_graph=True),
}
"""Ways to use the GPU; TensorFloat-32 concerns float32 alone."""

SWEPT: Final = ("default", "nhwc graph")
"""Variants that are tried at every batch size, not only the middle one."""

COPIES: Final = 10
"""Times that the data stand in the CSV that is scored, so that loading the model hardly counts."""

COSTLY: Final = 500_000_000
"""Multiply-adds a face from which two copies are enough."""


def variants(precision: str) -> Iterator[tuple[str, CudaOptions]]:
    """Yield the variants that make a difference at a precision."""
    return ((name, options) for name, options in VARIANTS.items() if precision == "fp32" or not options.tf32)


def batch_sizes(bench: Workbench) -> tuple[int, ...]:
    """Return the batch sizes of the sweep."""
    return (16, 64) if bench.quick else (128, 512, 2048, 16384)


def middle(bench: Workbench) -> int:
    """Return the batch size at which variants are compared."""
    return 64 if bench.quick else 2048


def parity(bench: Workbench, record: Record) -> None:
    """Compare every variant with the PyTorch original, computed in float32 on the CPU, on all PublicTest rows."""

    @cache
    def expected(folder: Path) -> NDArray[np.float32]:
        return predict_logits(load_model(folder), bench.public.images)

    def measure(model: str, precision: str, options: CudaOptions) -> Entry:
        scorer = _open(bench, model, precision, options)
        found = scorer.run(bench.public.images, batch_size=middle(bench))[0]
        return asdict(Agreement.of(bench.public, scorer.provider, found, expected(bench.exported(model))))

    for model in bench.models:
        for precision in PRECISIONS:
            for name, options in variants(precision):
                record.take(f"{model}/{precision}/{name}", partial(measure, model, precision, options))


def _open(bench: Workbench, model: str, precision: str, options: CudaOptions = CudaOptions()) -> Scorer:  # noqa: B008 - frozen
    if options != CudaOptions():
        bench.require_cuda()
    if bench.device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()  # what PyTorch keeps for itself is not there for ONNX Runtime
    return Scorer(bench.exported(model), bench.device, precision, cuda=options)


def score_speed(bench: Workbench, record: Record) -> None:
    """Compare the whole road from a CSV, the variants, the batch sizes and PyTorch with ONNX Runtime alone."""
    for model in bench.models:
        for precision in PRECISIONS:
            record.take(f"{model}/{precision}/csv", partial(_from_csv, bench, model, precision))
            for compiled in (False, True):
                key = f"{model}/{precision}/PyTorch {'compiled' if compiled else 'eager'}"
                record.take(key, partial(_against_torch, bench, model, precision, compiled))
    for model in bench.models:
        for precision in PRECISIONS:
            for name, options in variants(precision):
                for size in batch_sizes(bench) if name in SWEPT else (middle(bench),):
                    key = f"{model}/{precision}/{name}/batch-{size}"
                    record.take(key, partial(_decoded, bench, model, precision, options, size))


def _from_csv(bench: Workbench, model: str, precision: str) -> Entry:
    """Time the road from a CSV, that from decoded faces, and ONNX Runtime alone."""
    folder, size = bench.exported(model), middle(bench)
    scorer = _open(bench, model, precision)
    multiply_adds = count_multiply_adds(load_model(folder))
    csv = bench.csv if bench.quick else _long_csv(bench, 2 if multiply_adds > COSTLY else COPIES)
    images = _images(bench)
    settings: dict[str, Any] = {"device": bench.device, "precision": precision, "batch_size": size, "force": True}
    with tempfile.TemporaryDirectory(dir=bench.state) as scratch:
        rows = score(csv, folder, Path(scratch) / "out.csv", **settings).rows
        found = side_by_side(
            {
                "csv to predictions": lambda: score(csv, folder, Path(scratch) / "out.csv", **settings),
                "decoded faces to scores": lambda: _repeated(scorer, images, rows, size),
                "ONNX Runtime alone": _resident(scorer.path, bench.device, CudaOptions(), size, rows),
            },
            units=rows,
            repeats=bench.repeats,
            warm_ups=1,
        )
    return {"provider": scorer.provider, "batch_size": size, "multiply_adds": multiply_adds, **found}


def _decoded(bench: Workbench, model: str, precision: str, options: CudaOptions, size: int) -> Entry:
    """Time decoded faces to scores in one variant, and ONNX Runtime alone in the same variant."""
    scorer = _open(bench, model, precision, options)
    images = _images(bench)
    found = side_by_side(
        {
            "decoded faces to scores": lambda: scorer.run(images, batch_size=size),
            "ONNX Runtime alone": _resident(scorer.path, bench.device, options, size, len(images)),
        },
        units=len(images),
        repeats=bench.repeats,
    )
    return {"provider": scorer.provider, "batch_size": size, **found}


def _against_torch(bench: Workbench, model: str, precision: str, compiled: bool) -> Entry:
    """Time decoded faces to scores, and PyTorch on faces that are on the device already."""
    if compiled and bench.quick:
        raise SkippedError("a rehearsal compiles nothing")
    size, images = middle(bench), _images(bench)
    scorer = _open(bench, model, precision)
    return {
        "batch_size": size,
        **side_by_side(
            {
                "decoded faces to scores": lambda: scorer.run(images, batch_size=size),
                "PyTorch, resident": _torch_way(bench, model, precision, size, len(images), compiled),
            },
            units=len(images),
            repeats=bench.repeats,
            warm_ups=3,
        ),
    }


def _torch_way(bench: Workbench, model: str, precision: str, size: int, rows: int, compiled: bool) -> Way:
    """Run the original on one batch of the device, again and again; TensorFloat-32 is off, as in the scorer."""
    network: nn.Module = load_model(bench.exported(model))
    network = halve(network) if precision == "fp16" else network
    network = network.to(bench.device).to(memory_format=torch.channels_last)
    if compiled:
        network.compile(mode="reduce-overhead")  # which captures CUDA graphs
    batch = torch.from_numpy(_images(bench)[:size]).to(bench.device).unsqueeze(1)

    def way() -> None:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            for _ in range(-(-rows // size)):
                logits = network(batch.float().contiguous(memory_format=torch.channels_last)).float()
            torch.softmax(logits, dim=1).cpu()

    return way


def _resident(graph: Path, device: str, options: CudaOptions, size: int, rows: int) -> Way:
    """Run a graph on one batch that is on the device already, as often as `rows` need; nothing is copied."""
    session, _ = open_session(graph, device, cuda=options)
    runtime = load_runtime()
    buffer = runtime.OrtValue.ortvalue_from_shape_and_type
    binding = session.io_binding()
    faces = np.random.default_rng(0).integers(0, 256, (size, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    binding.bind_ortvalue_input(INPUT, runtime.OrtValue.ortvalue_from_numpy(faces, device))
    for name, output in zip(OUTPUTS, session.get_outputs(), strict=True):
        binding.bind_ortvalue_output(name, buffer((size, output.shape[1]), np.float32, device))

    def way() -> None:
        for _ in range(-(-rows // size)):
            session.run_with_iobinding(binding)

    return way


def _repeated(scorer: Scorer, images: NDArray[np.uint8], rows: int, size: int) -> None:
    """Score `images` over and over until `rows` faces are done."""
    done = 0
    while done < rows:
        done += len(scorer.run(images[: rows - done], batch_size=size)[0])


def _images(bench: Workbench) -> NDArray[np.uint8]:
    """Return as many Training faces as the largest batch of the sweep."""
    images = bench.splits.training.images
    return images[np.arange(max(batch_sizes(bench))) % len(images)]


def _long_csv(bench: Workbench, copies: int) -> Path:
    """Return a CSV with the rows of the data several times."""
    path = bench.state / f"long-{copies}.csv"
    if not path.is_file():
        part = path.with_suffix(".part")
        with part.open("wb") as output:
            for number in range(copies):
                with bench.csv.open("rb") as data:
                    if number:
                        data.readline()
                    shutil.copyfileobj(data, output, 2**24)
        part.replace(path)
    return path


def memory(bench: Workbench, record: Record) -> None:
    """Take the GPU memory that a scorer holds after scoring, by batch size, and the peak of a training epoch."""

    def training(model: str) -> Entry:
        bench.require_cuda()
        torch.cuda.reset_peak_memory_stats()
        config = bench.config(model, 0, epochs=1)
        with tempfile.TemporaryDirectory(dir=bench.state) as folder:
            fit(bench.splits, config, Path(folder) / "run")
        return {"peak_mib": torch.cuda.max_memory_allocated() / 2**20, "batch_size": config.batch_size}

    def scoring(model: str, precision: str, size: int) -> Entry:
        bench.require_cuda()
        gc.collect()  # of the sessions before
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info()[0]
        scorer = _open(bench, model, precision)
        scorer.run(_images(bench)[: 2 * size], batch_size=size)
        return {"held_mib": (free - torch.cuda.mem_get_info()[0]) / 2**20, "batch_size": size}

    for model in bench.models:
        record.take(f"{model}/training", partial(training, model))
        for precision in PRECISIONS:
            for size in batch_sizes(bench):
                record.take(f"{model}/{precision}/batch-{size}", partial(scoring, model, precision, size))


def profile(bench: Workbench, record: Record) -> None:
    """Record which provider ran which nodes, by ONNX Runtime's own profile, and which CUDA kernels CUPTI saw."""
    for model in bench.models:
        for precision in PRECISIONS:
            record.take(f"{model}/{precision}/nodes", partial(_nodes, bench, model, precision))
            record.take(f"{model}/{precision}/kernels", partial(_kernels, bench, model, precision))


def _nodes(bench: Workbench, model: str, precision: str) -> Entry:
    graph = find_graph(bench.exported(model), precision, bench.device)
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.enable_profiling = True
    cuda = [(CUDA_PROVIDER, CudaOptions().provider_options())] if bench.device == "cuda" else []
    with tempfile.TemporaryDirectory(dir=bench.state) as scratch:
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = runtime.InferenceSession(str(graph), options, [*cuda, CPU_PROVIDER], enable_fallback=0)
        for _ in range(3):
            session.run(OUTPUTS, {INPUT: _images(bench)[: middle(bench)]})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    by_provider: dict[str, Counter[str]] = {}
    for event in events:
        if event.get("cat") == "Node" and "provider" in event.get("args", {}):
            by_provider.setdefault(event["args"]["provider"], Counter())[event["args"]["op_name"]] += event["dur"]
    return {"microseconds": {provider: dict(spent.most_common()) for provider, spent in by_provider.items()}}


def _kernels(bench: Workbench, model: str, precision: str) -> Entry:
    bench.require_cuda()
    scorer, images = _open(bench, model, precision), _images(bench)
    scorer.run(images, batch_size=middle(bench))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        scorer.run(images, batch_size=middle(bench))
    spent = Counter({event.key[:120]: event.device_time_total for event in seen.key_averages()})
    return {"microseconds": dict(spent.most_common(15))}
