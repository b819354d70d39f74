"""Options that commands of `fer-explain` share.

Heavy modules are imported inside the commands, so that help appears at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import click

from fer_core.errors import ConfigError
from fer_core.terminal.options import (
    Command,
    columns_option,
    combined,
    force_option,
    limit_option,
    on_error_option,
    rows_option,
    settings_options,
    split_option,
)
from fer_explain.evaluation.method_names import parse_methods

if TYPE_CHECKING:
    from fer_explain.face_file import FaceFile

model_option = click.option(
    "--model", type=click.Path(path_type=Path), required=True, help="Exports folder or run folder."
)
LAYER_HELP = "Layer name or index, e.g. features.0 or 0; `fer-explain layers` lists them."
layer_option = click.option("--layer", metavar="NAME|INDEX", required=True, help=LAYER_HELP)


def methods_option(help: str, *, required: bool = True) -> Callable[[Command], Command]:
    """Return the option `--methods`; an unknown name is an error before anything is loaded."""

    def parse(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...] | None:
        if text is None:
            return None
        try:
            return parse_methods(text)
        except ConfigError as error:
            raise click.BadParameter(error.message) from None

    return click.option("--methods", metavar="NAMES", required=required, callback=parse, help=help)


@overload
def file_of(data: Path, options: dict[str, Any]) -> FaceFile: ...
@overload
def file_of(data: None, options: dict[str, Any]) -> None: ...
def file_of(data: Path | None, options: dict[str, Any]) -> FaceFile | None:
    """Take the options that say how DATA is read out of `options`, and return the faces that they choose, if any."""
    from fer_explain.face_file import FaceFile

    given = {name: options.pop(name) for name in ("split", "on_error", "faces") if name in options}
    columns = options.pop("input_columns")
    return None if data is None else FaceFile(data, columns=columns, **given)


def sample_options(config: type) -> Callable[[Command], Command]:
    """Return the options that make a `SampleConfig`, and `--force`."""
    return combined(
        settings_options(config),
        rows_option,
        split_option,
        limit_option,
        columns_option,
        on_error_option,
        force_option,
    )


def sample_of(config: type, options: dict[str, Any]) -> Any:
    """Take the options of `sample_options` out of `options`, without `force`, and return the config they make."""
    chosen = {
        name: options.pop(name) for name in ("sample_size", "faces", "target", "rows", "split", "limit", "on_error")
    }
    chosen["columns"] = options.pop("input_columns")
    return config(**{name: value for name, value in chosen.items() if value is not None})
