"""What every step works with: the device, the faces, the settings, and where runs and exports lie."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from record import SkippedError

from fer_core import Faces
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, load_splits
from fer_train.exporting.parity import PARITY_ATOL

REPOSITORY: Final = Path(__file__).resolve().parents[2]

SMALL: Final[dict[str, dict[str, Any]]] = {
    "course-cnn": {"widths": [4, 4, 8], "hidden": 16},
    "course-dnn": {"widths": [16]},
    "best": {"widths": [4, 4, 8, 8], "blocks": [1, 1, 1, 1]},
    "compact": {"widths": [[4], [8], [8]]},
}
"""Arguments that make networks small enough for a rehearsal."""

DRAWN: Final = 160
"""Faces of a rehearsal."""


@dataclass(frozen=True)
class Workbench:
    """The settings of a call of the driver.

    Attributes
    ----------
    data : Path or None
        fer2013.csv; None for drawn faces.
    output : Path
        Small files to take home.
    state : Path
        What later calls go on from: `results`, `runs`, `exports`.
    device : {"cuda", "cpu"}
        Where everything runs.
    quick : bool
        A rehearsal: small networks, few faces, few repeats.
    models : tuple of str
        Architectures, in the order in which they matter.
    seeds : tuple of int
        Of the runs.
    teacher : str
        The architecture whose runs teach.
    students : tuple of str
        The architectures that are taught.
    options : dict
        Fields of `FitConfig` that differ from the recipes.
    limit_s : float
        Longest run of a loop that is timed up to an accuracy.
    atol : float
        Largest difference of a logit that an export may show.
    """

    data: Path | None
    output: Path
    state: Path
    device: str
    quick: bool
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher: str = "best"
    students: tuple[str, ...] = ("compact", "best")
    options: dict[str, Any] = field(default_factory=dict)
    limit_s: float = 240.0
    atol: float = PARITY_ATOL

    @property
    def on(self) -> str:
        """Name what the figures depend on most."""
        place = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        recipe = f", {json.dumps(self.options)}" if self.options else ""
        return place + (", rehearsal" if self.quick else "") + recipe

    @property
    def repeats(self) -> int:
        """Timed calls of each way."""
        return 1 if self.quick else 5

    @property
    def workers(self) -> int:
        """Processes that load data in the conventional loop."""
        return 0 if self.quick else min(16, len(os.sched_getaffinity(0)))

    @cached_property
    def csv(self) -> Path:
        """The data as a CSV with a Usage column."""
        if self.data is not None:
            return self.data
        path = self.state / "drawn.csv"
        if not path.is_file():
            write_csv(synthesize(DRAWN, 0), path)
        return path

    @cached_property
    def splits(self) -> Splits:
        """The Training and PublicTest rows."""
        return load_splits(self.csv)

    @cached_property
    def public(self) -> Faces:
        """The PublicTest rows."""
        return self.splits.validation

    @cached_property
    def public_csv(self) -> Path:
        """Some hundred PublicTest rows, by which exports are proven."""
        path = self.state / "public.csv"
        write_csv(self.public.take(slice(512)), path, force=True)
        return path

    def require_cuda(self) -> None:
        """Raise SkippedError where there is no GPU to measure."""
        if self.device != "cuda":
            raise SkippedError("no CUDA")

    def config(self, model: str, seed: int, **options: Any) -> FitConfig:
        """Return the recipe of a run."""
        small = {"model_arguments": SMALL.get(model, {}), "epochs": 2, "batch_size": 64} if self.quick else {}
        wanted = {**small, **self.options, **options}
        if "epochs" in options:  # a run cut short: as of an architecture's own recipe
            for name in {"lr_warmup_epochs", "mild_epochs"} & set(self.options):
                wanted[name] = min(wanted[name], options["epochs"] // 3)
        return FitConfig.of(model, seed=seed, device=self.device, **wanted)

    def run(self, model: str, seed: int) -> Path:
        """Return the folder of a run; of an ensemble, `seed` is that of its first member."""
        return self.state / "runs" / f"{model}-seed-{seed}"

    @property
    def teachers(self) -> list[Path]:
        """The finished runs of the architecture that teaches."""
        return self._finished(self.run(self.teacher, seed) for seed in self.seeds)

    def finished_runs(self) -> list[Path]:
        """Return the runs that came to their end, in the order in which they matter."""
        names = (*self.models, *(f"{student}-distilled" for student in self.students), f"{self.teacher}-ensemble")
        return self._finished(self.run(name, seed) for seed in self.seeds for name in names)

    @staticmethod
    def _finished(runs: Iterable[Path]) -> list[Path]:
        return [run for run in runs if (run / "metrics.json").is_file()]

    def exported(self, model: str) -> Path:
        """Return the exports folder of an architecture: of the first seed trained here, else the shipped one."""
        made = self.state / "exports"
        candidates = [made / self.run(model, seed).name for seed in self.seeds] + [made / model]
        for folder in (*candidates, REPOSITORY / "exports" / model):
            if (folder / "model.onnx").is_file():
                return folder
        raise SkippedError(f"no export of {model}; the steps train and export make one")
