"""Tracking, smoothing and tables of the page are those of Python and its libraries."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from visits import require_browser

from fer_infer.evaluation.metrics import wilson_interval
from fer_infer.photos.found_face import Box, FoundFace
from fer_infer.photos.smoothing import Smoother
from fer_infer.photos.tracking import Tracker

require_browser()


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(address)
    yield opened
    context.close()


def call(page: Any, module: str, script: str, given: Any) -> Any:
    return page.evaluate(f"async (given) => {{ const module = await import('./{module}'); {script} }}", given)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (6, 4), (12, 12), (0, 3), (3, 0)])
def test_assignments_have_the_least_sum_of_costs(page: Any, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape)
    for _ in range(10):
        costs = rng.random(shape).round(1)  # with ties
        pairs = call(page, "tracking/assignment.js", "return module.assign(given)", costs.tolist())
        rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
        assert len(set(rows)) == len(set(columns)) == len(pairs) == min(shape)
        assert sum(costs[row, column] for row, column in pairs) == pytest.approx(
            costs[linear_sum_assignment(costs)].sum()
        )


def frames_of(seed: int) -> list[tuple[float, list[FoundFace]]]:
    """Return frames of faces that move, overlap, disappear and return."""
    rng = np.random.default_rng(seed)
    places, speeds = rng.uniform(0, 400, (4, 2)), rng.normal(0, 60, (4, 2))
    frames = []
    for step in range(60):
        time_s = step * 0.1 + float(rng.uniform(0, 0.05)) + (4.0 if step > 45 else 0.0)
        seen = [i for i in range(4) if rng.random() > 0.25 and not (i == 2 and 10 < step < 25)]
        faces = []
        for i in rng.permutation(seen):
            x, y = places[i] + speeds[i] * time_s + rng.normal(0, 2, 2)
            size = 60.0 + 10 * i
            landmarks = np.array([[x, y], [x + size / 2, y], [x + size / 4, y + 20], [x, y + 40], [x + 30, y + 40]])
            faces.append(
                FoundFace(Box(x, y, size, size), 0.9, landmarks, np.zeros((2, 3)), np.zeros((48, 48), np.uint8))
            )
        frames.append((time_s, faces))
    return frames


@pytest.mark.parametrize("seed", range(5))
def test_faces_are_followed_as_in_python(page: Any, seed: int) -> None:
    tracker = Tracker()
    frames = frames_of(seed)
    expected = [tracker.assign(faces, time_s) for time_s, faces in frames]
    given = [
        [time_s, [{"box": face.box._asdict(), "landmarks": face.landmarks.tolist()} for face in faces]]
        for time_s, faces in frames
    ]
    script = "const tracker = new module.Tracker(); return given.map(([time, faces]) => tracker.assign(faces, time))"
    assert call(page, "tracking/tracking.js", script, given) == expected
    assert tracker.count > 4


@pytest.mark.parametrize("smooth_s", [0.5, 2.0, 0.0])
def test_probabilities_are_smoothed_as_in_python(page: Any, smooth_s: float) -> None:
    rng = np.random.default_rng(1)
    seen = [
        (int(rng.integers(1, 4)), 0.3 * i + (60.0 if i > 30 else 0.0), rng.dirichlet(np.ones(7))) for i in range(50)
    ]
    smoother = Smoother(smooth_s)
    expected = [smoother.add(*one).tolist() for one in seen]
    script = """const smoother = new module.Smoother(given[0]);
      return given[1].map(([face, time, values]) => Array.from(smoother.add(face, time, values)))"""
    found = call(page, "tracking/smoothing.js", script, [smooth_s, [[*one[:2], one[2].tolist()] for one in seen]])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_numbers_have_the_digits_of_python(page: Any) -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.random(300), 10.0 ** rng.uniform(-12, 0, 300), [0, 1, 0.5, 1e-4, 99999999.95, 3e12]])
    numbers = values.astype(np.float32).astype(float).tolist()
    found = call(page, "tables/csv_text.js", "return given.map(module.significant)", numbers)
    assert found == [f"{number:.9g}" for number in numbers]


def test_texts_are_quoted_as_by_python(page: Any) -> None:
    rows = [["a,b", 'say "x"', "plain", "two\nlines", "", "é", 7]]
    expected = io.StringIO()
    csv.writer(expected, lineterminator="\n").writerows([["file", "b"], *rows])
    script = "return module.csvText(['file', 'b'], given)"
    assert call(page, "tables/csv_text.js", script, rows) == expected.getvalue()


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (16, 60), (2464, 3589)])
def test_intervals_are_those_of_python(page: Any, successes: int, n: int) -> None:
    found = call(page, "results/data_set_result.js", "return module.wilson(...given)", [successes, n])
    assert found == pytest.approx(wilson_interval(successes, n), abs=1e-12)
