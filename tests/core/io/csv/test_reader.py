"""Every layout, packing and batch size of a CSV reads as a slow reference reads it."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_samples import (
    BOM,
    FACE,
    LAYOUTS,
    PACKINGS,
    Chunks,
    assert_faces_equal,
    assert_same,
    make_csv,
    many_rows,
    read_slowly,
    written,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_core import DataError, iter_faces, read_faces
from fer_core.faces import concatenate
from fer_core.io.columns import MAX_ID_LENGTH


@pytest.mark.parametrize("quoted", [False, True], ids=["bare", "quoted"])
@pytest.mark.parametrize("header", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_reads_as_pandas_reads_it(tmp_path: Path, header: str, quoted: bool) -> None:
    for end, bom, last_end in itertools.product(["\n", "\r\n"], [False, True], [False, True]):
        data = make_csv(header, 3, end=end, bom=bom, quoted=quoted, last_end=last_end)
        assert_same(read_faces(written(tmp_path, data)), read_slowly(data))


def test_a_quoted_header_and_spaces_around_every_cell_are_read(tmp_path: Path) -> None:
    data = f'"emotion","pixels","Usage","id"\n 3 ,  {FACE}  , Training , a b \n'.encode()
    faces = read_faces(written(tmp_path, BOM + data))
    assert faces.images.reshape(-1).tolist() == [int(value) for value in FACE.split()]
    columns = [getattr(faces, name).tolist() for name in ("labels", "splits", "ids")]
    assert columns == [[3], ["Training"], ["a b"]]


def test_ids_keep_commas_quotes_zeros_and_letters_of_all_scripts(tmp_path: Path) -> None:
    names = ["a,b", 'say "x"', "007", "лицо", "1e3", "NA", "x" * 256]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([["id", "feature"], *([name, FACE] for name in names)])
    ids = read_faces(written(tmp_path, file.getvalue().encode())).ids
    assert ids is not None
    assert ids.tolist() == names


@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_every_packing_reads_the_same_whatever_the_file_is_called(
    tmp_path: Path, put_on_stdin: Callable[..., Any], pack: Callable[[bytes], bytes], stdin: bool
) -> None:
    data = make_csv("emotion,pixels,Usage", 5)
    if stdin:
        put_on_stdin(io.BytesIO(pack(data)))
    faces = read_faces("-" if stdin else written(tmp_path, pack(data), "faces.txt"))
    assert_same(faces, read_slowly(data))
    assert faces.source == ("-" if stdin else str(tmp_path / "faces.txt"))


def test_stdin_may_be_a_pipe_and_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_csv("emotion,pixels", 2)
    read_end, write_end = os.pipe()
    with open(write_end, "wb") as pipe:
        pipe.write(data)
    with open(read_end) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert_same(read_faces("-"), read_slowly(data))
        assert not stdin.buffer.closed


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_parquet_in_a_stream_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "faces").write_bytes(pack(b"PAR1\x15\x04\xff\x00" * 1000 + b"PAR1"))
    with open(tmp_path / "faces") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(DataError, match=r"^-: expected a CSV, found Parquet, which is read from a plain file only"):
            read_faces("-")


def test_a_pipe_without_the_split_is_not_read_again() -> None:
    read_end, write_end = os.pipe()
    with open(write_end, "wb") as pipe:
        pipe.write(make_csv("emotion,pixels,Usage", 2))
    with open(read_end, "rb"), pytest.raises(DataError, match=r"has no row of split 'PrivateTest'$"):
        read_faces(f"/dev/fd/{read_end}", "PrivateTest")


def test_stdin_that_is_closed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match=r"^-: cannot be read: standard input is closed$"):
        read_faces("-")


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    header=st.sampled_from(list(LAYOUTS.values())).flatmap(lambda header: st.permutations(header.split(","))),
    n=st.integers(0, 6),
    seed=st.integers(0, 1000),
    batch_rows=st.integers(1, 8),
    form=st.fixed_dictionaries(
        {
            "end": st.sampled_from(["\n", "\r\n"]),
            "bom": st.booleans(),
            "quoted": st.booleans(),
            "last_end": st.booleans(),
        }
    ),
    packing=st.sampled_from(list(PACKINGS)),
)
def test_whatever_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    header: list[str],
    n: int,
    seed: int,
    batch_rows: int,
    form: dict[str, Any],
    packing: str,
) -> None:
    data = make_csv(",".join(header), n, seed=seed, **form)
    path = written(tmp_path_factory.getbasetemp(), PACKINGS[packing](data), "property.csv")
    assert_same(concatenate(list(iter_faces(path, batch_rows=batch_rows))), read_slowly(data))


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 10, 100_000])
def test_the_size_of_a_batch_changes_nothing(tmp_path: Path, batch_rows: int) -> None:
    data = make_csv("emotion,pixels,Usage", 10)
    batches = list(iter_faces(written(tmp_path, data), batch_rows=batch_rows))
    assert [len(batch) for batch in batches[:-1]] == [batch_rows] * (len(batches) - 1)
    assert 0 < len(batches[-1]) <= batch_rows
    assert_same(concatenate(batches), read_slowly(data))


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 7, 100])
def test_skipping_keeps_every_good_row_and_lists_every_other_one(tmp_path: Path, batch_rows: int) -> None:
    lines = make_csv("emotion,pixels,Usage", 20).split(b"\n")
    wrong = [2, 3, 4, 9, 15, 21]
    for row in wrong:
        lines[row - 1] = b"9," + lines[row - 1][2:]
    batches = list(iter_faces(written(tmp_path, b"\n".join(lines)), batch_rows=batch_rows, on_error="skip"))
    faces = concatenate(batches)
    assert max(max(len(batch), len(batch.rejected)) for batch in batches) <= batch_rows
    assert [error.row for error in faces.rejected] == wrong
    assert faces.rows.tolist() == [row for row in range(2, 22) if row not in wrong]
    assert faces.require_labels().tolist() == ((faces.rows - 2) % 7).tolist()
    assert np.array_equal(faces.images, read_slowly(many_rows())["images"][faces.rows - 2])


def test_a_file_of_wrong_rows_alone_gives_no_face_and_all_rejects(tmp_path: Path) -> None:
    batches = list(iter_faces(written(tmp_path, b"pixels\n1\n2\n3\n"), batch_rows=2, on_error="skip"))
    assert [len(batch) for batch in batches] == [0, 0]
    assert [error.row for batch in batches for error in batch.rejected] == [2, 3, 4]


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_a_split_is_read_alone_with_its_row_numbers(tmp_path: Path, batch_rows: int) -> None:
    path = written(tmp_path, make_csv("emotion,pixels,Usage", 9))
    faces = concatenate(list(iter_faces(path, batch_rows=batch_rows, split="PublicTest")))
    assert faces.rows.tolist() == [3, 6, 9]
    assert_faces_equal(faces, read_faces(path).of_split("PublicTest"))
    assert_faces_equal(faces, read_faces(path, "PublicTest"))


def test_an_id_that_is_refused_does_not_widen_those_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    ids = ["a", "b", "x" * 90_000, "d", "e"]
    path.write_text("id,pixels\n" + "".join(f"{name},{FACE}\n" for name in ids))
    [faces] = iter_faces(path, on_error="skip")
    assert faces.ids is not None
    assert faces.ids.tolist() == ["a", "b", "d", "e"]
    assert faces.ids.itemsize <= 4 * MAX_ID_LENGTH
    assert [error.row for error in faces.rejected] == [4]


def test_rows_of_other_splits_are_validated_too(tmp_path: Path) -> None:
    path = written(tmp_path, f"Usage,pixels\nTraining,1\nPublicTest,{FACE}\n".encode())
    with pytest.raises(DataError, match="row 2, column 'pixels'"):
        read_faces(path, split="PublicTest")


def test_a_split_that_cannot_be_told_or_has_no_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no Usage column; cannot select PublicTest rows$"):
        read_faces(written(tmp_path, make_csv("emotion,pixels", 2)), "PublicTest")
    with pytest.raises(DataError, match=r"has no row of split 'PrivateTest'; found PublicTest, Training$"):
        read_faces(written(tmp_path, make_csv("emotion,pixels,Usage", 2)), "PrivateTest")


def test_a_batch_is_handed_out_before_the_next_one_is_read(put_on_stdin: Callable[..., Any]) -> None:
    lines = make_csv("emotion,pixels", 5).splitlines(keepends=True)
    put_on_stdin(Chunks(iter(lines[:5])))
    batches = iter_faces("-", batch_rows=2)
    assert [next(batches).rows.tolist(), next(batches).rows.tolist()] == [[2, 3], [4, 5]]
    with pytest.raises(AssertionError, match="read on"):
        next(batches)


def test_batches_do_not_share_their_pixels(tmp_path: Path) -> None:
    path = written(tmp_path, make_csv("pixels", 4))
    first, second = iter_faces(path, batch_rows=2)
    before = second.images.copy()
    first.images[:] = 0
    assert np.array_equal(second.images, before)
