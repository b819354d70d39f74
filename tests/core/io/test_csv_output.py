"""A CSV is packed as its name asks, and the same text gives the same bytes."""

from __future__ import annotations

import errno
import gzip
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fer_core.io.csv_output import open_csv

TEXT = "id,label\n" + "".join(f"größe-{n},{n % 7}\n" for n in range(5000))


def unpacked(path: Path, name: str) -> bytes:
    content = path.read_bytes()
    if name.lower().endswith(".gz"):
        return gzip.decompress(content)
    if name.endswith(".zst"):
        return pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
    return content


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.csv.zst", "P.CSV.GZ", ""])
def test_the_name_says_how_it_is_packed_and_the_bytes_depend_on_the_text_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for part in ("one", "two"):
        with open_csv(tmp_path / part, name) as file:
            file.write(TEXT[:100])
            file.write(TEXT[100:])
        monkeypatch.setattr(time, "time", lambda: 1e9)
    assert unpacked(tmp_path / "one", name) == TEXT.encode()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    if name.lower().endswith(("gz", "zst")):
        assert (tmp_path / "one").stat().st_size < len(TEXT) / 2


@pytest.mark.parametrize("name", ["p.csv", "p.csv.gz", "p.csv.zst"])
def test_a_full_disk_is_the_systems_own_error_and_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    opened: list[Any] = []

    class Disk:
        """A raw file on which nothing has room."""

        def __init__(self, *_: object) -> None:
            self.closed = False
            opened.append(self)

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            self.closed = True

        def flush(self) -> None:
            """Nothing waits."""

        readable = seekable = lambda self: False
        writable = lambda self: True  # noqa: E731

    monkeypatch.setattr("fer_core.io.csv_output.open", Disk, raising=False)

    def write() -> None:
        with open_csv(tmp_path / "out", name) as file:
            for _ in range(100):
                file.write(TEXT)

    with pytest.raises(OSError, match="No space left on device"):
        write()
    assert [disk.closed for disk in opened] == [True]
