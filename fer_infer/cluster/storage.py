"""Files wherever they are: local paths, and URIs of every file system that pyarrow or fsspec knows."""

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

from fer_core import DataError, OutputError
from fer_core.errors import first_line

URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

VERSIONS: Final = ("ETag", "etag", "mtime", "LastModified", "updated", "created")
"""What file systems call the mark that changes when a file does; the first one present counts."""


@dataclass(frozen=True)
class InputFile:
    """A file to be scored, and what tells that it is still the same.

    Attributes
    ----------
    source : str
        The path or URI by which its user would name it.
    size_bytes : int
    version : str
        Its ETag, or else when it was last changed; empty where the file system tells neither.
    """

    source: str
    size_bytes: int
    version: str


def absolute(address: str) -> str:
    """Return `address` in a form that other processes understand, too."""
    return address if URI.match(address) else os.path.abspath(address)  # noqa: PTH100 - Path.resolve follows links


def is_within(address: str, folder: str) -> bool:
    """Whether an address is that of a folder, or of something in it, as they are written."""
    inner, outer = (
        absolute(one).partition("?" if URI.match(one) else "\0")[0].rstrip("/") for one in (address, folder)
    )
    return f"{inner}/".startswith(f"{outer}/")


def join(folder: str, name: str) -> str:
    """Return the address of `name` in `folder`; the options of a URI stay at its end."""
    if not URI.match(folder):
        return os.path.join(folder, name)  # noqa: PTH118 - a Path would drop a leading ./
    folder, mark, options = folder.partition("?")
    return f"{folder.rstrip('/')}/{name}{mark}{options}"


def locate(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of `address`, and the path in it.

    pyarrow brings S3, Google Cloud Storage and HDFS itself; fsspec knows more, given the package of each.
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
def _in_one_line(kind: type[DataError] | type[OutputError], address: str, what: str) -> Iterator[None]:
    """Turn what file systems raise, each in its own way, into an error of ours."""
    try:
        yield
    except (OSError, ImportError, ValueError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        message = f"{what}: {reason}"
        raise (DataError(address, message) if kind is DataError else OutputError(f"{address}: {message}")) from error


def local_path(address: str) -> Path | None:
    """Return the path that an address names on this machine's file systems; None where it is elsewhere."""
    if URI.match(address) and not address.startswith("file://"):
        return None
    return Path(absolute(address.removeprefix("file://")))


def list_inputs(addresses: Sequence[str]) -> tuple[InputFile, ...]:
    """Return the files that addresses stand for, in the order of the addresses and of the names within each.

    Parameters
    ----------
    addresses : sequence of str
        Files, folders (all files below them), or patterns with `*`, `**` and `[...]`, on local paths `?` too. What a
        folder or pattern holds under a name that begins with `.` or `_` is left out.

    Raises
    ------
    DataError
        If an address stands for no file, or a file is named twice.
    """
    found: dict[str, InputFile] = {}
    for address in addresses:
        with _in_one_line(DataError, address, "cannot be listed"):
            files = list(_expand(address))
        if not files:
            raise DataError(address, "expected files to score, found none")
        for file in files:
            if found.setdefault(absolute(file.source), file) is not file:
                raise DataError(file.source, "is named twice; expected each file once")
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
    """Split an address before the first part that holds a wildcard; `?` in a URI begins its options."""
    uri = URI.match(address)
    start, mark, options = address.partition("?") if uri else (address, "", "")
    wildcard = re.search(r"[*\[]" if uri else r"[*?\[]", start)
    if wildcard is None:
        return address, ""
    folder, slash, _ = start[: wildcard.start()].rpartition("/")
    return (folder or slash) + mark + options, start[len(folder) :].lstrip("/")


def _input_file(source: str, system: Any, path: str) -> InputFile:
    if isinstance(system, LocalFileSystem):
        status = Path(path).stat()  # of the file itself, where `path` is a link to it
        return InputFile(source, status.st_size, str(status.st_mtime_ns))
    entry = system.info(path)
    version = next((str(entry[name]) for name in VERSIONS if entry.get(name) is not None), "")
    return InputFile(source, entry["size"], version)


@contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """Yield a local path with the content of `address`: the file itself, or a copy for as long as it is needed."""
    with _in_one_line(DataError, address, "cannot be read"):
        system, path = locate(address)
    if isinstance(system, LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        copy = Path(folder) / Path(path).name
        with _in_one_line(DataError, address, "cannot be read"):
            system.get_file(path, str(copy))
        yield copy


def place(file: Path, address: str) -> None:
    """Put a finished local file at `address`, whole or not at all; what stands there is replaced.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with _in_one_line(OutputError, address, "cannot be written"):
        system, path = locate(address)
        folder, _, name = path.rpartition("/")
        stage = f"{folder}/.{name}.{secrets.token_hex(4)}.part"
        system.makedirs(folder, exist_ok=True)
        try:
            system.put_file(str(file), stage)
            system.mv(stage, path)
        except BaseException:
            with suppress(Exception):
                system.rm_file(stage)
            raise


def write(content: bytes, address: str) -> None:
    """Put a small file at `address`, as `place` does."""
    with tempfile.TemporaryDirectory(prefix="fer-") as folder:
        file = Path(folder) / "content"
        file.write_bytes(content)
        place(file, address)


def names_in(folder: str) -> list[str]:
    """Return the names of what is in `folder`, sorted; none where it is absent."""
    with _in_one_line(OutputError, folder, "cannot be listed"):
        system, path = locate(folder)
        if not system.exists(path):
            return []
        if not system.isdir(path):
            raise NotADirectoryError(20, "expected a folder, found another kind")
        return sorted(entry.rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False))


def exists(address: str) -> bool:
    """Say whether there is a file at `address`."""
    with _in_one_line(OutputError, address, "cannot be looked up"):
        system, path = locate(address)
        return bool(system.isfile(path))


def read(address: str) -> bytes:
    """Return the content of a small file."""
    with _in_one_line(OutputError, address, "cannot be read"):
        system, path = locate(address)
        content: bytes = system.cat_file(path)
        return content


def remove(address: str) -> None:
    """Remove a file."""
    with _in_one_line(OutputError, address, "cannot be removed"):
        system, path = locate(address)
        system.rm_file(path)


def sha256(address: str) -> str | None:
    """Return the sha256 of a file as hex, or None where there is none."""
    digest = hashlib.sha256()
    with _in_one_line(OutputError, address, "cannot be read"):
        system, path = locate(address)
        if not system.exists(path):
            return None
        with system.open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
