"""Optional dependencies: errors name the missing package and the extra that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fer_core.errors import FerError


def remedy(package: str | None, extra: str) -> str:
    """Return the message that `package` is missing, with the command that installs it."""
    return f"{package} is not installed; pip install 'fer-toolkit[{extra}]', or '.[{extra}]' in a checkout, installs it"


@contextmanager
def needed_from(extra: str) -> Iterator[None]:
    """Turn a failed import of an optional dependency into a `FerError` that names the extra.

    Raises
    ------
    FerError
        If a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise FerError(remedy(error.name, extra)) from None
