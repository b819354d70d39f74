"""Short input is decoded without loading compiled code, long input with it, and nobody can tell from the result."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from csv_samples import PACKINGS, assert_same, make_csv, read_slowly, written
from pyarrow import parquet

from fer_core import iter_faces, read_faces
from fer_core.errors import CacheWarning
from fer_core.io.csv import blocks as csv_blocks
from fer_core.io.csv import decoder as csv_decoder
from fer_core.io.csv import kernel as csv_kernel

DATA = make_csv("emotion,pixels,Usage", 40)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test the decoder of a process that has not read anything yet."""
    monkeypatch.setattr(csv_decoder, "_choice", csv_decoder._Choice())


@pytest.fixture
def compiled_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list of the bytes that each call of the compiled decoder was given."""
    calls: list[int] = []
    original = csv_kernel.decode_lines

    def spy(text: Any, position: int, size: int, *arguments: Any) -> Any:
        calls.append(size - position)
        return original(text, position, size, *arguments)

    monkeypatch.setattr(csv_kernel, "decode_lines", spy)
    return calls


def test_a_short_file_loads_no_compiler(tmp_path: Path) -> None:
    path = written(tmp_path, DATA)
    code = (
        "import sys\n"
        "from fer_core import read_faces\n"
        f"assert len(read_faces({str(path)!r})) == 40\n"
        "assert not {'numba', 'llvmlite', 'scipy'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("packing", ["plain", "gzip"])
def test_the_compiled_decoder_takes_over_once_much_was_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled_calls: list[int], packing: str
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1 << 17)
    monkeypatch.setattr(csv_decoder, "KERNEL_BYTES", 200_000)
    path = written(tmp_path, PACKINGS[packing](DATA))
    assert_same(read_faces(path), read_slowly(DATA))
    assert compiled_calls
    assert sum(compiled_calls) < len(DATA)
    before = len(compiled_calls)
    assert_same(read_faces(path), read_slowly(DATA))
    assert sum(compiled_calls[before:]) == len(DATA) - len(b"emotion,pixels,Usage\n")


@pytest.mark.parametrize("threads", [1, 3])
def test_where_a_long_file_is_known_to_come_it_is_compiled_code_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled_calls: list[int], threads: int
) -> None:
    monkeypatch.setattr(csv_blocks, "FIRST_BLOCKS", 1)
    monkeypatch.setattr(csv_decoder, "KERNEL_BYTES", len(DATA))
    (faces,) = iter_faces(written(tmp_path, DATA), threads=threads)
    assert_same(faces, read_slowly(DATA))
    assert sum(compiled_calls) == len(DATA) - len(b"emotion,pixels,Usage\n")


def test_the_first_rows_of_a_long_file_are_read_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled_calls: list[int]
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1 << 17)
    monkeypatch.setattr(csv_decoder, "KERNEL_BYTES", len(DATA))
    batches = iter_faces(written(tmp_path, DATA), batch_rows=2)
    assert next(batches).rows.tolist() == [2, 3]
    assert not compiled_calls


def test_one_column_per_pixel_stays_with_numpy(tmp_path: Path, compiled_calls: list[int]) -> None:
    csv_decoder.load_compiled_decoder()
    header = ",".join(f"pixel{n}" for n in range(2304))
    values = np.arange(2304) % 256
    faces = read_faces(written(tmp_path, f"{header}\n{','.join(map(str, values))}\n".encode()))
    assert np.array_equal(faces.images.reshape(-1), values)
    assert not compiled_calls


def test_text_in_parquet_is_decoded_by_either(tmp_path: Path, compiled_calls: list[int]) -> None:
    expected = read_slowly(DATA)
    texts = [" ".join(map(str, image.reshape(-1))) for image in expected["images"]]
    texts[3] = texts[3].replace(" ", ",")
    parquet.write_table(pyarrow.table({"pixels": texts}), tmp_path / "faces.parquet")
    assert np.array_equal(read_faces(tmp_path / "faces.parquet").images, expected["images"])
    assert not compiled_calls
    csv_decoder.load_compiled_decoder()
    assert np.array_equal(read_faces(tmp_path / "faces.parquet").images, expected["images"])
    assert compiled_calls


def test_where_numba_does_not_run_numpy_decodes_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put_on_stdin: Callable[..., Any]
) -> None:
    monkeypatch.setitem(sys.modules, "fer_core.io.csv.kernel", None)
    monkeypatch.setattr(csv_decoder, "KERNEL_BYTES", 1)
    with pytest.warns(CacheWarning, match=r"^the compiled CSV decoder cannot be loaded \(.*; NumPy decodes instead$"):
        assert_same(read_faces(written(tmp_path, DATA)), read_slowly(DATA))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put_on_stdin(io.BytesIO(DATA))
        assert_same(read_faces("-"), read_slowly(DATA))
        assert not csv_decoder.load_compiled_decoder()
