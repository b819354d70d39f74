"""CSV outputs, packed as their names ask: plain, gzip or zstandard, the same bytes for the same text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Final, cast

CSV_ENDINGS: Final = (".csv", ".csv.gz", ".csv.zst")
"""Endings of the names of CSV outputs."""
ZSTD_LEVEL: Final = 3
GZIP_LEVEL: Final = 6


def open_csv(path: Path, name: str | Path, *, encoding: str = "utf-8", errors: str = "strict") -> io.TextIOWrapper:
    """Open a new file for text whose line ends stay as they are.

    Parameters
    ----------
    path : Path
        The file to make, as a rule one yielded by `fer_core.output.staged`.
    name : str or Path
        The name that it is going to have: `.gz` and `.zst` at its end say how it is packed.
    encoding, errors : str
        As for `open`.
    """
    packing = Path(name).suffix.lower()
    raw = open(path, "wb")  # noqa: SIM115 - closed with the text
    try:
        packed = {".gz": _gzip, ".zst": _zstandard}.get(packing, lambda file: file)(raw)
        return io.TextIOWrapper(cast(IO[bytes], packed), encoding=encoding, errors=errors, newline="")
    except BaseException:
        raw.close()
        raise


def _gzip(raw: io.BufferedWriter) -> IO[bytes]:
    import gzip  # not by every program that writes plain CSV

    class Gzip(gzip.GzipFile):
        """It closes the file below it, also after an error, which may come when the last bytes are written."""

        def close(self) -> None:
            try:
                super().close()
            finally:
                raw.close()

    # neither name nor time of day in the header
    return cast(IO[bytes], Gzip(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0))


def _zstandard(raw: io.BufferedWriter) -> IO[bytes]:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
    return cast(IO[bytes], compressor.stream_writer(raw, closefd=True))
