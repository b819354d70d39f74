"""Benchmarks, each run by `python -m benchmarks.NAME`; `python -m benchmarks` runs those of `make bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
EXPORTS: Final = ROOT / "exports"
