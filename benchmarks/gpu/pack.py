"""What is worth taking home, in a few files of limited size: one tar archive cut into parts."""

from __future__ import annotations

import io
import tarfile
from contextlib import ExitStack
from typing import Final

from workbench import Workbench

from fer_core.outputs.staging import staged

PART_BYTES: Final = 15 * 2**20
PARTS: Final = 4

TRAINED_ON: Final = "trained_on.txt"
"""Beside a run: the machine of its times."""

KEPT: Final = (
    TRAINED_ON,
    "config.json",
    "metrics.csv",
    "metrics.json",
    "confusion.csv",
    "per_class.csv",
    "card.json",
    "parity.json",
    "ema.safetensors",
)
"""Of a run or an exports folder; never `sample.npz`, which holds faces, nor graphs, which weights make again."""


def pack(bench: Workbench) -> list[str]:
    """Write `pack-00`, `pack-01`, ... of every finished run and its export, which `cat pack-* | tar x` unpacks.

    Runs come in the order of the seeds, and of the models within a seed, as far as there is room.

    Returns
    -------
    list of str
        What had no room; a call that names other models or seeds packs it.
    """
    room, left = PARTS * PART_BYTES, []
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for run in bench.finished_runs():
            files = [folder / name for folder in (run, bench.state / "exports" / run.name) for name in KEPT]
            files = [file for file in files if file.is_file()]
            size = sum(file.stat().st_size + 1024 for file in files)  # a header of 512 bytes, and padding
            if archive.tell() + size + tarfile.RECORDSIZE > room:
                left.append(run.name)
                continue
            for file in files:
                tar.add(file, arcname=str(file.relative_to(bench.state)))
    content = archive.getvalue()
    parts = range(0, len(content), PART_BYTES)
    with ExitStack() as stack:  # all are renamed together, for parts of two archives are none
        for number, start in enumerate(parts):
            stage = stack.enter_context(staged(bench.output / f"pack-{number:02d}", force=True))
            stage.write_bytes(content[start : start + PART_BYTES])
    for old in sorted(bench.output.glob("pack-*"))[len(parts) :]:
        old.unlink()
    return left
