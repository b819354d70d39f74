"""Reading ahead: order, errors, and what is held."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator

import pytest

from fer_core.io.read_ahead import read_ahead


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
