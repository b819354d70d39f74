"""Train on a data set by a config: from a path to a finished run."""

from __future__ import annotations

import warnings
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from fer_core import ConfigError, OutputError, TrainingWarning
from fer_core.io.in_memory import FacesLike
from fer_core.terminal.console import say
from fer_train.config import FitConfig
from fer_train.data.splits import Splits, load_splits
from fer_train.runs.provenance import trained_on_other_faces, training_record
from fer_train.runs.run import Run
from fer_train.runs.run_folder import CONFIG_FILE
from fer_train.training import trainer
from fer_train.training.distributed import is_alone
from fer_train.training.hardware import precision_note


def fit(
    data: FacesLike,
    output: str | PathLike[str] | None = None,
    *,
    architecture: str = "course-cnn",
    config: FitConfig | None = None,
    resume: bool = False,
    report: trainer.Report = lambda metrics: None,
    **settings: Any,
) -> Run:
    """Train a network on the Training rows of a data set.

    Parameters
    ----------
    data : path, Faces, array, images or DataFrame
        Faces, in any form that `fer_core.as_faces` accepts. They may have no splits if `validation` or `hold_out` is
        given.
    output : str or Path, optional
        Run folder to write; by default ``runs/ARCHITECTURE-DATE-TIME`` in the working directory.
    architecture : str
        Network to train; its default settings are those of `FitConfig.of`.
    config : FitConfig, optional
        All settings, instead of `architecture` and `settings`.
    resume : bool
        Resume the run in `output` with its saved settings.
    report : callable
        Called after each epoch with a dict: its row of `metrics.csv`, and the name of the `validation_split`.
    **settings
        Fields of `FitConfig`. `augment` may be a dict of fields of `AugmentConfig`, and `distill` a dict of fields of
        `DistillConfig`.

    Returns
    -------
    Run
        The finished run.

    Raises
    ------
    DataError
        If the data cannot be read, or a split is missing.
    ConfigError
        If a setting is out of range, or differs from that of the run to resume.
    OutputError, DeviceError, ModelError
        See `fer_train.training.trainer.fit`.

    Examples
    --------
    >>> run = fit("faces.csv", "runs/tiny", architecture="compact", epochs=2, batch_size=32, device="cpu",
    ...           architecture_arguments={"widths": [[4], [8]]})
    >>> run
    Run(compact, 2 of 2 epochs, runs/tiny)
    >>> [row["epoch"] for row in run.history]
    [1.0, 2.0]
    """
    if config is None:
        config = _config(output, resume, architecture, settings)
    elif settings:
        raise ConfigError(f"cannot be combined with {', '.join(settings)}", parameter="config")
    splits = load_splits_of(data, config)
    folder = _new_folder(config) if output is None else Path(output)  # prints its name, if the data can be trained on

    def report_with_split(metrics: dict[str, Any]) -> None:
        report({**metrics, "validation_split": splits.validation_name})

    trainer.fit(splits, config, folder, resume=resume, report=report_with_split)
    return Run(folder)


def load_splits_of(data: FacesLike, config: FitConfig) -> Splits:
    """Load the splits by the settings of a config; warn of slow precisions and of ancestors with other data."""
    if note := precision_note(config.device, config.precision):
        warnings.warn(note, TrainingWarning, stacklevel=3)
    splits = load_splits(
        data,
        config.validation,
        drop_conflicts=config.drop_conflicts,
        drop_leaks=config.drop_leaks,
        hold_out=config.hold_out,
        hold_out_seed=config.hold_out_seed,
        on_error="skip" if config.on_error == "skip" else "fail",
        columns=config.input_columns or None,
        faces=config.faces,
    )
    for note in trained_on_other_faces(training_record(splits, config)):
        warnings.warn(note, TrainingWarning, stacklevel=3)
    return splits


def _config(output: str | PathLike[str] | None, resume: bool, architecture: str, settings: dict[str, Any]) -> FitConfig:
    if not resume:
        if isinstance(validation := settings.get("validation"), Path):  # a path is never the name of a split
            settings["validation"] = str(validation if validation.is_absolute() else f"./{validation}")
        return FitConfig.of(architecture, **settings)
    if output is None:
        raise ConfigError("requires `output`, the run to resume", parameter="resume")
    if settings:
        raise ConfigError(f"uses the saved settings; leave out {', '.join(settings)}", parameter="resume")
    folder = Path(output)
    if not (folder / CONFIG_FILE).is_file():
        raise OutputError(f"{folder}: expected a run to resume, found no {CONFIG_FILE}")
    return FitConfig.load(folder / CONFIG_FILE)


def _new_folder(config: FitConfig) -> Path:
    """Return a run folder named by architecture and time, and print it."""
    if not is_alone():
        raise ConfigError("expected a run folder, which several processes share, found none", parameter="output")
    folder = Path("runs") / f"{config.architecture}-{datetime.now():%Y%m%d-%H%M%S}"
    say(f"fit: writing {folder}")
    return folder
