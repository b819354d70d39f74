"""Metrics of each class, as pandas DataFrames and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from fer_core import FerError
from fer_core.settings import Setting

TABLE: Setting = Setting("Table to return.", choices=("classes", "confusion"))


@dataclass(frozen=True)
class ClassScore:
    """Metrics of one class.

    Attributes
    ----------
    name : str
        Name of the class.
    precision : float
        Fraction of the faces predicted as this class that belong to it; 0 if there are none.
    recall : float
        Fraction of the faces of this class that were predicted as it; 0 if there are none.
    f1 : float
        Harmonic mean of precision and recall.
    support : int
        Number of faces of this class.
    recall_wilson_95 : tuple of float, or None
        95% interval of the recall; None without faces.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    recall_wilson_95: tuple[float, float] | None


def to_frame(classes: Sequence[ClassScore], confusion: NDArray[Any] | None = None) -> Any:
    """Return the metrics of each class as a DataFrame, or else the confusion matrix."""
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError:
        raise FerError("pandas is not installed; pip install pandas") from None
    names = [score.name for score in classes]
    if confusion is not None:
        frame = pandas.DataFrame(confusion, index=names, columns=names)
        return frame.rename_axis(index="true", columns="predicted")
    rows = [
        (score.precision, score.recall, *(score.recall_wilson_95 or (None, None)), score.f1, score.support)
        for score in classes
    ]
    columns = ["precision", "recall", "recall_low", "recall_high", "f1", "support"]
    return pandas.DataFrame(rows, index=pandas.Index(names, name="class"), columns=columns)


def to_html(lines: Sequence[str], classes: Sequence[ClassScore]) -> str:
    """Return lines of text and the metrics of each class as HTML."""
    summary = "<br>".join(map(escape, lines))
    header = "".join(f"<th>{name}</th>" for name in ("class", "precision", "recall", "95% interval", "F1", "faces"))
    rows = []
    for score in classes:
        low_high = score.recall_wilson_95
        interval = "" if low_high is None else f"{low_high[0]:.1%} to {low_high[1]:.1%}"
        numbers = (f"{score.precision:.1%}", f"{score.recall:.1%}", interval, f"{score.f1:.3f}", f"{score.support:,}")
        cells = "".join(f"<td>{number}</td>" for number in numbers)
        rows.append(f"<tr><th>{escape(score.name)}</th>{cells}</tr>")
    body = "".join(rows)
    return f"<div>{summary}<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
