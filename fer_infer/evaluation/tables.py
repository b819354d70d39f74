"""Tables of an evaluation: pandas DataFrames, and HTML for notebooks."""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fer_core import FerError
from fer_core.settings import Setting

if TYPE_CHECKING:
    from fer_infer.evaluation.metrics import Evaluation

TABLE: Setting = Setting("Table to return.", choices=("classes", "confusion"))


def to_frame(evaluation: Evaluation, table: str) -> Any:
    """Return a table of an evaluation as a DataFrame; see `Evaluation.to_pandas`."""
    TABLE.require("table", table)
    try:
        pandas = import_module("pandas")
    except ModuleNotFoundError:
        raise FerError("pandas is not installed; pip install pandas") from None
    names = [score.name for score in evaluation.classes]
    if table == "confusion":
        frame = pandas.DataFrame(evaluation.confusion, index=names, columns=names)
        return frame.rename_axis(index="true", columns="predicted")
    rows = [
        (score.precision, score.recall, *(score.recall_wilson_95 or (None, None)), score.f1, score.support)
        for score in evaluation.classes
    ]
    columns = ["precision", "recall", "recall_low", "recall_high", "f1", "support"]
    return pandas.DataFrame(rows, index=pandas.Index(names, name="class"), columns=columns)


def to_html(evaluation: Evaluation) -> str:
    """Return the main figures of an evaluation as an HTML table."""
    summary = "<br>".join(map(escape, evaluation.summary_lines()))
    header = "".join(f"<th>{name}</th>" for name in ("class", "precision", "recall", "95% interval", "F1", "faces"))
    rows = []
    for score in evaluation.classes:
        low_high = score.recall_wilson_95
        interval = "" if low_high is None else f"{low_high[0]:.1%} to {low_high[1]:.1%}"
        numbers = (f"{score.precision:.1%}", f"{score.recall:.1%}", interval, f"{score.f1:.3f}", f"{score.support:,}")
        cells = "".join(f"<td>{number}</td>" for number in numbers)
        rows.append(f"<tr><th>{escape(score.name)}</th>{cells}</tr>")
    body = "".join(rows)
    return f"<div>{summary}<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
