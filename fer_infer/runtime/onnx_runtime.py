"""ONNX Runtime as this project uses it: imported in one place, silent, without telemetry, its errors in one line."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import Any, Final

from fer_core import DeviceError

TELEMETRY_SWITCH: Final = "ORT_DISABLE_TELEMETRY"
"""Environment variable that ONNX Runtime (1.29 and later) reads when it is loaded: 1 or true turns telemetry off."""

LOG_NOTHING: Final = 4
"""Log severity "fatal": everything else that goes wrong arrives as an exception and is reported in one line."""

_switched_too_late = False
"""Whether a program had imported ONNX Runtime before this module could turn its telemetry off."""

_CODE: Final = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_CUDA_PLACE: Final = re.compile(r" *; (?:hostname|file|line)=[^;]*?(?= *;|$)")
_PARENTHESES: Final = r"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"
_SIGNATURE: Final = (
    rf"[^()]*{_PARENTHESES}(?:{_PARENTHESES}|::<lambda{_PARENTHESES}>|[>:][\w:&*<>~{{}} ]*(?=\()"
    r"| const\b| mutable\b| noexcept\b| \[with [^][]*(?:\[[^][]*\][^][]*)*\])*"
)
_SOURCE: Final = re.compile(
    r"(?:\S*\\)?\b[\w.+-]+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ \S+ ?"  # model.cc:256 Load
    rf"|\S*/[\w.+-]+\.(?:cc|cpp|cu|cuh|h|hpp):\d+ (?:{_SIGNATURE} ?)?"  # /path/model.cc:256 void ns::Load(int)
)
"""The two forms in which ONNX Runtime writes where an error was raised."""


def load_runtime() -> Any:
    """Import ONNX Runtime with telemetry off and its native log silenced.

    Every import of ONNX Runtime goes through here or through `load_runtime_module`. From version 1.29 on, ONNX Runtime
    sends usage events to its maker and keeps a device identifier in the user's cache unless `ORT_DISABLE_TELEMETRY` is
    set before it is loaded. A value that the user has set is kept.

    Returns
    -------
    module
        `onnxruntime`.

    Raises
    ------
    DeviceError
        If it is not installed, or its installation is broken.
    """
    global _switched_too_late
    if not os.environ.get(TELEMETRY_SWITCH):
        os.environ[TELEMETRY_SWITCH] = "1"
        _switched_too_late = "onnxruntime" in sys.modules
    try:
        import onnxruntime

        onnxruntime.set_default_logger_severity(LOG_NOTHING)
    except (ImportError, AttributeError) as error:  # an AttributeError: what is left after one wheel overwrote another
        raise DeviceError(f"onnxruntime cannot be imported ({error}); `fer-infer doctor` says more") from None
    if _switched_too_late:
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def load_runtime_module(name: str) -> Any:
    """Import a part of ONNX Runtime, e.g. ``"quantization"``, as `load_runtime` does.

    Raises
    ------
    DeviceError
        If ONNX Runtime cannot be imported.
    """
    load_runtime()
    return import_module(f"onnxruntime.{name}")


def telemetry() -> str:
    """Return in words whether ONNX Runtime, once loaded by `load_runtime`, reports its use to its maker."""
    value = os.environ.get(TELEMETRY_SWITCH, "")
    if value.strip().lower() not in {"1", "true", "yes", "y", "on"}:  # as ONNX Runtime reads it
        return f"on by {TELEMETRY_SWITCH}={value}"
    if _switched_too_late:
        return f"essential events only: onnxruntime was imported before fer_infer; set {TELEMETRY_SWITCH}=1 first"
    return f"off ({TELEMETRY_SWITCH}={value})"


def first_line(error: Exception) -> str:
    """Return what went wrong in one line, without ONNX Runtime's error codes, source files and C++ signatures."""
    lines = (_without_sources(line).strip() for line in str(error).strip().splitlines())
    return next(filter(None, lines), type(error).__name__)


def _without_sources(line: str) -> str:
    return _SOURCE.sub("", _CUDA_PLACE.sub("", _CODE.sub("", line)))
