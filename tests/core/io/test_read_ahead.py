"""Reading ahead: order, errors, and what is held."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from fer_core.io.read_ahead import READ_AHEAD, map_ahead, read_ahead


def test_reading_ahead_keeps_order_and_raises_after_what_came_before() -> None:
    def source() -> Iterator[int]:
        yield from range(10)
        raise OSError("torn")

    taken: list[int] = []
    with pytest.raises(OSError, match=r"^torn$"), read_ahead(source, depth=3) as items:
        taken.extend(items)  # extends item by item, so what came before the error is there
    assert taken == list(range(10))


def test_reading_ahead_holds_nothing_that_was_let_go() -> None:
    class Item:
        pass

    alive: weakref.WeakSet[Item] = weakref.WeakSet()
    held = []

    def source() -> Iterator[Item]:
        for _ in range(5):
            deadline = time.monotonic() + 2
            while alive and time.monotonic() < deadline:
                time.sleep(0.001)
            held.append(len(alive))
            item = Item()
            alive.add(item)
            yield item
            del item

    with read_ahead(source) as items:
        for item in items:
            del item
    assert held == [0] * 5


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_mapping_ahead_keeps_the_order_of_the_items(threads: int) -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(map_ahead(slow_first, range(20), threads)) == [item * item for item in range(20)]


@pytest.mark.parametrize("threads", [1, 3])
def test_mapping_ahead_raises_after_the_results_before_an_error(threads: int) -> None:
    taken: list[int] = []
    with pytest.raises(ZeroDivisionError, match="by zero"):
        taken.extend(map_ahead(lambda item: 6 // item, [3, 2, 1, 0, 1], threads))
    assert taken == [2, 3, 6]


def test_mapping_ahead_is_bounded_and_stops_with_its_consumer() -> None:
    begun: list[int] = []
    results = map_ahead(lambda item: begun.append(item) or item, range(1000), 2)
    assert next(results) == 0
    assert len(begun) <= READ_AHEAD * 2 + 1
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= READ_AHEAD * 2 + 1


def test_closing_a_mapping_waits_for_no_call() -> None:
    """The garbage collector may close it in a thread that holds the lock of the waiting."""
    go_on = Event()
    results = map_ahead(lambda item: go_on.wait(60) if item else item, range(9), 2)
    assert next(results) == 0
    closing = Thread(target=results.close, daemon=True)  # type: ignore[attr-defined]
    closing.start()
    closing.join(timeout=20)
    assert not closing.is_alive()
    go_on.set()
