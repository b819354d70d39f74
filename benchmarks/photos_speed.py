"""Compare the scoring of photos with the package `fer` and with loops over one photo at a time.

The photos have one megapixel and are JPEG files of quality 90: pictures of scikit-image, most of them with one to three
times the face of its astronaut. Each way reads the files, finds faces, predicts them and writes a CSV. Detections are
counted, and not compared with the faces in the photos one by one. CPU time is that of all threads of the
process. Nothing is warmed up: starting is part of the time of the first run.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.harness.command import benchmark, count_option, models_option, repeats_option
from benchmarks.harness.photos import write_photos
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from benchmarks.harness.side_by_side import compare
from benchmarks.peers.fer_package import FerPhotos
from benchmarks.peers.opencv_loop import OpenCvLoop
from fer_infer import Scorer, score
from fer_infer.photos.detector import FaceDetector
from fer_infer.photos.find import align
from fer_infer.photos.images import read_photo
from fer_infer.scoring.writers.table_writer import Column, open_table

OURS: Final = "fer_infer.score"
PACKAGE: Final = "the package fer, Haar"
LOOPS: Final = {name: f"one by one, OpenCV {name}, fp32" for name in ("Haar", "YuNet")}

CPU_COLUMNS: Final = {"way": TEXT, "CPU ms per photo": "{:,.1f}", f"against {OURS}": "{:.2f}x", "detections": "{:,d}"}
PART_COLUMNS: Final = {"part": TEXT, "CPU ms per photo": "{:,.2f}", "share": "{:.0%}"}

Way = Callable[[], int]


class Cost(NamedTuple):
    """CPU time of a way in seconds, and the number of its detections."""

    cpu_s: float
    detections: int


def with_ours(folder: Path, model: Path, output: Path) -> int:
    """Score photos with this toolkit; return the number of faces."""
    return score(folder, model, output, faces="detect", device="cpu", force=True).rows


def with_loop(emotions: Callable[[Path], list[Any]], photos: list[Path], output: Path) -> int:
    """Score photos one by one and write a row per face; return the number of faces."""
    with output.open("w", newline="", encoding="utf-8") as file:
        writer, faces = csv.writer(file), 0
        for photo in photos:
            found = emotions(photo)
            writer.writerows([photo.name, number, *face] for number, face in enumerate(found, start=1))
            faces += len(found)
    return faces


def peers(report: Report, folder: Path, graph: Path) -> Mapping[str, Callable[[Path], list[Any]] | None]:
    """Return what predicts the faces of a photo by the name of the way; None where it is not available."""
    starts: dict[str, Callable[[], Any]] = {
        name: partial(OpenCvLoop, detector, graph) for detector, name in LOOPS.items()
    }
    starts[PACKAGE] = partial(FerPhotos, folder)
    ready: dict[str, Callable[[Path], list[Any]] | None] = {}
    for name, start in starts.items():
        try:
            ready[name] = start().emotions
        except LookupError as error:
            ready[name] = None
            report.note(f"{name} is not measured: {error}.")
    return ready


def noting_cpu(way: Way, costs: list[Cost]) -> Callable[[], None]:
    """Return a way that also notes its CPU time, of all threads, and its result."""

    def measured() -> None:
        start_s = time.process_time()
        detections = way()
        costs.append(Cost(time.process_time() - start_s, detections))

    return measured


def parts_of(photos: list[Path], model: Path, output: Path) -> dict[str, float]:
    """Return the CPU seconds of each part, one after another."""
    detector = FaceDetector()
    images, rows = [], []
    seconds = dict.fromkeys(("decode", "find", "align", "predict", "write"), 0.0)

    def timed(part: str, call: Callable[[], Any]) -> Any:
        start_s = time.process_time()
        result = call()
        seconds[part] += time.process_time() - start_s
        return result

    for photo in photos:
        pixels = timed("decode", partial(read_photo, photo))
        for detection in timed("find", partial(detector.detect, pixels)):
            face = timed("align", partial(align, pixels, detection, detector))
            images.append(face.image)
            rows.append([photo.name, *face.box])
    with Scorer(model, "cpu") as scorer:
        classes = scorer.card.labels
        _, probabilities = timed("predict", partial(scorer.run, np.array(images))) if images else ([], [])
    columns = [Column("file", "text"), *(Column(name, "position") for name in ("left", "top", "width", "height"))]
    columns += [Column(name, "number") for name in classes]

    def write() -> None:
        with open_table(output, columns, name=output, about={}) as table:
            table.write([[*row, *shares.tolist()] for row, shares in zip(rows, probabilities, strict=True)])

    timed("write", write)
    return seconds


def part_rows(seconds: Mapping[str, float], photos: int) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of the table of parts."""
    total = sum(seconds.values())
    for part, spent in seconds.items():
        yield part, 1000 * spent / photos, spent / total
    yield "together", 1000 * total / photos, 1.0


@benchmark(
    models_option("best", "compact"),
    count_option("--photos", 1000, "Number of photos."),
    repeats_option(3),
    cuda=False,
)
def main(report: Report, models: tuple[Path, ...], photos: int, repeats: int) -> None:
    """Print a table of rates, of CPU time and of parts per model, and the goals."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, package, output = (Path(scratch) / name for name in ("photos", "package", "predictions.csv"))
        folder.mkdir()
        package.mkdir()
        faces = write_photos(folder, photos)
        files = sorted(folder.iterdir())
        about = f"{photos:,} photos of 1 megapixel with {faces:,} faces"
        for model in models:
            costs: dict[str, list[Cost]] = {OURS: []}
            ways: dict[str, Callable[[], None] | None] = {
                OURS: noting_cpu(partial(with_ours, folder, model, output), costs[OURS])
            }
            for name, emotions in peers(report, package, model / "model.onnx").items():
                costs[name] = []
                way = None if emotions is None else partial(with_loop, emotions, files, output.with_name("peer.csv"))
                ways[name] = None if way is None else noting_cpu(way, costs[name])
            rates = compare(
                report,
                f"Photos to predictions, {model.name}: {about}",
                ways,
                units=photos,
                unit="photos",
                repeats=repeats,
                warm_ups=0,
            )
            report.table(f"CPU time, {model.name}", CPU_COLUMNS, cpu_rows(costs, photos))
            parts = parts_of(files, model, output.with_name("parts.csv"))
            report.table(f"Parts of {OURS}, {model.name}, in one thread", PART_COLUMNS, part_rows(parts, photos))
            report.goals(
                *(
                    Goal(
                        f"{model.name}: times as fast as {name}",
                        rates[OURS] / rates[name] if name in rates else None,
                        at_least=3,
                    )
                    for name in (*LOOPS.values(), PACKAGE)
                )
            )


def cpu_rows(costs: Mapping[str, list[Cost]], photos: int) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of the table of CPU time: medians of all calls."""
    ours = median(cost.cpu_s for cost in costs[OURS])
    for name, measured in costs.items():
        if measured:
            spent = median(cost.cpu_s for cost in measured)
            yield name, 1000 * spent / photos, spent / ours, measured[-1].detections


if __name__ == "__main__":
    main()
