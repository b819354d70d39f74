"""Compare with the expression models of @vladmandic/face-api and @vladmandic/human, which run in browsers.

DATA is fer2013.csv, or a folder with it; its PublicTest faces are used. Without DATA, faces are drawn. The packages run
in Node, on the WebAssembly backend of TensorFlow.js; the models of this project run in ONNX Runtime Web. All use one
thread. Faces: each library gets the 48x48 face as one that was found, and applies its own preprocessing. Its times
start at the gray levels; for Human, at the face that its detector would have cut out. Pictures: each face is enlarged
four times and put into a larger picture, and each library finds and predicts it with its own detector and settings. Our
models find and predict it in Python. The ways take turns, so that all have the same load of the machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.command import benchmark, count_option, data_argument, models_option, repeats_option
from benchmarks.harness.faces import drawn_faces, find_data
from benchmarks.harness.pictures import BACKGROUNDS, Condition, Placed, put_into_picture
from benchmarks.harness.report import TEXT, Cell, Report
from benchmarks.harness.side_by_side import compare_rates
from benchmarks.peers.browser.library import BrowserLibrary, Found, Predictions, install, nearest
from benchmarks.photos_round_trip import NEAR
from fer_core import EXPRESSIONS, IMAGE_SIZE, Faces, read_faces
from fer_infer import Scorer
from fer_infer.diagnostics.stopwatch import timed
from fer_infer.evaluation.metrics import Evaluation, evaluate_predictions, wilson_interval
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_infer.photos.detector import FaceDetector
from fer_infer.photos.find import align

FINDERS: Final = {
    "human": ("human", "blazeface"),
    "face-api, SSD MobileNet": ("face-api", "ssd"),
    "face-api, tiny detector": ("face-api", "tiny"),
}
AT_ONCE: Final = 16
"""Faces that a way predicts before the next one has its turn."""
BATCH_SIZE: Final = 64

FACE_COLUMNS: Final = {
    "model": TEXT,
    "runs in": TEXT,
    "n": "{:,d}",
    "accuracy": "{:.2%}",
    "95% interval": TEXT,
    "not in Training": "{:.2%}",
    "macro F1": "{:.3f}",
    "ECE": "{:.3f}",
    "confused": TEXT,
    "faces/s": "{:,.0f}",
    "against the fastest peer": "{:.2f}x",
}
PICTURE_COLUMNS: Final = {
    "background": TEXT,
    "way": TEXT,
    "n": "{:,d}",
    "found": "{:.1%}",
    "right, of those found": "{:.2%}",
    "right, of all": "{:.2%}",
    "95% interval of all": TEXT,
    "pictures/s": "{:,.1f}",
}

Predict = Callable[[NDArray[np.uint8]], Predictions]
Find = Callable[[Placed], "Seen"]


@dataclass(frozen=True)
class Seen:
    """Class of the face in a picture, None if it was not found, and the time that the picture took."""

    label: int | None
    elapsed_s: float


@dataclass
class Way:
    """A way to predict faces, and what it has predicted so far.

    Attributes
    ----------
    model, runs_in : str
        Name of the model, and where it runs.
    predict : callable
        Predicts faces, uint8 (N, 48, 48), one per call.
    is_peer : bool
        Whether it is of another project.
    in_batches : callable or None
        Predicts `BATCH_SIZE` faces per call; None if the library takes one face only.
    """

    model: str
    runs_in: str
    predict: Predict
    is_peer: bool = False
    in_batches: Predict | None = None
    predictions: list[Predictions] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Model and where it runs."""
        return f"{self.model}, {self.runs_in}"

    @property
    def faces_per_s(self) -> float:
        """Median rate of its turns."""
        return median(len(one.probabilities) / one.elapsed_s for one in self.predictions)

    def evaluate(self, labels: NDArray[np.int64], seen: NDArray[np.bool_] | None) -> Evaluation:
        """Compare its predictions with the labels."""
        probabilities = np.concatenate([one.probabilities for one in self.predictions])
        return evaluate_predictions(labels, probabilities, EXPRESSIONS, in_training=seen)


