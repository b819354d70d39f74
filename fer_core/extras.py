"""The optional parts of an installation: what is missing is named, and so is what installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fer_core.errors import FerError


def remedy(package: str | None, extra: str) -> str:
    """Say in one line that `package` is missing and which extra of ours brings it."""
    return f"{package} is not installed; pip install 'fer-toolkit[{extra}]', or '.[{extra}]' in a checkout, installs it"


@contextmanager
def needed_from(extra: str) -> Iterator[None]:
    """Import within this context what only `extra` installs.

    Raises
    ------
    FerError
        If it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise FerError(remedy(error.name, extra)) from None
