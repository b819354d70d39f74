"""Outputs that appear whole or not at all: written beside their target, renamed at the end."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_core.errors import OutputError


@contextmanager
def staged(target: str | Path, *, force: bool = False, folder: bool = False) -> Iterator[Path]:
    """Yield a path beside `target` to write to; rename it to `target` at the end, remove it after an error.

    Parameters
    ----------
    target : str or Path
        The file or folder to make. Its parent folders are made too.
    force : bool
        Replace what is there; otherwise an existing target is an error, raised before any work is done.
    folder : bool
        Whether the target is a folder; the yielded path then exists and is empty.

    Raises
    ------
    OutputError
        If `target` exists and `force` is false, is of the other kind, or cannot be written.
    """
    target = Path(target)
    if target.exists() and not force:
        raise OutputError(f"{target}: exists already; --force replaces it")
    if target.exists() and target.is_dir() != folder:
        raise OutputError(f"{target}: expected {'a folder' if folder else 'a file'} to replace, found the other kind")
    stage = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            stage.mkdir()
        yield stage
        if folder and target.exists():
            old = stage.with_suffix(".old")
            target.replace(old)
            stage.replace(target)
            shutil.rmtree(old)
        else:
            stage.replace(target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if stage.is_dir():
            shutil.rmtree(stage, ignore_errors=True)
        else:
            stage.unlink(missing_ok=True)
