"""Train, prove and measure on a GPU machine that is bare, offline, and may be gone at any moment.

python benchmarks/gpu/run.py STEP... --data fer2013.csv --output FOLDER [--state FOLDER]    README.md says more
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from ceilings import ceilings
from environment import environment, tests
from explaining import attribute_speed
from pack import pack
from record import Entry, Record
from scoring import memory, parity, profile, score_speed
from training import distill, export_runs, train, train_speed
from workbench import Workbench

from fer_core import FerError
from fer_train.config import FitConfig
from fer_train.exporting.parity import PARITY_ATOL


def _pack(bench: Workbench, record: Record) -> None:
    def packed() -> Entry:
        return {"left_out": pack(bench)}

    record.entries.clear()  # what is to be packed may have changed
    record.take("pack", packed)


STEPS: Final[dict[str, Callable[[Workbench, Record], None]]] = {
    "environment": environment,
    "tests": tests,
    "ceilings": ceilings,
    "train": train,
    "distill": distill,
    "export": export_runs,
    "parity": parity,
    "score-speed": score_speed,
    "train-speed": train_speed,
    "memory": memory,
    "profile": profile,
    "attribute-speed": attribute_speed,
    "pack": _pack,
}
"""In the order in which they make sense."""


def _recipe(text: str) -> dict[str, Any]:
    try:
        recipe = json.loads(text)
        if taken := {"model", "seed", "device"} & set(recipe):
            raise ValueError(f"{', '.join(sorted(taken))}: options of this program")
        FitConfig.of("course-cnn", **recipe)
    except (ValueError, TypeError, FerError) as error:
        raise argparse.ArgumentTypeError(f"expected settings of a run as a JSON object: {error}") from None
    return dict(recipe)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", choices=[*STEPS, "all"], metavar="STEP", help=", ".join([*STEPS, "all"]))
    parser.add_argument("--data", type=Path, help="fer2013.csv; a rehearsal draws faces without it")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json and pack-NN")
    parser.add_argument("--state", type=Path, default=Path("runs/gpu"), help="folder to go on from (runs/gpu)")
    parser.add_argument("--models", nargs="+", default=["course-cnn", "course-dnn", "best", "compact"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--teacher", default="best", help="architecture whose runs teach (best)")
    parser.add_argument("--students", nargs="+", default=["compact", "best"], help="architectures that are taught")
    parser.add_argument("--recipe", type=_recipe, default={}, help="settings as JSON, such as '{\"epochs\": 20}'")
    parser.add_argument("--limit-s", type=float, default=240.0, help="longest time taken up to an accuracy (240)")
    parser.add_argument("--atol", type=float, default=PARITY_ATOL, help="largest difference of an export (1e-4)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="a rehearsal: small networks, few faces")
    chosen = parser.parse_args(argv)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch sees no GPU; --device cpu --quick rehearses")
    if chosen.data is None and not chosen.quick:
        parser.error("--data is needed without --quick")
    return chosen


def main(argv: list[str] | None = None) -> int:
    """Run steps; return 1 where an entry of any failed, which a second call tries again."""
    chosen = _arguments(argv)
    bench = Workbench(
        data=chosen.data,
        output=chosen.output,
        state=chosen.state,
        device=chosen.device,
        quick=chosen.quick,
        models=tuple(chosen.models),
        seeds=tuple(chosen.seeds),
        teacher=chosen.teacher,
        students=tuple(chosen.students),
        options=chosen.recipe,
        limit_s=chosen.limit_s,
        atol=chosen.atol,
    )
    for folder in (bench.output, bench.state / "results"):
        folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    try:
        for step in STEPS if "all" in chosen.steps else chosen.steps:
            record = Record(bench.state / "results", bench.output / "results.json", step, bench.on)
            STEPS[step](bench, record)
            failed += len(record.failed)
    except FerError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
