"""Draw the probabilities of each face of a film over time."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core.outputs.figures import SERIES, default_style, save_figure

MOST_FACES: Final = 12
"""Faces that are drawn, the ones seen most often."""
MOST_POINTS: Final = 4000
"""Points per face; longer films are drawn by every second, fourth, eighth ... frame."""


@dataclass
class _Observations:
    """Every `stride`-th observation of a face, and how many there were.

    The time in seconds and the probabilities of one observation after the other are in a single array: small arrays
    that live long, allocated between the frames of an overlay, would keep the memory of those frames from being reused.
    """

    values: array[float] = field(default_factory=lambda: array("d"))
    stride: int = 1
    count: int = 0
    last_s: float = 0.0

    def add(self, time_s: float, probabilities: NDArray[np.floating]) -> None:
        if self.count % self.stride == 0:
            self.values.append(time_s)
            self.values.extend(probabilities.tolist())
        width = 1 + len(probabilities)
        if len(self.values) > MOST_POINTS * width:
            self.values = array("d", self.points(width)[::2].tobytes())
            self.stride *= 2
        self.count += 1
        self.last_s = time_s

    def points(self, width: int) -> NDArray[np.float64]:
        """Return a copy of the observations, shape (points, width), with the times in the first column."""
        return np.array(self.values).reshape(-1, width)


class Timeline:
    """Collects the probabilities of the faces of a film in bounded memory.

    Only faces that may still be among the `MOST_FACES` seen most often are kept.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes.
    gap_s : float
        Time in seconds without an observation that is drawn as a gap.
    lost_s : float
        Time in seconds since its last observation after which a face never returns.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fer_infer.photos.timeline import Timeline
    >>> timeline = Timeline(["sad", "happy"], gap_s=1.0, lost_s=2.0)
    >>> for time_s in range(3):
    ...     timeline.add(1, time_s, np.array([0.25, 0.75]))
    >>> timeline.save(Path("timeline.png"), "film.mp4")
    """

    def __init__(self, classes: Sequence[str], gap_s: float, lost_s: float) -> None:
        self._classes = classes
        self._gap_s, self._lost_s = gap_s, lost_s
        self._faces: dict[int, _Observations] = {}
        self._dropped = 0

    def add(self, face: int, time_s: float, probabilities: NDArray[np.floating]) -> None:
        """Add the probabilities, shape (classes,), of a face at a time in seconds."""
        if face not in self._faces:
            self._drop(time_s)
            self._faces[face] = _Observations()
        self._faces[face].add(time_s, probabilities)

    def _drop(self, time_s: float) -> None:
        """Drop the faces that were seen less often than others and never return."""
        for face in self._by_count()[MOST_FACES:]:
            if time_s - self._faces[face].last_s > self._lost_s:
                del self._faces[face]
                self._dropped += 1

    def _by_count(self) -> list[int]:
        """Return the faces, those seen most often first."""
        return sorted(self._faces, key=lambda face: (-self._faces[face].count, face))

    @default_style()
    def save(self, path: Path, title: str) -> None:
        """Draw one row per face, of those seen most often, and write it as PNG."""
        from matplotlib.figure import Figure

        shown = sorted(self._by_count()[:MOST_FACES])
        figure = Figure(figsize=(9, 1.2 + 1.5 * max(1, len(shown))), layout="constrained")
        axes = np.atleast_1d(figure.subplots(max(1, len(shown)), 1, sharex=True))
        for axis, face in zip(axes, shown, strict=False):
            self._draw(axis, face)
        handles, names = axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside right upper")
        axes[-1].set_xlabel("time, seconds")
        total = len(self._faces) + self._dropped
        more = f", the {len(shown)} seen most often of {total} faces" if total > len(shown) else ""
        figure.suptitle(f"{title}: smoothed probabilities per face{more}")
        save_figure(figure, path)

    def _draw(self, axis: Any, face: int) -> None:
        seen = self._faces[face]
        points = seen.points(1 + len(self._classes))
        times, values = points[:, 0], points[:, 1:]
        longest = self._gap_s * seen.stride
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
