"""How long the parts of a piece of work take: the first time, and then again and again."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fer_core.terminal.progress import Advance

T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """How long one part took.

    Attributes
    ----------
    part : str
        `decode`, `load`, `copy`, `run`, `write` or `together`.
    batch_size : int
        Faces that were worked on at once.
    rows : int
        Faces in all; 0 for `load`, which has none.
    size_bytes : int
        What passed through: text read (`decode`, `together`), the model's file (`load`), pixels
        (`copy`, `run`) or text written (`write`).
    first_s : float
        The first call, which also loads, compiles and allocates what the later ones find there.
    repeats_s : tuple of float
        The calls after it.
    """

    part: str
    batch_size: int
    rows: int
    size_bytes: int
    first_s: float
    repeats_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The median of `repeats_s`."""
        return statistics.median(self.repeats_s)

    @property
    def rows_per_s(self) -> float:
        """Faces a second of `median_s`."""
        return self.rows / self.median_s

    @property
    def megabytes_per_s(self) -> float:
        """Megabytes (10^6 bytes) a second of `median_s`."""
        return self.size_bytes / 1e6 / self.median_s


def timed(call: Callable[[], T], wait: Callable[[], object] | None = None) -> tuple[float, T]:
    """Call once; return the seconds it took and the result.

    Parameters
    ----------
    call : callable
        Work to time.
    wait : callable, optional
        Blocks until the device is idle, e.g. `torch.cuda.synchronize`; called before and after, because a launched
        kernel has not finished yet.
    """
    if wait is not None:
        wait()
    start_s = time.perf_counter()
    result = call()
    if wait is not None:
        wait()
    return time.perf_counter() - start_s, result


class Stopwatch:
    """Times one part after the other.

    Parameters
    ----------
    rows, batch_size : int
        Of the timings.
    repeats : int
        Timed calls after the first.
    advance : Advance
        Is told of every call.

    Attributes
    ----------
    timings : list of Timing
        In the order of the calls.
    """

    def __init__(self, rows: int, batch_size: int, repeats: int, advance: Advance) -> None:
        self.timings: list[Timing] = []
        self._rows = rows
        self._batch_size = batch_size
        self._repeats = repeats
        self._advance = advance

    def time(
        self,
        part: str,
        call: Callable[[], T],
        size_bytes: Callable[[T], int],
        *,
        rows: int | None = None,
        batch_size: int | None = None,
    ) -> T:
        """Call once and `repeats` times more; keep the seconds and return what the last call returned.

        Parameters
        ----------
        part : str
            Name of the timing.
        call : callable
            What is timed.
        size_bytes : callable
            Tells from the result how many bytes passed through.
        rows, batch_size : int, optional
            Where they are not those of the stopwatch.
        """
        seconds = []
        for _ in range(1 + self._repeats):
            elapsed_s, result = timed(call)
            seconds.append(elapsed_s)
            self._advance(1, part)
        self.timings.append(
            Timing(
                part=part,
                batch_size=self._batch_size if batch_size is None else batch_size,
                rows=self._rows if rows is None else rows,
                size_bytes=size_bytes(result),
                first_s=seconds[0],
                repeats_s=tuple(seconds[1:]),
            )
        )
        return result
