"""CSV outputs, packed as their names ask: plain, gzip or zstandard, the same bytes for the same text."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Final, cast

CSV_ENDINGS: Final = (".csv", ".csv.gz", ".csv.zst")
"""Endings of the names of CSV outputs."""
GZIP_LEVEL: Final = 6


class PackedText(io.TextIOWrapper):
    """A text file that closes the file below its packing too, even if the last bytes cannot be written."""

    def __init__(self, packed: IO[bytes], raw: IO[bytes], encoding: str, errors: str) -> None:
        self._raw = raw
        super().__init__(packed, encoding=encoding, errors=errors, newline="")

    def close(self) -> None:
        """Write what is left and close."""
        try:
            super().close()
        finally:
            self._raw.close()


def open_csv(path: Path, name: str | Path, *, encoding: str = "utf-8", errors: str = "strict") -> PackedText:
    """Open a new file for text whose line ends stay as they are.

    Parameters
    ----------
    path : Path
        The file to make, as a rule one yielded by `fer_core.outputs.staging.staged`.
    name : str or Path
        The name that it is going to have: `.gz` and `.zst` at its end say how it is packed.
    encoding, errors : str
        As for `open`.
    """
    raw = open(path, "wb")  # noqa: SIM115 - closed with the text
    pack = {".gz": _gzip, ".zst": _zstandard}.get(Path(name).suffix.lower(), lambda file: file)
    try:
        return PackedText(pack(raw), raw, encoding, errors)
    except BaseException:  # gzip begins with its header
        raw.close()
        raise


def _gzip(raw: IO[bytes]) -> IO[bytes]:
    import gzip  # here, as few programs need it

    # neither name nor time of day in the header
    packed = gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0)
    return cast(IO[bytes], packed)


def _zstandard(raw: IO[bytes]) -> IO[bytes]:
    from fer_core.io import zstd

    return cast(IO[bytes], zstd.open_writer(raw))
