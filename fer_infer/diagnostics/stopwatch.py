"""Time the stages of a computation: a first call and repetitions."""

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
    """Times of one stage.

    Attributes
    ----------
    part : str
        `decode`, `load`, `copy`, `run`, `write` or `together`.
    batch_size : int
        Faces per batch.
    rows : int
        Number of faces; 0 for `load`.
    size_bytes : int
        Size of the text read (`decode`, `together`), the model's file (`load`), the pixels (`copy`, `run`) or the text
        written (`write`).
    first_s : float
        Time of the first call, which includes loading, compilation and allocation.
    repeats_s : tuple of float
        Times of the repetitions.
    """

    part: str
    batch_size: int
    rows: int
    size_bytes: int
    first_s: float
    repeats_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Median of `repeats_s`."""
        return statistics.median(self.repeats_s)

    @property
    def rows_per_s(self) -> float:
        """Faces per second at `median_s`."""
        return self.rows / self.median_s

    @property
    def megabytes_per_s(self) -> float:
        """Megabytes (10^6 bytes) per second at `median_s`."""
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
    """Times one stage after another.

    Parameters
    ----------
    rows, batch_size : int
        Number of faces and batch size of the stages.
    repeats : int
        Timed calls after the first.
    advance : Advance
        Receives the progress, call by call.

    Attributes
    ----------
    timings : list of Timing
        Timings in the order of the calls.
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
        """Time a first call and `repeats` more; return the result of the last one.

        Parameters
        ----------
        part : str
            Name of the stage.
        call : callable
            Function to time.
        size_bytes : callable
            Returns, for a result, the number of bytes that were processed.
        rows, batch_size : int, optional
            Number of faces and batch size if they differ from those of the stopwatch.
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
