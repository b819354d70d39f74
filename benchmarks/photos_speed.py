"""Score photos of one megapixel end to end, see what takes the time, and compare with loops as in other packages.

The photos show one to three portraits before a photographic background; they are drawn from the pictures of
scikit-image, and saved as JPEG of quality 90.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from benchmarks.harness.command import benchmark, count_option, models_option
from benchmarks.harness.report import TEXT, Cell, Goal, Report
from benchmarks.peers.photo_loops import HaarLoop, YuNetLoop
from fer_core.cores import available_cores
from fer_infer import Scorer, score
from fer_infer.photos.find import align, shared_detector
from fer_infer.photos.images import read_photo

SIZE: Final = (1224, 816)
DIFFERENT: Final = 50
PARTS: Final = 100
"""Photos of which the parts are timed, one at a time in one thread."""


def draw_photos(folder: Path, n: int) -> list[Path]:
    """Write `n` photos, of which `DIFFERENT` differ, and return their paths."""
    from skimage import data as package

    data: Any = package  # which ships no types
    portrait = Image.fromarray(data.astronaut()[:256, 80:336])
    backgrounds = [Image.fromarray(data.coffee()), Image.fromarray(data.chelsea()), Image.fromarray(data.rocket())]
    contents = []
    for number in range(min(n, DIFFERENT)):
        rng = np.random.default_rng(number)
        photo = backgrounds[number % len(backgrounds)].resize(SIZE, Image.Resampling.BICUBIC)
        for place in range(1 + number % 3):
            side = int(rng.integers(160, 380))
            left = place * SIZE[0] // 3 + int(rng.integers(0, 28))
            photo.paste(portrait.resize((side, side)), (left, int(rng.integers(0, SIZE[1] - side))))
        path = folder / f"{number:05d}.jpg"
        photo.save(path, quality=90)
        contents.append(path.read_bytes())
    for number in range(n):
        (folder / f"{number:05d}.jpg").write_bytes(contents[number % len(contents)])
    return sorted(folder.glob("*.jpg"))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a function and the seconds that it took."""
    start_s = time.perf_counter()
    done = work()
    return done, time.perf_counter() - start_s


def parts_of(photos: list[Path], model: Path) -> Iterator[tuple[Cell, ...]]:
    """Yield the milliseconds per photo of each part of the work, in one thread."""
    seconds: dict[str, list[float]] = {"read": [], "detect": [], "align": [], "score": []}
    detector = shared_detector()
    with Scorer(model, "cpu", threads=1) as scorer:
        for photo in photos:
            pixels, took = timed(lambda photo=photo: read_photo(photo))  # type: ignore[misc]
            seconds["read"].append(took)
            found, took = timed(lambda pixels=pixels: detector.detect(pixels))  # type: ignore[misc]
            seconds["detect"].append(took)
            faces, took = timed(lambda p=pixels, f=found: [align(p, one, detector).image for one in f])  # type: ignore[misc]
            seconds["align"].append(took)
            images = np.array(faces, np.uint8).reshape(-1, 48, 48)
            seconds["score"].append(timed(lambda images=images: scorer.run(images))[1])  # type: ignore[misc]
    total = sum(map(sum, seconds.values()))
    for name, times in seconds.items():
        yield name, 1000 * statistics.median(times), sum(times) / total


@benchmark(models_option("compact"), count_option("--photos", 1000, "Number of photos."), cuda=False)
def main(report: Report, models: tuple[Path, ...], photos: int) -> None:
    """Print the tables and the goals."""
    speed: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = draw_photos(folder, photos)
        columns = {"part": TEXT, "milliseconds per photo, median": "{:.1f}", "share": "{:.0%}"}
        report.table("Parts, one thread", columns, parts_of(files[:PARTS], models[0]), conditions=f"{PARTS} photos")

        def ours() -> tuple[int, float]:
            done, took = timed(
                lambda: score(folder, models[0], folder / "o.csv", faces="detect", device="cpu", force=True)
            )
            return done.rows, took

        def loop(one: Callable[[Path], int], n: int) -> tuple[int, float]:
            return timed(lambda: sum(map(one, files[:n])))

        def rows() -> Iterator[tuple[Cell, ...]]:
            few = min(photos, 2 * DIFFERENT)
            ways: dict[str, tuple[int, Callable[[], tuple[int, float]]]] = {"fer-infer score": (photos, ours)}
            for way, peer in (("loop as in fer", HaarLoop), ("loop as in DeepFace", lambda: YuNetLoop(models[0]))):
                try:
                    predict = peer()
                except LookupError as error:
                    report.note(f"The {way} is not measured: {error}.")
                else:
                    ways[way] = few, lambda predict=predict: loop(predict, few)  # type: ignore[misc]
            for way, (n, run) in ways.items():
                faces, took = run()
                speed[way] = n / took
                yield way, n, faces / n, speed[way], speed["fer-infer score"] / speed[way]

        columns = {"way": TEXT, "photos": "{:,d}", "faces per photo": "{:.2f}", "photos/s": "{:.1f}", "ours": "{:.2f}x"}
        report.table(
            f"Photos of {SIZE[0]}x{SIZE[1]} pixels, {models[0].name}",
            columns,
            rows(),
            conditions=f"{available_cores()} threads",
        )
    report.goals(
        *(
            Goal(f"speed relative to the {way}", speed["fer-infer score"] / speed[way], at_least=3)
            for way in speed
            if way != "fer-infer score"
        )
    )


if __name__ == "__main__":
    main()
