"""Progress on standard error: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from fer_core.terminal.console import is_terminal, say

PLAIN_INTERVAL_S: Final = 10.0


class Advance(Protocol):
    """Function that reports `n` more finished units, and optionally a note such as the current loss."""

    def __call__(self, n: int, note: str = "") -> None:
        """Add `n` finished units."""


def speed_text(per_s: float, unit: str) -> str:
    """Format a speed, such as ``1,200 faces/s``, with a decimal below 10."""
    return f"{per_s:,.{0 if per_s >= 10 else 1}f} {unit}/s"


@contextmanager
def progress(task: str, total: int | None, unit: str = "faces", *, done: int = 0) -> Iterator[Advance]:
    """Show progress, speed and remaining time of a task.

    Parameters
    ----------
    task : str
        Name of the task, such as ``score``.
    total : int or None
        Total number of units; None if unknown.
    unit : str
        Name of the units.
    done : int
        Number of units that were finished earlier, as in a resumed run; they do not count for the speed.

    Yields
    ------
    Advance
        Function to call with the number of newly finished units.
    """
    if is_terminal(sys.stderr):
        yield from _bar(task, total, unit, done)
    else:
        yield from _lines(task, total, unit, done)


def _bar(task: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as BarTask
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: BarTask) -> Text:
            return Text(speed_text(task.speed or 0, unit))

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}" + ("" if total is None else "/{task.total:.0f}")),
        Speed(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar_task = bar.add_task(task, total=total, completed=done, note="")

        def advance(n: int, note: str = "") -> None:
            bar.update(bar_task, advance=n, note=note)

        yield advance


def _lines(task: str, total: int | None, unit: str, before: int) -> Iterator[Advance]:
    start = shown = time.monotonic()
    done = before

    def advance(n: int, note: str = "") -> None:
        nonlocal done, shown
        done += n
        now = time.monotonic()
        if now - shown < PLAIN_INTERVAL_S:
            return
        shown = now
        rate = (done - before) / (now - start)
        parts = [f"{done:,}{'' if total is None else f' of {total:,}'} {unit}", speed_text(rate, unit)]
        if total is not None and rate:
            parts.append(f"{max(total - done, 0) / rate:.0f} s left")
        say(f"{task}: {', '.join([*parts, note] if note else parts)}")

    yield advance
