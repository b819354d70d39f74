"""Put faces into larger pictures, find and align them again, and compare their predictions with those of the faces.

DATA is fer2013.csv, or a folder with it; its PublicTest faces are used. Without DATA, faces are drawn. Each face is
enlarged 2 to 8 times, rolled by up to 30 degrees, shifted and dimmed. Around it is noise: from its edge on ("cut out"),
or after its border has been repeated over the picture ("continued"). A face that is cut out gets noise into the corners
of its crop, which no photo has. The crops are ours and those that other packages make of the same detections. The crop
"known square" needs no detector: it shows which part of the loss is due to the enlargement only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.command import benchmark, count_option, data_argument, models_option
from benchmarks.harness.faces import drawn_faces, find_data
from benchmarks.harness.pictures import BACKGROUNDS, Condition, drawn_condition, put_into_picture
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from benchmarks.peers.box_crops import box_crops
from fer_core import Faces, read_faces
from fer_core.cores import available_cores
from fer_core.io.read_ahead import map_ahead
from fer_core.outputs.figures import INK, SERIES, default_style, save_figure
from fer_infer import Scorer
from fer_infer.evaluation.metrics import wilson_interval
from fer_infer.photos.alignment import warp
from fer_infer.photos.detector import FaceDetector
from fer_infer.photos.find import align
from fer_infer.photos.found_face import Box

Pixels = NDArray[np.uint8]

COLUMNS: Final = {
    "background": TEXT,
    "model": TEXT,
    "crop": TEXT,
    "n": "{:,d}",
    "found": "{:.2%}",
    "95% interval": TEXT,
    "false per picture": "{:.3f}",
    "scored directly": "{:.2%}",
    "found and cropped": "{:.2%}",
    "points lost": "{:.2f}",
    "standard error": "{:.2f}",
}
CURVE_COLUMNS: Final = {
    "quantity": TEXT,
    "value": "{:g}",
    "n": "{:,d}",
    "found": "{:.1%}",
    "scored directly": "{:.1%}",
    "found and cropped": "{:.1%}",
}
OURS: Final = "aligned"
NEAR: Final = 0.25
"""Largest distance between the centers of a face and of its detection, as a fraction of the side of the face."""

CURVES: Final[Mapping[str, tuple[str, tuple[float, ...]]]] = {
    "side": ("side of the face in the photo, pixels", (12, 16, 24, 32, 48, 96, 192, 384)),
    "roll": ("roll, degrees", (0, 15, 30, 45, 60, 90)),
    "blur": ("blur, standard deviation / side of the face", (0, 0.01, 0.02, 0.03, 0.05)),
    "jpeg": ("JPEG quality", (5, 10, 20, 40, 90)),
    "noise": ("noise, standard deviation in gray levels", (0, 10, 20, 40, 60)),
    "brightness": ("brightness, factor", (0.05, 0.1, 0.2, 0.4, 1)),
}


@dataclass(frozen=True)
class Trip:
    """Faces that were found: their positions among all, their crops by rule, and the number of false detections."""

    n: int
    places: NDArray[np.intp]
    crops: Mapping[str, Pixels]
    false: int

    @property
    def found(self) -> float:
        """Fraction of the faces that were found."""
        return len(self.places) / self.n


def round_trip(
    faces: Faces, conditions: Callable[[np.random.Generator], Condition], *, ours_only: bool = False
) -> Trip:
    """Put each face into a picture under a condition, find it and crop it."""
    detector = FaceDetector()

    def one(place: int) -> tuple[dict[str, Pixels], int]:
        rng = np.random.default_rng(place)  # the same picture for all crops, models and runs
        how = conditions(rng)
        placed = put_into_picture(faces.images[place], how, rng)
        detections = detector.detect(placed.pixels)
        near = [found for found in detections if _distance(found.box, placed.center) < NEAR * how.side]
        if not near:
            return {}, len(detections)
        best = max(near, key=lambda found: found.score)
        crops = {OURS: align(placed.pixels, best, detector).image}
        if not ours_only:
            crops |= box_crops(placed.pixels, best.box)
            crops["known square"] = warp(placed.pixels, placed.transform)
        return crops, len(detections) - 1

    places, false = [], 0
    crops: dict[str, list[Pixels]] = {}
    for place, (cut, others) in enumerate(map_ahead(one, range(len(faces)), available_cores())):
        false += others
        if cut:
            places.append(place)
        for rule, crop in cut.items():
            crops.setdefault(rule, []).append(crop)
    return Trip(len(faces), np.array(places, np.intp), {rule: np.array(cut) for rule, cut in crops.items()}, false)


def _distance(box: Box, center: NDArray[np.float64]) -> float:
    return float(np.hypot(box.left + box.width / 2 - center[0], box.top + box.height / 2 - center[1]))


@dataclass(frozen=True)
class Loss:
    """Accuracy of the same faces scored directly and after the round trip, and their paired difference in points."""

    direct: float | None = None
    cropped: float | None = None
    points: float | None = None
    standard_error: float | None = None


class Direct:
    """A model and which faces it predicts right when it scores them directly."""

    def __init__(self, scorer: Scorer, faces: Faces) -> None:
        self._scorer, self._labels = scorer, faces.require_labels()
        self._right = scorer.run(faces.images)[0].argmax(axis=1) == self._labels

    def loss(self, trip: Trip, rule: str) -> Loss:
        """Return what a crop costs the model on the faces that were found; nothing if fewer than two were."""
        if len(trip.places) < 2:
            return Loss()
        direct = self._right[trip.places]
        cropped = self._scorer.run(trip.crops[rule])[0].argmax(axis=1) == self._labels[trip.places]
        lost = 100 * (direct.astype(float) - cropped)
        error = float(lost.std(ddof=1) / np.sqrt(len(lost)))
        return Loss(float(direct.mean()), float(cropped.mean()), float(lost.mean()), error)


class Point(NamedTuple):
    """A point of a curve: the found share, its faces scored directly, and the same after the round trip."""

    value: float
    n: int
    found: float
    loss: Loss


def points_of(name: str, faces: Faces, direct: Direct) -> Iterator[Point]:
    """Measure the curve of one quantity; all others have the default values of `Condition`."""
    for value in CURVES[name][1]:
        how = replace(Condition(), **{name: int(value) if name == "jpeg" else value})  # type: ignore[arg-type]
        trip = round_trip(faces, lambda rng, how=how: how, ours_only=True)  # type: ignore[misc]
        yield Point(value, trip.n, trip.found, direct.loss(trip, OURS))


@default_style()
def draw_curves(curves: Mapping[str, list[Point]], title: str, path: Path) -> None:
    """Draw found share and accuracy against each quantity, with 95% Wilson intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, sharey=True)
    for axis, (name, points) in zip(axes.flat, curves.items(), strict=True):
        _draw_line(axis, points, lambda point: point.found, lambda point: point.n, SERIES[0], "found")
        known = [point for point in points if point.loss.cropped is not None]
        _draw_line(
            axis, known, lambda p: p.loss.cropped, lambda p: round(p.n * p.found), SERIES[1], "right, of those found"
        )
        x, right = [point.value for point in known], [point.loss.direct for point in known]
        axis.plot(x, right, "--", color=INK, label="the same faces, scored directly")
        axis.set_xlabel(CURVES[name][0])
        axis.set_ylim(0, 1.02)
        axis.grid(visible=True)
        if name == "side":
            axis.set_xscale("log", base=2)
            values = [point.value for point in points]
            axis.set_xticks(values, [f"{value:g}" for value in values])
    axes.flat[0].legend(loc="lower right")
    figure.suptitle(title)
    save_figure(figure, path)


