"""The bytes of a file or of standard input, unpacked where they are gzip or zstandard."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, cast

import zstandard

from fer_core.errors import DataError

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE_MAGIC: Final = b"\x2a\x4d\x18"
"""Second to fourth byte of a frame that holds no data (RFC 8878, section 3.1.2); pzstd writes one first."""


@contextmanager
def open_stream(path: str | Path) -> Iterator[io.BufferedReader]:
    """Open a plain, gzip or zstandard file, told by its first bytes, or standard input for `-`.

    Raises
    ------
    DataError
        If the file is absent, unreadable, or damaged inside its compression.
    """
    source = str(path)
    if source == "-" and sys.stdin is None:
        raise DataError(source, "cannot be read: standard input is closed")
    try:
        with nullcontext(sys.stdin.buffer) if source == "-" else open(path, "rb") as raw:
            yield _unpacked(raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(Any, raw)))
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise DataError(source, f"compressed data is damaged or cut short ({error})") from None
    except OSError as error:
        raise DataError(source, f"cannot be read: {error.strerror or error}") from None


def plain_size(stream: io.BufferedReader) -> int | None:
    """Return the size of the regular file that is read without unpacking, in bytes; None where there is none such."""
    if not isinstance(stream.raw, io.FileIO):
        return None
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _unpacked(raw: io.BufferedReader) -> io.BufferedReader:
    magic = raw.peek(4)[:4]
    if magic.startswith(GZIP_MAGIC):
        return io.BufferedReader(cast(Any, gzip.GzipFile(fileobj=raw)))
    if magic == ZSTD_MAGIC or magic[1:] == ZSTD_SKIPPABLE_MAGIC:
        return io.BufferedReader(_ZstdFrames(raw))
    return raw


class _ZstdFrames(io.RawIOBase):
    """What the frames of `raw` hold, one after the other.

    The stream reader of `zstandard` takes the middle of a frame for the end of the file where the file ends
    there, and would lose rows without a word.
    """

    # A kilobyte can unpack to 32 MiB, so no more is unpacked at once.
    CHUNK: Final = 1 << 10

    def __init__(self, raw: io.BufferedReader) -> None:
        self._raw = raw
        self._packed = b""
        self._text = memoryview(b"")
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        filled = 0
        while filled < len(buffer) and self._unpack():
            n = min(len(buffer) - filled, len(self._text))
            buffer[filled : filled + n] = self._text[:n]
            self._text = self._text[n:]
            filled += n
        return filled

    def _unpack(self) -> bool:
        """See that there is text; return whether there is any left."""
        while not self._text:
            packed = self._packed or self._raw.read1(self.CHUNK)
            if not packed and self._frame is not None:
                raise EOFError("it ends within a zstandard frame")
            if not packed:
                return False
            frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._text = memoryview(frame.decompress(packed))
            self._packed = frame.unused_data
            self._frame = None if frame.eof else frame
        return True
