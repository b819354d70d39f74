"""Put faces into larger pictures, find and align them again, and compare their predictions with those of the faces.

DATA is fer2013.csv, or a folder with it; its PublicTest faces are used. Without DATA, faces are drawn. Each face is
enlarged 2 to 8 times, rolled by up to 30 degrees, shifted and dimmed. Around it is noise: from its edge on ("cut out"),
or after its border has been repeated over the picture ("continued"). A face that is cut out gets noise into the corners
of its crop, which no photo has. The crops are ours and those that other packages make of the same detections.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.harness.command import benchmark, count_option, data_argument, models_option
from benchmarks.harness.faces import drawn_faces, find_data
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from fer_core import Faces, read_faces
from fer_core.fer2013 import IMAGE_SIZE
from fer_core.outputs.figures import default_style, save_figure
from fer_infer import Scorer
from fer_infer.evaluation.metrics import wilson_interval
from fer_infer.photos.alignment import gray_of
from fer_infer.photos.detector import Detection, FaceDetector
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
OURS: Final = "aligned"
BACKGROUNDS: Final = ("continued", "cut out")
NEAR: Final = 0.25
"""Largest distance between the centers of a face and of its detection, as a fraction of the side of the face."""


@dataclass(frozen=True)
class Condition:
    """How a face is put into a picture.

    Attributes
    ----------
    side : float
        Side of the 48x48 face in the picture, in pixels.
    roll : float
        Rotation in degrees.
    brightness : float
        Factor of the gray levels.
    blur : float
        Standard deviation of a Gaussian blur, as a fraction of the side of the face.
    noise : float
        Standard deviation of noise on the face, in gray levels.
    jpeg : int or None
        JPEG quality; None for a picture without losses.
    background : {"continued", "cut out"}
        What surrounds the face.
    """

    side: float = 192.0
    roll: float = 0.0
    brightness: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    jpeg: int | None = None
    background: str = "continued"


def drawn_condition(rng: np.random.Generator, background: str) -> Condition:
    """Draw a condition of the main table."""
    return Condition(IMAGE_SIZE * rng.uniform(2, 8), rng.uniform(-30, 30), rng.uniform(0.4, 1), background=background)


def put_into_picture(face: Pixels, how: Condition, rng: np.random.Generator) -> tuple[Pixels, NDArray[np.float64]]:
    """Return a picture, (H, W, 3), that contains a face, (48, 48), and the position of the center of the face."""
    side = max(1, round(how.side))
    height, width = (int(max(240, side * rng.uniform(1.8, 2.6))) for _ in "yx")
    margin = 0.75 * side  # so that a rolled face is in the picture
    center = np.array([rng.uniform(margin, max(margin, length - margin)) for length in (width, height)])
    picture = rng.uniform(60, 200, (height, width)).astype(np.float32)
    reach = IMAGE_SIZE if how.background == "continued" else 0
    source = Image.fromarray(np.pad(face, reach, mode="edge").astype(np.float32) * how.brightness)
    scale = side / IMAGE_SIZE
    method = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    enlarged = source.resize((max(1, round(source.width * scale)),) * 2, method)
    layer = enlarged.rotate(-how.roll, Image.Resampling.BICUBIC, expand=True)  # Pillow rotates counterclockwise
    mask = Image.new("L", enlarged.size, 255).rotate(-how.roll, Image.Resampling.BICUBIC, expand=True)
    canvas = Image.fromarray(picture)
    corner = center - np.array(layer.size) / 2
    canvas.paste(layer, tuple(np.rint(corner).astype(int).tolist()), mask)
    center = np.rint(corner) + np.array(layer.size) / 2
    pixels = np.asarray(canvas) + rng.normal(0, max(how.noise, 1e-9), (height, width))
    gray = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    if how.blur:
        gray = gray.filter(ImageFilter.GaussianBlur(how.blur * side))
    if how.jpeg is not None:
        buffer = io.BytesIO()
        gray.save(buffer, "JPEG", quality=how.jpeg)
        gray = Image.open(buffer)
    return np.asarray(gray.convert("RGB")), center


def boxed(pixels: Pixels, box: Box, *, margin: float = 0.0, factor: float = 1.0, square: bool = False) -> Pixels:
    """Crop a box and resize it to 48x48, as others do: enlarged by pixels or a factor, perhaps to a square."""
    width, height = ((side + 2 * margin) * factor for side in box[2:])
    if square:
        width = height = max(width, height)
    x, y = box.left + box.width / 2, box.top + box.height / 2
    edges = np.rint([x - width / 2, y - height / 2, x + width / 2, y + height / 2]).astype(int)
    left, top = np.maximum(edges[:2], 0)
    right, bottom = np.minimum(edges[2:], pixels.shape[1::-1])
    part = Image.fromarray(gray_of(pixels)[top : max(bottom, top + 1), left : max(right, left + 1)])
    return np.asarray(part.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))


def crops_of(pixels: Pixels, found: Detection, detector: FaceDetector) -> Mapping[str, Pixels]:
    """Return the crops of a detection by rule."""
    return {
        OURS: align(pixels, found, detector).image,
        "box, stretched": boxed(pixels, found.box),
        "box + 10 pixels": boxed(pixels, found.box, margin=10),
        "box x 1.1": boxed(pixels, found.box, factor=1.1),
        "box x 1.2, square": boxed(pixels, found.box, factor=1.2, square=True),
    }


@dataclass(frozen=True)
class Trip:
    """Faces that were found: their positions among all, their crops by rule, and the number of false detections."""

    n: int
    places: NDArray[np.intp]
    crops: Mapping[str, Pixels]
    false: int


def round_trip(
    faces: Faces, conditions: Callable[[np.random.Generator], Condition], *, ours_only: bool = False
) -> Trip:
    """Put each face into a picture under a condition, and find it."""
    detector = FaceDetector()
    places, false = [], 0
    crops: dict[str, list[Pixels]] = {}
    for place, image in enumerate(faces.images):
        rng = np.random.default_rng(place)  # the same picture for all crops, models and runs
        how = conditions(rng)
        pixels, center = put_into_picture(image, how, rng)
        detections = detector.detect(pixels)
        near = [found for found in detections if _distance(found.box, center) < NEAR * how.side]
        false += len(detections) - min(1, len(near))
        if near:
            best = max(near, key=lambda found: found.score)
            places.append(place)
            cut = {OURS: align(pixels, best, detector).image} if ours_only else crops_of(pixels, best, detector)
            for rule, crop in cut.items():
                crops.setdefault(rule, []).append(crop)
    return Trip(len(faces), np.array(places, np.intp), {rule: np.array(cut) for rule, cut in crops.items()}, false)


def _distance(box: Box, center: NDArray[np.float64]) -> float:
    return float(np.hypot(box.left + box.width / 2 - center[0], box.top + box.height / 2 - center[1]))


@dataclass(frozen=True)
class Loss:
    """Accuracy of the same faces scored directly and after the round trip, and their paired difference in points."""

    direct: float
    cropped: float
    points: float
    standard_error: float


def loss_of(scorer: Scorer, faces: Faces, trip: Trip, rule: str) -> Loss:
    """Return what a crop costs a model on the faces that were found."""
    labels = faces.require_labels()[trip.places]
    direct, cropped = (
        scorer.run(images)[0].argmax(axis=1) == labels for images in (faces.images[trip.places], trip.crops[rule])
    )
    lost = 100 * (direct.astype(float) - cropped)
    error = float(lost.std(ddof=1) / np.sqrt(len(lost)))
    return Loss(float(direct.mean()), float(cropped.mean()), float(lost.mean()), error)


CURVES: Final[Mapping[str, tuple[str, tuple[float, ...]]]] = {
    "side": ("side of the face in the photo, pixels", (16, 24, 32, 48, 64, 96, 192, 384)),
    "roll": ("roll, degrees", (0, 10, 20, 30, 45, 60, 90)),
    "blur": ("blur, standard deviation as a fraction of the side", (0, 0.01, 0.02, 0.03, 0.05)),
    "jpeg": ("JPEG quality", (5, 10, 20, 40, 60, 90)),
    "noise": ("noise, standard deviation in gray levels", (0, 10, 20, 40, 60)),
    "brightness": ("brightness, factor", (0.05, 0.1, 0.2, 0.4, 1)),
}


@default_style()
def draw_curves(points: Mapping[str, list[tuple[float, float, float]]], title: str, path: Path) -> None:
    """Draw found share and accuracy against each quantity; `points` holds (value, found, accuracy)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, sharey=True)
    for axis, (name, values) in zip(axes.flat, points.items(), strict=False):
        x, found, accuracy = zip(*values, strict=True)
        axis.plot(x, found, "o-", label="found")
        axis.plot(x, accuracy, "s-", label="right, of those found")
        axis.set_xlabel(CURVES[name][0])
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.3)
        if name == "side":
            axis.set_xscale("log", base=2)
            axis.set_xticks(x, [f"{value:g}" for value in x])
    axes.flat[0].legend()
    figure.suptitle(title)
    save_figure(figure, path)