def predict_in_python(scorer: Scorer, batch_size: int, faces: NDArray[np.uint8]) -> Predictions:
    """Predict faces with a scorer, `batch_size` at once."""
    elapsed_s, (_, probabilities) = timed(partial(scorer.run, faces, batch_size=batch_size))
    return Predictions(probabilities, elapsed_s)


def peers_of(packages: Path, stack: ExitStack) -> Iterator[Way]:
    """Yield the packages, whose processes `stack` ends."""
    human = stack.enter_context(BrowserLibrary(packages, "human", "none"))
    face_api = stack.enter_context(BrowserLibrary(packages, "face-api", "tiny"))
    yield Way("@vladmandic/human", "TensorFlow.js", human.predict, is_peer=True)
    in_batches = partial(face_api.predict, per_call=BATCH_SIZE)
    yield Way("@vladmandic/face-api", "TensorFlow.js", face_api.predict, is_peer=True, in_batches=in_batches)


def ours_of(folder: Path, packages: Path | None, stack: ExitStack) -> Iterator[Way]:
    """Yield the graph that `auto` selects on a CPU, in ONNX Runtime Web if there are `packages`, and in Python."""
    scorer = stack.enter_context(Scorer(folder, "cpu", threads=1))
    name = f"{folder.name}, {scorer.card.precision}"
    if packages is not None:
        web = stack.enter_context(BrowserLibrary(packages, "onnxruntime-web", str(folder.resolve()), scorer.path.name))
        in_batches = partial(web.predict, per_call=BATCH_SIZE)
        yield Way(name, "ONNX Runtime Web", web.predict, in_batches=in_batches)
    in_batches = partial(predict_in_python, scorer, BATCH_SIZE)
    yield Way(name, "Python", partial(predict_in_python, scorer, 1), in_batches=in_batches)


def measure_faces(report: Report, ways: Sequence[Way], faces: Faces, seen: NDArray[np.bool_] | None, name: str) -> None:
    """Predict all faces by each way, in turns, and print accuracy and speed."""
    labels = faces.require_labels()
    for way in ways:
        way.predict(faces.images[:1])  # starting is not part of the time
    for start in range(0, len(faces), AT_ONCE):
        for way in ways:
            way.predictions.append(way.predict(faces.images[start : start + AT_ONCE]))
    fastest = max((way.faces_per_s for way in ways if way.is_peer), default=None)

    def row(way: Way) -> tuple[Cell, ...]:
        found = way.evaluate(labels, seen)
        low, high = found.wilson_95
        unseen = None if found.unseen is None else found.unseen.accuracy
        pairs = ", ".join(f"{pair.pair} ({pair.count})" for pair in found.most_confused_pairs[:3])
        figures = (found.n, found.accuracy, f"{low:.2%} to {high:.2%}", unseen, found.macro_f1, found.ece, pairs)
        ratio = None if fastest is None else way.faces_per_s / fastest
        return way.model, way.runs_in, *figures, way.faces_per_s, ratio

    about = f"one thread, one face per call, median of {len(ways[0].predictions):,} turns"
    report.table(f"Faces, {name}", FACE_COLUMNS, map(row, ways), conditions=about)


def measure_batches(report: Report, ways: Sequence[Way], faces: Faces, repeats: int) -> None:
    """Print the speed of the ways that take several faces per call."""
    batch = faces.images[np.arange(BATCH_SIZE) % len(faces)]

    def rate(predict: Predict) -> float:
        return BATCH_SIZE / predict(batch).elapsed_s

    ordered = sorted(ways, key=lambda way: way.is_peer)  # the last one is the reference
    rates = {way.name: None if way.in_batches is None else partial(rate, way.in_batches) for way in ordered}
    compare_rates(report, f"{BATCH_SIZE} faces per call, one thread", rates, unit="faces", repeats=repeats)


def find_in_browser(library: BrowserLibrary, placed: Placed) -> Seen:
    """Let a library find and predict the face of a picture."""
    found, elapsed_s = library.find(placed.pixels[..., 0])
    best = nearest(found, placed.center, NEAR * side_of(placed))
    return Seen(None if best is None else int(best.probabilities.argmax()), elapsed_s)


