"""Print the results of a benchmark as Markdown, and save them as JSON after each row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from fer_core.outputs.staging import staged
from fer_infer.diagnostics.machine import describe_machine, processor
from fer_train.training.hardware import pick_device

PACKAGES: Final = (
    "numpy",
    "numba",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "pandas",
    "polars",
    "captum",
    "ray",
    "ai-edge-litert",
)
"""Packages whose versions are recorded: ours and those of the peers."""

TEXT: Final = "{}"
"""Format of a column of text."""

Cell = str | float | None
"""Value of a table; None is an empty cell."""


@dataclass(frozen=True)
class Goal:
    """Bound on a result; exactly one of `at_least` and `at_most` is given.

    Attributes
    ----------
    what : str
        Name of the result.
    found : float or None
        Measured value; None if it was not measured.
    at_least, at_most : float, optional
        The bound.
    """

    what: str
    found: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at least {self.at_least:,g}" if self.at_least is not None else f"at most {self.at_most:,g}"

    @property
    def reached(self) -> str:
        """Whether the result keeps its bound: yes, no, or not measured."""
        if self.found is None:
            return "not measured"
        if self.at_least is not None:
            return "yes" if self.found >= self.at_least else "no"
        return "yes" if self.at_most is not None and self.found <= self.at_most else "no"


class Report:
    """Results of one benchmark.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Device that the networks run on.
    path : Path, optional
        JSON file to save the results in; it is replaced after each row, so an interrupted benchmark keeps its results.

    Raises
    ------
    DeviceError
        If the device is CUDA and PyTorch cannot use it.
    """

    def __init__(self, device: str = "cpu", path: Path | None = None) -> None:
        self.device = pick_device(device).type
        self._path = path
        self._results: dict[str, Any] = {"machine": describe_machine(PACKAGES), "tables": [], "notes": []}
        if self.device == "cuda":
            self._results["machine"]["gpu"] = torch.cuda.get_device_name()

    @property
    def machine(self) -> str:
        """GPU, if it is used, and processor."""
        return f"{torch.cuda.get_device_name()}, {processor()}" if self.device == "cuda" else processor()

    @property
    def wait(self) -> Callable[[], object] | None:
        """Function that blocks until the GPU is idle; None on the CPU."""
        return torch.cuda.synchronize if self.device == "cuda" else None

    def table(
        self, title: str, columns: Mapping[str, str], rows: Iterable[Sequence[Cell]], *, conditions: str = ""
    ) -> None:
        """Print a table, each row as soon as `rows` yields it.

        Parameters
        ----------
        title : str
            What was measured, on which data. Without a title, the machine is not named either.
        columns : mapping of str to str
            Format of each column by its name, e.g. ``{:.2f}x``; columns of `TEXT` are aligned left.
        rows : iterable of sequence
            One cell per column. Text cells are printed as they are.
        conditions : str
            Number of repeats and similar conditions, printed with the machine.
        """
        if title:
            print(f"\n{title}\n{', '.join(filter(None, (self.machine, conditions)))}")
        print(f"\n| {' | '.join(columns)} |")
        print(f"|{'|'.join('---' if form == TEXT else '---:' for form in columns.values())}|", flush=True)
        kept: list[list[Cell]] = []
        self._results["tables"].append(
            {"title": title, "conditions": conditions, "columns": list(columns), "rows": kept}
        )
        for row in rows:
            kept.append(list(row))
            cells = [_text(cell, form) for cell, form in zip(row, columns.values(), strict=True)]
            print(f"| {' | '.join(cells)} |", flush=True)
            self._save()

    def goals(self, *goals: Goal) -> None:
        """Print a table of goals and whether each was reached."""
        columns = {"goal": TEXT, "bound": "{:g}", "found": "{:,.2f}", "reached": TEXT}
        self.table("", columns, [(goal.what, goal.bound, goal.found, goal.reached) for goal in goals])

    def note(self, text: str) -> None:
        """Print a paragraph."""
        self._results["notes"].append(text)
        print(f"\n{text}", flush=True)
        self._save()

    def _save(self) -> None:
        if self._path is not None:
            with staged(self._path, force=True) as stage:
                stage.write_text(json.dumps(self._results, indent=1) + "\n", encoding="utf-8")


def _text(cell: Cell, form: str) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else form.format(cell)
