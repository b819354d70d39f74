"""Follow faces through a film: the same face has the same id in all frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fer_infer.photos.found_face import FoundFace

LOST_S: Final = 1.0
"""Time in seconds after which a face that is not found is forgotten."""

GATE: Final = 1.0
"""Largest cost at which a face continues a track: landmarks that lie apart by the size of the face."""

SIZE_WEIGHT: Final = 0.5
"""Cost of a size that differs by the factor e."""

VELOCITY_S: Final = 0.2
"""Time constant of the mean velocity of a face, in seconds."""


def lost_s(every_s: float | None) -> float:
    """Return the time of `Tracker` for a film of which one frame per `every_s` seconds is taken.

    It is `LOST_S`, but long enough for a face to be followed from one of these frames to the next.

    Examples
    --------
    >>> from fer_infer.photos.tracking import lost_s
    >>> lost_s(None), lost_s(5)
    (1.0, 10)
    """
    return max(LOST_S, 2 * (every_s or 0))  # neighbors are less than that apart


@dataclass
class _Track:
    """A face: its id, landmarks (5, 2), size, velocity in pixels per second, and time when it was seen last.

    `missed_s` is the time of the first frame since then, or None if it is in the latest frame.
    """

    id: int
    landmarks: NDArray[np.float64]
    size: float
    velocity: NDArray[np.float64]
    time_s: float
    missed_s: float | None = None

    def predicted(self, time_s: float) -> NDArray[np.float64]:
        """Return the landmarks at a time, by constant velocity, which is trusted for a short time only."""
        return self.landmarks + self.velocity * min(time_s - self.time_s, VELOCITY_S)

    def update(self, face: FoundFace, time_s: float) -> None:
        """Continue the track."""
        elapsed = time_s - self.time_s
        moved = (face.landmarks.mean(axis=0) - self.landmarks.mean(axis=0)) / max(elapsed, 1e-6)
        self.velocity += (moved - self.velocity) * (1 - math.exp(-elapsed / VELOCITY_S))
        self.landmarks, self.size, self.time_s = face.landmarks, _size(face), time_s
        self.missed_s = None


class Tracker:
    """Gives the faces of successive frames ids.

    A face continues the track whose landmarks, moved on by its velocity, are nearest relative to the size of the face;
    all faces of a frame are assigned at once at the least sum of costs (Kuhn, Naval Research Logistics 2, 1955). Tracks
    of faces that are not found survive `lost_s`, measured from the first to the last frame without them, so that an
    occlusion of this length is survived at every frame rate. Faces are not recognized: a face that returns later gets
    a new id, and after a cut a face at the same place keeps the id.

    Parameters
    ----------
    lost_s : float
        Time in seconds after which a face that is not found is forgotten. Between frames that are further apart, no
        face is followed.

    Examples
    --------
    >>> from fer_infer.photos.tracking import Tracker
    >>> Tracker().assign([], 0.0)
    []
    """

    def __init__(self, lost_s: float = LOST_S) -> None:
        self._lost_s = lost_s
        self._tracks: list[_Track] = []
        self._next = 1
        self._last_s = 0.0

    @property
    def count(self) -> int:
        """Number of ids so far."""
        return self._next - 1

    def assign(self, faces: Sequence[FoundFace], time_s: float) -> list[int]:
        """Return the ids of the faces of a frame.

        Parameters
        ----------
        faces : sequence of FoundFace
            Faces of the frame.
        time_s : float
            Time of the frame in seconds, not before that of the frame before.

        Returns
        -------
        list of int
            Ids, from 1 in the order of appearance, never used again.
        """
        self._forget(time_s)
        costs = np.array([[_cost(track, face, time_s) for face in faces] for track in self._tracks])
        costs = costs.reshape(len(self._tracks), len(faces))
        ids = dict[int, int]()
        # costs beyond the gate count alike, so that they never push a good pair aside
        for row, column in zip(*linear_sum_assignment(np.minimum(costs, 2 * GATE)), strict=True):
            if costs[row, column] <= GATE:
                self._tracks[row].update(faces[column], time_s)
                ids[int(column)] = self._tracks[row].id
        for track in self._tracks:
            if track.time_s < time_s and track.missed_s is None:
                track.missed_s = time_s
        for place, face in enumerate(faces):
            if place not in ids:
                self._tracks.append(_Track(self._next, face.landmarks, _size(face), np.zeros(2), time_s))
                ids[place] = self._next
                self._next += 1
        return [ids[place] for place in range(len(faces))]

    def _forget(self, time_s: float) -> None:
        """Drop the tracks that were missed for too long before the frame at `time_s`."""
        longest = self._lost_s + 1e-9
        self._tracks = [
            track
            for track in self._tracks
            if time_s - self._last_s <= longest and (track.missed_s is None or self._last_s - track.missed_s <= longest)
        ]
        self._last_s = time_s


def _cost(track: _Track, face: FoundFace, time_s: float) -> float:
    size = math.sqrt(track.size * _size(face))
    apart = np.linalg.norm(track.predicted(time_s) - face.landmarks, axis=1).mean()
    return float(apart / size + SIZE_WEIGHT * abs(math.log(_size(face) / track.size)))


def _size(face: FoundFace) -> float:
    return math.sqrt(face.box.width * face.box.height)