def find_in_python(detector: FaceDetector, scorer: Scorer, placed: Placed) -> Seen:
    """Find the face of a picture with YuNet, align it and predict it."""
    start_s = time.perf_counter()
    aligned = [align(placed.pixels, detection, detector) for detection in detector.detect(placed.pixels)]
    images = np.array([face.image for face in aligned], np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    _, rows = scorer.run(images)
    elapsed_s = time.perf_counter() - start_s
    found = [Found(face.box, face.detection, row) for face, row in zip(aligned, rows, strict=True)]
    best = nearest(found, placed.center, NEAR * side_of(placed))
    return Seen(None if best is None else int(best.probabilities.argmax()), elapsed_s)


def side_of(placed: Placed) -> float:
    """Return the side of the face in a picture, in pixels."""
    return IMAGE_SIZE / float(np.hypot(*placed.transform[0, :2]))


def measure_pictures(report: Report, finders: Mapping[str, Find], faces: Faces, name: str) -> None:
    """Put each face into a picture on each background, let each way find it, and print the table."""
    labels = faces.require_labels()

    def rows() -> Iterator[tuple[Cell, ...]]:
        for background in BACKGROUNDS:
            seen: dict[str, list[Seen]] = {way: [] for way in finders}
            for place, image in enumerate(faces.images):
                placed = put_into_picture(image, Condition(background=background), np.random.default_rng(place))
                for way, find in finders.items():
                    seen[way].append(find(placed))
            for way, answers in seen.items():
                found = sum(one.label is not None for one in answers)
                right = sum(one.label == label for one, label in zip(answers, labels, strict=True))
                low, high = wilson_interval(right, len(answers))
                shares = found / len(answers), right / found if found else None, right / len(answers)
                rate = 1 / median(one.elapsed_s for one in answers)
                yield background, way, len(answers), *shares, f"{low:.2%} to {high:.2%}", rate

    report.table(f"Pictures with one upright face, {name}", PICTURE_COLUMNS, rows(), conditions="one thread")


def finders_of(packages: Path | None, models: Sequence[Path], stack: ExitStack) -> dict[str, Find]:
    """Return the ways to find and predict the face in a picture, by their names."""
    finders: dict[str, Find] = {}
    if packages is not None:
        for name, arguments in FINDERS.items():
            finders[name] = partial(find_in_browser, stack.enter_context(BrowserLibrary(packages, *arguments)))
    detector = FaceDetector()
    for folder in models:
        scorer = stack.enter_context(Scorer(folder, "cpu", threads=1))
        finders[f"YuNet and {folder.name}, {scorer.card.precision}"] = partial(find_in_python, detector, scorer)
    return finders


@benchmark(
    data_argument,
    models_option("compact", "best"),
    count_option("--faces", None, "Number of faces; all by default."),
    count_option("--pictures", 500, "Number of faces to put into pictures."),
    click.option(
        "--packages",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Folder with the installed npm packages; by default npm installs them into a temporary folder.",
    ),
    repeats_option(5),
    cuda=False,
)
def main(
    report: Report,
    data: Path | None,
    models: tuple[Path, ...],
    faces: int | None,
    pictures: int,
    packages: Path | None,
    repeats: int,
) -> None:
    """Print a table of faces, of batches and of pictures."""
    path = find_data(data, "fer2013.csv", "icml_face_data.csv", splits=True)
    some = drawn_faces(faces or 200) if path is None else read_faces(path, "PublicTest")
    some = some.take(slice(faces))
    known = None if path is None else TrainingFaces.find(path)
    seen = None if known is None else known.seen(some.images)
    name = "drawn faces" if path is None else f"PublicTest of {path.name}"
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways: list[Way] = []
        try:
            packages = packages or install(scratch)
            ways += peers_of(packages, stack)
        except LookupError as error:
            report.note(f"Only Python is measured: {error}.")
            packages = None
        for folder in models:
            ways += ours_of(folder, packages, stack)
        measure_faces(report, ways, some, seen, name)
        measure_batches(report, ways, some, repeats)
        measure_pictures(report, finders_of(packages, models, stack), some.take(slice(pictures)), name)


if __name__ == "__main__":
    main()
