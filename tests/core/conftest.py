"""Standard input for the tests of the reader."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def put_on_stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[io.RawIOBase | io.BytesIO], io.BufferedReader]:
    def put(raw: Any) -> io.BufferedReader:
        buffer = io.BufferedReader(raw)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=buffer))
        return buffer

    return put