@benchmark(
    data_argument,
    models_option("best", "compact"),
    count_option("--faces", None, "Number of faces; all by default."),
    count_option("--curve-faces", 400, "Number of faces per point of the curves."),
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
    """Print the table, the goals and, with --figure, draw the curves."""
    path = find_data(data, "fer2013.csv", "icml_face_data.csv", splits=True)
    some = drawn_faces(faces or 200) if path is None else read_faces(path, "PublicTest")
    some = some.take(slice(faces))
    name = "drawn faces" if path is None else f"PublicTest of {path.name}"
    losses: dict[tuple[str, str], Loss] = {}
    found: list[float] = []

    def rows() -> Iterator[tuple[Cell, ...]]:
        for background in BACKGROUNDS:
            trip = round_trip(some, lambda rng, where=background: drawn_condition(rng, where))  # type: ignore[misc]
            share = len(trip.places) / trip.n
            found.append(share)
            low, high = wilson_interval(len(trip.places), trip.n)
            for model in models:
                with Scorer(model, report.device, "fp32") as scorer:
                    for rule in trip.crops:
                        loss = loss_of(scorer, some, trip, rule)
                        if rule == OURS:
                            losses[background, model.name] = loss
                        figures = (share, f"{low:.2%} to {high:.2%}", trip.false / trip.n, *vars(loss).values())
                        yield background, model.name, rule, trip.n, *figures

    report.table(f"Round trip, {name}", COLUMNS, rows(), conditions="fp32, without test-time augmentation")
    report.goals(
        *(
            Goal(f"faces found, {background}, %", 100 * share, at_least=97)
            for background, share in zip(BACKGROUNDS, found, strict=True)
        ),
        *(Goal(f"points lost, {', '.join(key)}", loss.points, at_most=1) for key, loss in losses.items()),
    )
    if figure is None:
        return
    few, points = some.take(slice(curve_faces)), dict[str, list[tuple[float, float, float]]]()
    with Scorer(models[0], report.device, "fp32") as scorer:

        def curve_rows() -> Iterator[tuple[Cell, ...]]:
            for name, (label, values) in CURVES.items():
                for value in values:
                    how = replace(Condition(), **{name: int(value) if name == "jpeg" else value})  # type: ignore[arg-type]
                    trip = round_trip(few, lambda rng, how=how: how, ours_only=True)  # type: ignore[misc]
                    loss = loss_of(scorer, few, trip, OURS) if len(trip.places) > 1 else Loss(*[float("nan")] * 4)
                    points.setdefault(name, []).append((value, len(trip.places) / trip.n, loss.cropped))
                    yield label, value, trip.n, len(trip.places) / trip.n, loss.direct, loss.cropped

        columns = {"quantity": TEXT, "value": "{:g}", "n": "{:,d}", "found": "{:.1%}"}
        columns |= {"scored directly": "{:.1%}", "found and cropped": "{:.1%}"}
        report.table(f"Curves of {models[0].name}, {name}", columns, curve_rows())
    draw_curves(points, f"{models[0].name}, {len(few):,} faces of {name} per point", figure)


if __name__ == "__main__":
    main()
