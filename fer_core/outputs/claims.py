"""Claims on outputs: only one run at a time writes a file or folder, and a killed run leaves no claim."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fer_core.errors import OutputError

HIDDEN: Final = re.compile(r"\.fer-[0-9a-f-]+\.(lock|part|old)")
"""Names of the lock of an output, of the output while it is written, and of the folder that it replaces."""

NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF})
"""Errors of file systems without locks, such as some network mounts."""
NOT_OURS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Errors of a parent folder in which no file may be created."""
POLL_INTERVAL_S: Final = 0.05
TRIES: Final = 20
"""Number of attempts to create a parent folder that other runs remove again."""


@contextmanager
def claimed(target: str | Path, *, wait_s: float = 0.0) -> Iterator[str]:
    """Hold the claim on an output until the end of the context.

    The claim is a lock on a small hidden file next to `target`. The operating system releases the lock when the process
    ends, even if it is killed. On a file system without locks nothing is claimed.

    Parameters
    ----------
    target : str or Path
        File or folder to write. Missing parent folders are created, and removed at the end if they are empty.
    wait_s : float
        Maximum time to wait for another run that holds the claim, in seconds.

    Yields
    ------
    str
        Short prefix for names of hidden files next to `target`, which no other active run uses.

    Raises
    ------
    OutputError
        If another run holds the claim, or the lock cannot be created.
    """
    made: list[Path] = []
    lock: _Lock | None = None
    try:
        try:
            path = Path(target).resolve()
            lock = _wait_for(path, made, time.monotonic() + wait_s)
        except (OSError, RuntimeError) as error:  # Python 3.11 and 3.12 report a cycle of links as a RuntimeError
            raise OutputError(f"{target}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
        if lock.holder is not None:
            holder = f" ({lock.holder})" if lock.holder else ""
            raise OutputError(
                f"{target}: is being written by another run{holder}; wait for it or choose another output"
            )
        yield lock.prefix
    finally:
        if lock is not None:
            lock.release()
        for parent in made:
            with suppress(OSError):  # the folder is not empty; usually it contains the output
                parent.rmdir()


@dataclass
class _Lock:
    """A lock file: held by another run if `holder` is set, by this run if `descriptor` is, else by none."""

    path: Path
    prefix: str
    descriptor: int | None = None
    holder: str | None = None

    def release(self) -> None:
        """Remove the lock file, then unlock it; the other order could remove the lock of a later run."""
        if self.descriptor is None:
            return
        if sys.platform == "win32":  # Windows cannot remove an open file
            os.close(self.descriptor)
            with suppress(OSError):
                self.path.unlink()
        else:
            with suppress(OSError):
                self.path.unlink()
            os.close(self.descriptor)
        self.descriptor = None


def _wait_for(path: Path, made: list[Path], deadline_s: float) -> _Lock:
    while True:
        lock = _take(path, made)
        if lock.holder is None or time.monotonic() >= deadline_s:
            return lock
        time.sleep(POLL_INTERVAL_S)


def _take(path: Path, made: list[Path]) -> _Lock:
    """Try once to lock the claim on `path`; prepend the created folders to `made`, innermost first."""
    prefix = f".fer-{_digest(path.name)}"
    for _ in range(TRIES):
        made[:0] = _make_folders(path.parent)
        try:
            return _lock(path.with_name(f"{prefix}.lock"), prefix, path.name)
        except FileNotFoundError:  # another run removed the folder that it had created
            continue
        except OSError as error:
            if error.errno not in NOT_OURS or not path.is_dir():
                raise
            return _lock(path / f"{prefix}.lock", prefix, path.name)  # an existing folder whose parent is not writable
    reason = "no file can be created in its folder" if path.parent.is_dir() else "its folder is removed repeatedly"
    raise OutputError(f"{path}: cannot be written: {reason}")


def _lock(path: Path, prefix: str, name: str) -> _Lock:
    while True:
        descriptor = _open(path)
        try:
            free = _try_to_lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in NO_LOCKS:
                raise
            with suppress(OSError):
                path.unlink()
            return _Lock(path, f"{prefix}-{secrets.token_hex(4)}")
        if not free:
            with os.fdopen(descriptor, "rb") as file:
                return _Lock(path, prefix, holder=_read_holder(file.fileno()))
        if _is_at(path, descriptor):
            _write_holder(descriptor)
            # The names differ between machines, since locks of another machine may be invisible here.
            return _Lock(path, f"{prefix}-{_digest(f'{platform.node()}/{name}')}", descriptor)
        os.close(descriptor)  # the previous holder removed the file before this run locked it


def _open(path: Path) -> int:
    no_links = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | no_links, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY | no_links)  # left by another user; read permission suffices to lock it


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # beyond the text, which other processes read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_to_lock(descriptor: int) -> bool:
        # flock, unlike lockf, also excludes other threads of this process
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    with suppress(OSError):  # a full disk; the lock does not depend on the text
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())


def _read_holder(descriptor: int) -> str:
    with suppress(OSError):
        return " ".join(os.read(descriptor, 200).decode(errors="replace").split())
    return ""


def _digest(text: str) -> str:
    return hashlib.sha256(os.path.normcase(text).encode(errors="surrogatepass")).hexdigest()[:8]


def _make_folders(folder: Path) -> list[Path]:
    """Create a folder and its parents; return those that were missing, innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing
