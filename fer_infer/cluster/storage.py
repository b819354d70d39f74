"""Files on local disks and at URIs, on every file system that pyarrow or fsspec supports."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fsspec
import pyarrow as pa
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FileSystem

from fer_core import DataError, FerError, OutputError
from fer_core.errors import first_line

URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

VERSIONS: Final = ("ETag", "etag", "mtime", "LastModified", "updated", "created")
"""Names under which file systems report the version of a file; the first one present is used."""


@dataclass(frozen=True)
class InputFile:
    """A file to score, and the version by which a change is detected.

    Attributes
    ----------
    source : str
        Path or URI as the user would write it.
    size_bytes : int
        Size in bytes.
    version : str
        ETag or time of the last change; empty if the file system reports neither.
    """

    source: str
    size_bytes: int
    version: str


def absolute(address: str) -> str:
    """Return `address` in a form that does not depend on the working directory; `~` is the home folder."""
    if URI.match(address):
        return address
    return os.path.abspath(os.path.expanduser(address))  # noqa: PTH100, PTH111 - Path.resolve follows links


def is_within(address: str, folder: str) -> bool:
    """Return whether an address is, as written, that of a folder or of something in it."""
    inner, outer = (
        absolute(one).partition("?" if URI.match(one) else "\0")[0].rstrip("/") for one in (address, folder)
    )
    return f"{inner}/".startswith(f"{outer}/")


def join(folder: str, name: str) -> str:
    """Return the address of `name` in `folder`; the query of a URI stays at its end."""
    if not URI.match(folder):
        return os.path.join(folder, name)  # noqa: PTH118 - a Path would drop a leading ./
    folder, mark, options = folder.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{options}"


def locate(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of `address`, and the path in it.

    pyarrow includes S3, Google Cloud Storage and HDFS; fsspec supports more, each with a package of its own.
    """
    if not URI.match(address) or address.startswith("file://"):
        return LocalFileSystem(), absolute(address.removeprefix("file://"))
    try:
        system, path = FileSystem.from_uri(address)
    except pa.ArrowInvalid:
        known: tuple[Any, str] = fsspec.url_to_fs(address)
        return known
    return ArrowFSWrapper(system), path


@contextmanager
def _located(address: str, what: str, kind: type[FerError] = OutputError) -> Iterator[tuple[Any, str]]:
    """Yield the file system and path of an address; turn the errors of all file systems into one of ours."""
    try:
        yield locate(address)
    except (OSError, ImportError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        if kind is DataError:
            raise DataError(address, f"{what}: {reason}") from error
        raise OutputError(f"{address}: {what}: {reason}") from error


def local_path(address: str) -> Path | None:
    """Return the path of an address on this machine's file systems; None if it is remote."""
    if URI.match(address) and not address.startswith("file://"):
        return None
    return Path(absolute(address.removeprefix("file://")))


def list_inputs(addresses: Sequence[str]) -> tuple[InputFile, ...]:
    """Return the files at addresses, in the order of the addresses and of the names in each.

    Parameters
    ----------
    addresses : sequence of str
        Files, folders (all files below them), or patterns with `*`, `**`, `[...]` and, on local paths, `?`. Names in
        folders and patterns that begin with `.` or `_` are ignored.

    Raises
    ------
    DataError
        If an address matches no file, or a file is listed twice.
    """
    found: dict[str, InputFile] = {}
    for address in addresses:
        with _located(address, "cannot be listed", DataError):
            files = list(_expand(os.path.expanduser(address)))  # noqa: PTH111 - an address may be a URI
        if not files:
            raise DataError(address, "expected files to score, found none")
        for file in files:
            if found.setdefault(absolute(file.source), file) is not file:
                raise DataError(file.source, "is listed twice; expected each file once")
    return tuple(found.values())


def _expand(address: str) -> Iterator[InputFile]:
    system, path = locate(address)
    if system.isfile(path):
        yield _input_file(address, system, path)
        return
    folder, pattern = (address, "") if system.isdir(path) else _split_pattern(address)
    system, base = locate(folder or ".")
    base = base.rstrip("/")
    if pattern:
        paths = [path for path in system.glob(f"{base}/{pattern}") if system.isfile(path)]
    else:
        if not system.isdir(base):
            raise FileNotFoundError(2, "No such file or directory")
        paths = system.find(base)
    for path in sorted(path for path in paths if not re.search(r"/[._]", path[len(base) :])):
        name = path[len(base) :].lstrip("/")
        yield _input_file(join(folder, name) if folder else name, system, path)


def _split_pattern(address: str) -> tuple[str, str]:
    """Split an address before the first part with a wildcard; `?` in a URI starts its query."""
    uri = URI.match(address)
    start, mark, options = address.partition("?") if uri else (address, "", "")
    wildcard = re.search(r"[*\[]" if uri else r"[*?\[]", start)
    if wildcard is None:
        return address, ""
    folder, slash, _ = start[: wildcard.start()].rpartition("/")
    return (folder or slash) + mark + options, start[len(folder) :].lstrip("/")


def _input_file(source: str, system: Any, path: str) -> InputFile:
    if isinstance(system, LocalFileSystem):
        status = Path(path).stat()  # of the file itself if `path` is a link to it
        return InputFile(source, status.st_size, str(status.st_mtime_ns))
    entry = system.info(path)
    version = next((str(entry[name]) for name in VERSIONS if entry.get(name) is not None), "")
    return InputFile(source, entry["size"], version)


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """Yield a local path with the content of `address`: the file itself, or a temporary copy."""
    with _located(address, "cannot be read", DataError) as (system, path):
        pass
    if isinstance(system, LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        copy = Path(folder) / Path(path).name
        with _located(address, "cannot be read", DataError):
            system.get_file(path, str(copy))
        yield copy


@contextmanager
def _replaced(address: str) -> Iterator[tuple[Any, str]]:
    """Yield a file system and a path to write to, which is then renamed to `address`; after an error, nothing is left.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with _located(address, "cannot be written") as (system, path):
        folder, _, name = path.rpartition("/")
        stage = f"{folder}/.{name}.{secrets.token_hex(4)}.part"
        system.makedirs(folder, exist_ok=True)
        try:
            yield system, stage
            system.mv(stage, path)
        except BaseException:
            with suppress(Exception):
                system.rm_file(stage)
            raise


def place(file: Path, address: str) -> None:
    """Copy a complete local file to `address`; an existing file there is replaced atomically."""
    with _replaced(address) as (system, stage):
        system.put_file(str(file), stage)


def write(content: bytes, address: str) -> None:
    """Write a small file to `address`; an existing file there is replaced atomically."""
    with _replaced(address) as (system, stage):
        system.pipe_file(stage, content)


def names_in(folder: str) -> list[str]:
    """Return the sorted names of the entries of `folder`; none if it does not exist."""
    with _located(folder, "cannot be listed") as (system, path):
        if not system.exists(path):
            return []
        if not system.isdir(path):
            raise NotADirectoryError(20, "expected a folder, found a file")
        return sorted(entry.rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False))


def exists(address: str) -> bool:
    """Return whether there is a file at `address`."""
    with _located(address, "cannot be looked up") as (system, path):
        return bool(system.isfile(path))


def read(address: str) -> bytes:
    """Return the content of a small file."""
    with _located(address, "cannot be read") as (system, path):
        content: bytes = system.cat_file(path)
        return content


def remove(address: str) -> None:
    """Remove a file."""
    with _located(address, "cannot be removed") as (system, path):
        system.rm_file(path)


def sha256(address: str) -> str | None:
    """Return the SHA-256 of a file as hex, or None if it does not exist."""
    with _located(address, "cannot be read") as (system, path):
        if not system.exists(path):
            return None
        with system.open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