def _draw_line(
    axis: object,
    points: list[Point],
    share_of: Callable[[Point], float | None],
    n_of: Callable[[Point], int],
    color: str,
    label: str,
) -> None:
    if not points:
        return
    x = [point.value for point in points]
    shares = [share_of(point) or 0.0 for point in points]
    intervals = [wilson_interval(round(share * n_of(p)), n_of(p)) for share, p in zip(shares, points, strict=True)]
    axis.plot(x, shares, "o-", color=color, label=label, markersize=4)  # type: ignore[attr-defined]
    axis.fill_between(x, *zip(*intervals, strict=True), color=color, alpha=0.2, linewidth=0)  # type: ignore[attr-defined]


def measure_table(report: Report, faces: Faces, models: tuple[Path, ...], name: str) -> None:
    """Print the main table and the goals."""
    goals: list[Goal] = []

    def rows() -> Iterator[tuple[Cell, ...]]:
        for background in BACKGROUNDS:
            trip = round_trip(faces, lambda rng, where=background: drawn_condition(rng, where))  # type: ignore[misc]
            goals.append(Goal(f"faces found, {background}, %", 100 * trip.found, at_least=97))
            low, high = wilson_interval(len(trip.places), trip.n)
            about = (trip.n, trip.found, f"{low:.2%} to {high:.2%}", trip.false / trip.n)
            for model in models:
                with Scorer(model, report.device, "fp32") as scorer:
                    direct = Direct(scorer, faces)
                    losses = {rule: direct.loss(trip, rule) for rule in trip.crops}
                for rule, loss in losses.items():
                    yield background, model.name, rule, *about, *astuple(loss)
                if OURS in losses:
                    goals.append(Goal(f"points lost, {background}, {model.name}", losses[OURS].points, at_most=1))

    report.table(f"Round trip, {name}", COLUMNS, rows(), conditions="fp32, without test-time augmentation")
    report.goals(*goals)


def measure_curves(report: Report, faces: Faces, model: Path, name: str, figure: Path) -> None:
    """Print the table of the curves, and draw them."""
    curves: dict[str, list[Point]] = {quantity: [] for quantity in CURVES}

    def rows(direct: Direct) -> Iterator[tuple[Cell, ...]]:
        for quantity, (label, _) in CURVES.items():
            for point in points_of(quantity, faces, direct):
                curves[quantity].append(point)
                yield label, point.value, point.n, point.found, point.loss.direct, point.loss.cropped

    with Scorer(model, report.device, "fp32") as scorer:
        report.table(f"Curves of {model.name}, {name}", CURVE_COLUMNS, rows(Direct(scorer, faces)))
    draw_curves(curves, f"{model.name}, {len(faces):,} faces of {name} per point", figure)


@benchmark(
    data_argument,
    models_option("best", "compact"),
    count_option("--faces", None, "Number of faces; all by default."),
    count_option("--curve-faces", 1000, "Number of faces per point of the curves."),
    click.option("--figure", type=click.Path(path_type=Path), help="PNG to draw the curves of the first model to."),
    cuda=False,
)
def main(
    report: Report,
    data: Path | None,
    models: tuple[Path, ...],
    faces: int | None,
    curve_faces: int,
    figure: Path | None,
) -> None:
    """Print the table, the goals and, with --figure, measure and draw the curves."""
    path = find_data(data, "fer2013.csv", "icml_face_data.csv", splits=True)
    some = drawn_faces(faces or 200) if path is None else read_faces(path, "PublicTest")
    some = some.take(slice(faces))
    name = "drawn faces" if path is None else f"PublicTest of {path.name}"
    measure_table(report, some, models, name)
    if figure is not None:
        measure_curves(report, some.take(slice(curve_faces)), models[0], name, figure)


if __name__ == "__main__":
    main()
