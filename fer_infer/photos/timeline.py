"""Draw the probabilities of each face of a film over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.figures import SERIES, default_style, save_figure

MOST_FACES: Final = 12
"""Faces that are drawn, the ones seen most often."""
MOST_POINTS: Final = 4000
"""Points per face; longer films are drawn by every second, third ... frame."""


class Timeline:
    """Collects the probabilities of the faces of a film in bounded memory.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes.
    gap_s : float
        Time in seconds without an observation that is drawn as a gap.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fer_infer.photos.timeline import Timeline
    >>> timeline = Timeline(["sad", "happy"], gap_s=1.0)
    >>> for time_s in range(3):
    ...     timeline.add(1, time_s, np.array([0.25, 0.75]))
    >>> timeline.save(Path("timeline.png"), "film.mp4")
    """

    def __init__(self, classes: Sequence[str], gap_s: float) -> None:
        self._classes = classes
        self._gap_s = gap_s
        self._points: dict[int, list[tuple[float, NDArray[np.floating]]]] = {}
        self._strides: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def add(self, face: int, time_s: float, probabilities: NDArray[np.floating]) -> None:
        """Add the probabilities, shape (classes,), of a face at a time in seconds."""
        points = self._points.setdefault(face, [])
        stride = self._strides.setdefault(face, 1)
        seen = self._seen.get(face, 0)
        self._seen[face] = seen + 1
        if seen % stride == 0:
            points.append((time_s, probabilities))
        if len(points) > MOST_POINTS:
            del points[1::2]
            self._strides[face] = 2 * stride

    @default_style()
    def save(self, path: Path, title: str) -> None:
        """Draw one row per face, of those seen most often, and write it as PNG."""
        from matplotlib.figure import Figure

        shown = sorted(sorted(self._seen, key=lambda face: -self._seen[face])[:MOST_FACES])
        figure = Figure(figsize=(9, 1.2 + 1.5 * max(1, len(shown))), layout="constrained")
        axes = np.atleast_1d(figure.subplots(max(1, len(shown)), 1, sharex=True))
        for axis, face in zip(axes, shown, strict=False):
            self._draw(axis, face)
        handles, names = axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside right upper")
        axes[-1].set_xlabel("time, seconds")
        left_out = len(self._seen) - len(shown)
        more = f", the {len(shown)} seen most often of {len(self._seen)} faces" if left_out else ""
        figure.suptitle(f"{title}: smoothed probabilities per face{more}")
        save_figure(figure, path)

    def _draw(self, axis: Any, face: int) -> None:
        times = np.array([time_s for time_s, _ in self._points[face]])
        values = np.array([shares for _, shares in self._points[face]])
        longest = self._gap_s * self._strides[face]
        parts = np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > longest) + 1)
        colors = [SERIES[number % len(SERIES)] for number in range(len(self._classes))]
        for number, part in enumerate(parts):
            labels = {"labels": list(self._classes)} if number == 0 else {}
            width = np.array([-1, 1]) * self._gap_s / 8  # a single observation is a narrow bar
            x = times[part] if len(part) > 1 else times[part[0]] + width
            y = values[part] if len(part) > 1 else values[[part[0], part[0]]]
            axis.stackplot(x, y.T, colors=colors, linewidth=0, **labels)
        axis.set_ylim(0, 1)
        axis.set_ylabel(f"face {face}")
