"""Decompressed bytes of a file, of standard input or of a member of an archive."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final, cast

from fer_core.errors import DataError
from fer_core.git_lfs import LFS_REMEDY
from fer_core.io import zstd
from fer_core.io.archives import choose_tar_member, open_tar_member, open_zip_member
from fer_core.io.crop import OTHER_PICTURES
from fer_core.io.file_types import (
    ARCHIVES,
    BZIP2,
    COMPRESSIONS,
    FILM,
    GZIP,
    HEAD_BYTES,
    IMAGES,
    LFS_POINTER,
    PICTURES,
    TABLES,
    XZ,
    ZIP,
    ZSTD,
    file_type,
)
from fer_core.places import Place, locate

DAMAGE: Final = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstd.ZstdError)
_READ_ONCE: Final = "expected a CSV, found {kind}, which is read from a plain file only"


@contextmanager
def open_stream(path: str | Path) -> Iterator[io.BufferedReader]:
    """Open a table as a stream of its bytes.

    Parameters
    ----------
    path : str or Path
        A file, plain or compressed by gzip, zstandard, xz or bzip2; a zip or tar archive with one table, or
        `ARCHIVE/MEMBER` for one of several; `-` for standard input. The format is recognized by the first bytes.

    Raises
    ------
    DataError
        If the file is missing, unreadable, damaged, compressed twice, in a format that cannot contain faces, or an
        archive from which no member can be chosen.
    """
    source = str(path)
    if source == "-" and sys.stdin is None:
        raise DataError(source, "cannot be read: standard input is closed")
    place = locate(path)
    try:
        with _opened(place) as (stream, kind):
            if place.member is not None and kind not in ARCHIVES:
                raise DataError(str(place.file), f"is not an archive, so it cannot contain {place.member!r}")
            if kind not in ARCHIVES:
                yield stream
                return
            with _member(place, stream, kind) as member, _unpacked(member) as (table, inner):
                _require_table(inner, source, within=str(kind))
                yield table
    except DAMAGE as error:
        raise DataError(source, f"compressed data is damaged or cut short ({error})") from None
    except OSError as error:
        if error.errno is None and type(error) is OSError:  # bz2 reports damage like this
            raise DataError(source, f"compressed data is damaged or cut short ({error})") from None
        raise DataError(source, f"cannot be read: {error.strerror or error}") from None


@contextmanager
def open_seekable(path: str | Path) -> Iterator[str | IO[bytes]]:
    """Yield the name of a plain file, or a temporary decompressed copy, for formats that need random access.

    Errors are those of `open_stream`.
    """
    place = locate(path)
    with ExitStack() as stack:
        with open_stream(path) as stream:
            plain = place.member is None and isinstance(stream.raw, io.FileIO)
            copy = None if plain else stack.enter_context(tempfile.TemporaryFile(prefix="fer-"))
            if copy is not None:
                shutil.copyfileobj(stream, copy, 1 << 20)
                copy.seek(0)
        yield str(path) if copy is None else copy


def plain_size(stream: io.BufferedReader) -> int | None:
    """Return the size in bytes of a regular file that is read without decompression; None for other streams."""
    if not isinstance(stream.raw, io.FileIO):
        return None
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def table_type(path: str | Path) -> str | None:
    """Return the format of a table inside compression or an archive; see `fer_core.io.file_types.file_type`."""
    with open_stream(path) as stream:
        return file_type(_head(stream)[0])


def is_image(path: str | Path, types: Collection[str] = IMAGES) -> bool:
    """Return whether a path is a file of one of the `types`, by default a PNG or JPEG image."""
    if str(path) == "-" or not os.path.isfile(path):  # noqa: PTH113 - Path.is_file can raise
        return False
    with open(path, "rb") as file:
        return file_type(file.read(HEAD_BYTES)) in types


@contextmanager
def _opened(place: Place) -> Iterator[tuple[io.BufferedReader, str | None]]:
    """Open a file or standard input; yield its decompressed stream and the type of its content."""
    source = str(place.file)
    regular = source != "-" and os.path.isfile(place.file)  # noqa: PTH113 - as above
    with nullcontext(sys.stdin.buffer) if source == "-" else open(place.file, "rb") as raw:
        plain = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(Any, raw))
        with _unpacked(plain) as (stream, kind):
            _require_table(kind, source, within=None if stream is plain else "compression")
            if not regular and (kind in ARCHIVES or kind in TABLES):
                raise DataError(source, _READ_ONCE.format(kind=kind))
            yield stream, kind


def _require_table(kind: str | None, source: str, within: str | None) -> None:
    """Raise DataError for a format that is not a table, or that is packed twice."""
    if kind == LFS_POINTER:
        raise DataError(source, LFS_REMEDY)
    nested = COMPRESSIONS if within == "compression" else COMPRESSIONS | ARCHIVES if within else frozenset()
    if kind in nested:
        inside = "compressed data" if within == "compression" else within
        raise DataError(source, f"contains {kind} inside {inside}; unpack it first")
    if kind in IMAGES:
        raise DataError(source, f"is {kind}; expected the folder of images it lies in, or a CSV, Parquet or Arrow file")
    if kind == FILM:
        raise DataError(source, "is a film; `fer-infer score` finds the faces in it with `faces='detect'`")
    if kind in PICTURES:
        raise DataError(source, f"is {kind}, expected PNG or JPEG; {OTHER_PICTURES}")
    if kind is not None and kind not in TABLES | ARCHIVES | COMPRESSIONS:
        raise DataError(source, f"is {kind}; expected a CSV, Parquet or Arrow file, or a folder of images")


@contextmanager
def _unpacked(packed: io.BufferedReader) -> Iterator[tuple[io.BufferedReader, str | None]]:
    """Decompress once; yield the stream and the type of its content."""
    head, packed = _head(packed)
    kind = file_type(head)
    if kind not in COMPRESSIONS:
        yield packed, kind
        return
    raw = _DECOMPRESSORS[kind](packed)
    head, stream = _head(io.BufferedReader(cast(Any, raw)))
    yield stream, file_type(head)


def _head(stream: io.BufferedReader) -> tuple[bytes, io.BufferedReader]:
    """Return the first bytes of a stream, and a stream that still begins with them."""
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    if len(head) == HEAD_BYTES:
        return head, stream
    start = stream.tell() if isinstance(stream.raw, io.FileIO) and stream.seekable() else None
    head = stream.read(HEAD_BYTES)  # a short file, or a pipe or decompressor that returned less
    if start is not None:
        stream.seek(start)
        return head, stream
    return head, io.BufferedReader(cast(Any, _Rewound(head, stream)))


@contextmanager
def _member(place: Place, stream: io.BufferedReader, kind: str | None) -> Iterator[io.BufferedReader]:
    source = str(place.file)
    if kind == ZIP:
        if not isinstance(stream.raw, io.FileIO):
            raise DataError(source, f"contains {ZIP} inside compressed data; unpack it first")
        with open_zip_member(stream, place.member, source) as member:
            yield member
        return
    status = place.file.stat()
    name = _tar_member(place, status.st_mtime_ns, status.st_size)
    with open_tar_member(stream, name, source) as member:
        yield member


@lru_cache(maxsize=16)
def _tar_member(place: Place, mtime_ns: int, size: int) -> str:
    """Choose a member; the result is cached, so that an unchanged archive is not read again."""
    with _opened(place) as (stream, _):
        return choose_tar_member(stream, place.member, str(place.file))


class _Rewound(io.RawIOBase):
    """A stream from its beginning, although its first bytes were read already."""

    def __init__(self, head: bytes, stream: io.BufferedReader) -> None:
        self._head = memoryview(head)
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._head:
            return self._stream.readinto1(buffer)
        n = min(len(buffer), len(self._head))
        buffer[:n] = self._head[:n]
        self._head = self._head[n:]
        return n


_DECOMPRESSORS: Final[dict[str | None, Any]] = {
    GZIP: lambda raw: gzip.GzipFile(fileobj=raw),
    ZSTD: zstd.open_reader,
    XZ: lzma.LZMAFile,
    BZIP2: bz2.BZ2File,
}
