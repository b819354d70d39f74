"""Write CSV files, plain or compressed by gzip or zstandard; the same text gives the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Final, cast

CSV_ENDINGS: Final = (".csv", ".csv.gz", ".csv.zst")
"""Endings of the names of CSV outputs."""
GZIP_LEVEL: Final = 6


class PackedText(io.TextIOWrapper):
    """A compressed text file that also closes the file below, even if the last bytes cannot be written."""

    def __init__(self, packed: IO[bytes], raw: IO[bytes], encoding: str, errors: str) -> None:
        self._raw = raw
        super().__init__(packed, encoding=encoding, errors=errors, newline="")

    def close(self) -> None:
        """Write the rest and close."""
        try:
            super().close()
        finally:
            self._raw.close()


def open_csv(path: Path, name: str | Path, *, encoding: str = "utf-8", errors: str = "strict") -> PackedText:
    """Open a new text file; line ends are written unchanged.

    Parameters
    ----------
    path : Path
        File to create, usually yielded by `fer_core.outputs.staging.staged`.
    name : str or Path
        Final name of the file; its suffix `.gz` or `.zst` selects the compression.
    encoding, errors : str
        As in `open`.
    """
    raw = open(path, "wb")  # noqa: SIM115 - closed with the text
    pack = {".gz": _gzip, ".zst": _zstandard}.get(Path(name).suffix.lower(), lambda file: file)
    try:
        return PackedText(pack(raw), raw, encoding, errors)
    except BaseException:  # gzip writes its header at once
        raw.close()
        raise


def _gzip(raw: IO[bytes]) -> IO[bytes]:
    import gzip  # imported here, since few programs need it

    # no name or time in the header
    packed = gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0)
    return cast(IO[bytes], packed)


def _zstandard(raw: IO[bytes]) -> IO[bytes]:
    from fer_core.io import zstd

    return cast(IO[bytes], zstd.open_writer(raw))
