"""Zstandard files: the standard library's module from Python 3.14 on, its backport before."""

from __future__ import annotations

import sys
from typing import IO, Final

if sys.version_info >= (3, 14):
    from compression.zstd import CompressionParameter, ZstdError, ZstdFile
else:
    from backports.zstd import CompressionParameter, ZstdError, ZstdFile

__all__ = ["ZstdError", "open_reader", "open_writer"]

LEVEL: Final = 3


def open_reader(packed: IO[bytes]) -> ZstdFile:
    """Return the decompressed stream of a file of one or more frames; an incomplete frame raises EOFError."""
    return ZstdFile(packed)


def open_writer(packed: IO[bytes]) -> ZstdFile:
    """Return a stream that writes one frame with a checksum; closing it leaves `packed` open."""
    options: dict[int, int] = {CompressionParameter.compression_level: LEVEL, CompressionParameter.checksum_flag: 1}
    return ZstdFile(packed, "wb", options=options)
