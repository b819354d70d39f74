"""CSV files of random faces in every layout and packing, and what a slow reference reads in them."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_core import Faces
from fer_core.fer2013 import EXPRESSIONS, PIXELS, SPLITS
from fer_core.io import zstd

LAYOUTS = {
    "fer2013.csv": "emotion,pixels,Usage",
    "icml_face_data.csv": "emotion, Usage, pixels",
    "kaggle train": "emotion,pixels",
    "kaggle test": "pixels",
    "course train": "label,feature",
    "course test": "id,feature",
    "another order": "Usage,pixels,id,label",
    "other capitals": "PIXELS,Emotion,usage,ID",
}
ROLES = {"pixels": "pixels", "feature": "pixels", "emotion": "label", "label": "label", "usage": "split", "id": "id"}
BOM = b"\xef\xbb\xbf"


def pixels_text(seed: int = 0, count: int = PIXELS) -> str:
    return " ".join(map(str, np.random.default_rng(seed).integers(0, 256, count).tolist()))


FACE = pixels_text(0)


def make_csv(
    header: str,
    n: int,
    *,
    end: str = "\n",
    bom: bool = False,
    quoted: bool = False,
    last_end: bool = True,
    seed: int = 0,
) -> bytes:
    """A CSV of `n` random faces in any layout."""
    lines = [header]
    for i in range(n):
        cells = {
            "pixels": '"' * quoted + pixels_text(seed + i) + '"' * quoted,
            "label": str((seed + i) % 7),
            "split": SPLITS[(seed + i) % 3],
            "id": f"face {i}",
        }
        lines.append(",".join(cells[ROLES[name.strip().lower()]] for name in header.split(",")))
    return BOM * bom + (end.join(lines) + end * last_end).encode()


def many_rows() -> bytes:
    """Enough to fill several compressed blocks."""
    return make_csv("emotion,pixels,Usage", 40)


def read_slowly(data: bytes) -> dict[str, Any]:
    """What pandas and `int` make of a plain CSV, by role."""
    table = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False)
    known = [name for name in table.columns if name.strip().lower() in ROLES]
    columns = {ROLES[name.strip().lower()]: table[name].tolist() for name in known}
    images = [[int(float(value)) for value in re.findall(r"[0-9.]+", cell)] for cell in columns["pixels"]]
    labels = [_label(cell.strip()) for cell in columns["label"]] if "label" in columns else None
    return {
        "images": np.array(images, np.uint8).reshape(-1, 48, 48),
        "rows": list(range(2, len(table) + 2)),
        "labels": labels,
        "ids": columns.get("id"),
        "splits": columns.get("split"),
    }


def _label(cell: str) -> int:
    return EXPRESSIONS.index(cell.lower()) if cell.isalpha() else int(float(cell))


def assert_same(faces: Faces, expected: dict[str, Any]) -> None:
    assert faces.images.dtype == np.uint8
    assert np.array_equal(faces.images, expected["images"])
    for name in ("rows", "labels", "ids", "splits"):
        column = getattr(faces, name)
        assert (None if column is None else column.tolist()) == expected[name], name


def assert_faces_equal(one: Faces, other: Faces) -> None:
    assert_same(one, {name: _listed(getattr(other, name)) for name in ("images", "rows", "labels", "ids", "splits")})


def _listed(column: NDArray[Any] | None) -> Any:
    return column if column is None or column.ndim > 1 else column.tolist()


def written(folder: Path, data: bytes, name: str = "test.csv") -> Path:
    path = folder / name
    path.unlink(missing_ok=True)  # a file that is emptied and filled again, some systems flush to the disk
    path.write_bytes(data)
    return path


def zst(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zstd.open_writer(packed) as file:
        file.write(data)
    return packed.getvalue()


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip of two members": lambda data: gzip.compress(data[:9999]) + gzip.compress(data[9999:]),
    "gzip padded with zeros": lambda data: gzip.compress(data) + bytes(512),
    "zstandard": zst,
    "zstandard of three frames": lambda data: zst(data[:9999]) + zst(b"") + zst(data[9999:]),
    "zstandard after a skippable frame": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0size" + zst(data),
}


class Chunks(io.RawIOBase):
    """A stream that hands out one chunk a read, and fails the test if it is asked for more than it has."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        assert self._rest, "read on past what was needed"
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n
