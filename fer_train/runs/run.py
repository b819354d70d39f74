"""A run: its config, model card and metrics, and its curves."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from fer_core import ConfigError, ModelCard
from fer_train.config import FitConfig
from fer_train.runs.checkpoint import AVERAGE_FILE, load_card
from fer_train.runs.curves import plot_curves
from fer_train.runs.run_folder import CONFIG_FILE, CURVES_FILE, METRICS, read_metrics

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Run:
    """A training run in its folder, as `fer_train.fit` returns it.

    It can be passed wherever a path to a run is expected, such as to `fer_train.export`.

    Parameters
    ----------
    path : str or Path
        Run folder.

    Raises
    ------
    ConfigError
        If there is no run in `path`.

    Examples
    --------
    >>> from fer_train import fit
    >>> run = fit("faces.csv", "runs/small", architecture="course-dnn", architecture_arguments={"widths": [8]},
    ...           epochs=3, device="cpu")
    >>> run.config.epochs, len(run.history), run.best_accuracy >= run.last_accuracy
    (3, 3, True)
    >>> run.to_pandas().columns[0]
    'epoch'
    """

    path: Path

    def __init__(self, path: str | PathLike[str]) -> None:
        object.__setattr__(self, "path", Path(path))
        if not (self.path / CONFIG_FILE).is_file():
            raise ConfigError(f"{self.path}: expected a run folder, found no {CONFIG_FILE} in it")

    def __fspath__(self) -> str:
        return fspath(self.path)

    def __repr__(self) -> str:
        epochs = f"{len(self.history)} of {self.config.epochs} epochs"
        return f"Run({self.config.architecture}, {epochs}, {self.path})"

    @property
    def config(self) -> FitConfig:
        """Settings of the run."""
        return FitConfig.load(self.path / CONFIG_FILE)

    @property
    def card(self) -> ModelCard:
        """Model card of the averaged weights."""
        return load_card(self.path / AVERAGE_FILE)

    @property
    def history(self) -> list[dict[str, float]]:
        """Rows of `metrics.csv`, one dict per epoch."""
        return read_metrics(self.path)

    @property
    def last_accuracy(self) -> float:
        """Validation accuracy of the averaged weights after the last epoch; NaN before the first."""
        return self.history[-1]["validation_accuracy"] if self.history else float("nan")

    @property
    def best_accuracy(self) -> float:
        """Largest validation accuracy of an epoch; optimistic, since the validation split selects it."""
        return max((row["validation_accuracy"] for row in self.history), default=float("nan"))

    @property
    def rows_left_out(self) -> int:
        """Number of rows of the data that could not be read."""
        return int(self.card.training_data.get("rows_left_out", 0))

    def to_pandas(self) -> pd.DataFrame:
        """Return the history as a DataFrame, one row per epoch."""
        import pandas as pd

        return pd.DataFrame(self.history, columns=METRICS).astype({"epoch": int})

    def plot(self) -> Figure:
        """Plot loss and accuracy of both splits over the epochs."""
        return plot_curves(self.history, self.path.name, self.card.validation_split)

    def _repr_html_(self) -> str:
        text = html.escape(repr(self))
        if not self.history:
            return f"<p>{text}</p>"
        accuracy = f"{html.escape(self.card.validation_split)} accuracy {self.last_accuracy:.2%}"
        image = base64.b64encode((self.path / CURVES_FILE).read_bytes()).decode()
        return f'<p>{text}: {accuracy}</p><img alt="curves" width="720" src="data:image/png;base64,{image}">'
