"""The one table in an archive is read; every other archive is named, with what is in it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from csv_samples import assert_faces_equal, make_csv, zst

from fer_core import DataError, OutputError, read_faces
from fer_core.outputs.staging import require_apart
from fer_core.places import can_be_reread, locate

CSV = make_csv("emotion,pixels,Usage", 40)
OTHER = make_csv("id,pixels", 3)
CLUTTER = {
    "__MACOSX/fer2013/._fer2013.csv": b"\x00\x05\x16\x07",
    "fer2013/.DS_Store": b"x",
    ".hidden.csv": b"x",
    "fer2013/README": b"x",
    "LICENSE.txt": b"x",
    "fer2013/fer2013.bib": b"x",
    "Thumbs.db": b"x",
}
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        folder = tarfile.TarInfo("fer2013")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.csv"  # the name says nothing


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    (tmp_path / "plain.csv").write_bytes(CSV)
    return tmp_path / "plain.csv"


def require_error(path: Path, message: str) -> None:
    with pytest.raises(DataError) as failure:
        read_faces(path)
    assert str(failure.value) == message


PACKED: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    **{f"zip, {name}": lambda members, method=method: zipped(members, method) for name, method in METHODS.items()},
    "tar": tarred,
    "tar of the old format": lambda members: tarred(members, tarfile.USTAR_FORMAT),
    "tar of GNU": lambda members: tarred(members, tarfile.GNU_FORMAT),
    "tar.gz": lambda members: gzip.compress(tarred(members)),
    "tar.xz": lambda members: lzma.compress(tarred(members)),
    "tar.bz2": lambda members: bz2.compress(tarred(members)),
    "tar.zst": lambda members: zst(tarred(members)),
}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_the_only_table_in_an_archive_is_read_whatever_lies_with_it(
    path: Path, plain: Path, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    path.write_bytes(pack({**CLUTTER, "fer2013/fer2013.csv": CSV, "notes": b"not a table"}))
    faces = read_faces(path)
    assert faces.source == str(path)
    assert_faces_equal(faces, read_faces(plain))


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress, zst])
def test_a_compressed_table_is_read_alone_and_in_an_archive(
    path: Path, plain: Path, compress: Callable[[bytes], bytes]
) -> None:
    path.write_bytes(compress(CSV))
    assert_faces_equal(read_faces(path), read_faces(plain))
    path.write_bytes(zipped({"fer2013.csv.x": compress(CSV)}))
    assert_faces_equal(read_faces(path), read_faces(plain))


@pytest.mark.parametrize("compress", [lzma.compress, bz2.compress])
def test_several_compressed_streams_in_one_file_are_read_as_one(
    path: Path, plain: Path, compress: Callable[[bytes], bytes]
) -> None:
    path.write_bytes(compress(CSV[:5000]) + compress(CSV[5000:]))
    assert_faces_equal(read_faces(path), read_faces(plain))


def test_parquet_in_an_archive_and_in_a_compression_is_read(path: Path, plain: Path) -> None:
    file = io.BytesIO()
    faces = read_faces(plain)
    pixels = [image.tobytes() for image in faces.images]
    pq.write_table(pa.table({"pixels": pixels, "label": faces.require_labels()}), file)
    for content in (zipped({"a.parquet": file.getvalue()}), gzip.compress(file.getvalue())):
        path.write_bytes(content)
        found = read_faces(path)
        assert (found.images == faces.images).all()
        assert found.require_labels().tolist() == faces.require_labels().tolist()


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_of_several_tables_one_must_be_named(path: Path, plain: Path, pack: Callable[..., bytes]) -> None:
    path.write_bytes(pack({"a/train.csv": CSV, "a/test.csv": OTHER, "README.md": b"x"}))
    kind = "a zip archive" if path.read_bytes()[:2] == b"PK" else "a tar archive"
    listed = "found 'a/train.csv', 'a/test.csv'"
    require_error(path, f"{path}: is {kind} of several files, {listed}; name one, such as {path}/a/test.csv")
    for name in ("a/train.csv", "train.csv", "a//train.csv"):
        faces = read_faces(f"{path}/{name}")
        assert_faces_equal(faces, read_faces(plain))
    with pytest.raises(DataError) as failure:
        read_faces(f"{path}/b.csv")
    assert str(failure.value) == f"{path}: contains no file 'b.csv'; {listed}, 'README.md'"


def test_a_name_that_several_members_have_must_be_whole(path: Path) -> None:
    path.write_bytes(zipped({"a/x.csv": CSV, "b/x.csv": OTHER}))
    assert len(read_faces(path / "b" / "x.csv")) == 3
    require_error(path / "x.csv", f"{path}: contains 2 files 'x.csv'; found 'a/x.csv', 'b/x.csv'")


def test_a_changed_archive_is_looked_into_again(path: Path) -> None:
    path.write_bytes(tarred({"a.csv": CSV}))
    assert len(read_faces(path)) == 40
    path.write_bytes(tarred({"longer.csv": OTHER}))
    assert len(read_faces(path)) == 3


def encrypted() -> bytes:
    """Return an archive whose headers state encryption: bit 0 of the flags, in the local and in the central header."""
    data = bytearray(zipped({"a.csv": CSV}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def of_method(method: int) -> bytes:
    data = bytearray(zipped({"a.csv": CSV}))
    data[8:10] = data[(at := data.index(b"PK\x01\x02") + 10) : at + 2] = method.to_bytes(2, "little")
    return bytes(data)


def xlsx() -> bytes:
    return zipped({"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"})


EXPECTED = "expected a CSV, Parquet or Arrow file, found"
NESTED = "contains {} inside {}; unpack it first"
OUTSIDE = "expected members with paths inside the archive, found"
REFUSED: dict[str, tuple[bytes, str]] = {
    "no member": (zipped({}), "is a zip archive without a CSV, Parquet or Arrow file; found none"),
    "only a readme": (
        zipped({"README.md": b"x", ".DS_Store": b"x"}),
        "is a zip archive without a CSV, Parquet or Arrow file; found 'README.md'",
    ),
    "images": (
        zipped({"train/happy/a.png": b"x", "train/happy/b.jpg": b"x"}),
        "is a zip archive of 2 images; unpack it and name the folder",
    ),
    "many files": (
        zipped({f"{n}.csv": b"x" for n in range(12)}),
        "is a zip archive of several files, found '0.csv', '1.csv', '2.csv', '3.csv', '4.csv', '5.csv', '6.csv', "
        "'7.csv' and 4 more; name one, such as {path}/11.csv",
    ),
    "encrypted": (encrypted(), "member 'a.csv' is encrypted; unpack it with its password first"),
    "AES": (of_method(99), "member 'a.csv' is encrypted; unpack it with its password first"),
    "deflate64": (
        of_method(9),
        "expected a member that is stored or compressed by deflate, bzip2 or lzma, found deflate64 in 'a.csv'; "
        "unpack it first",
    ),
    "zip in zip": (zipped({"a.zip": zipped({"a.csv": CSV})}), NESTED.format("a zip archive", "a zip archive")),
    "tar.gz in zip": (
        zipped({"a.tar.gz": gzip.compress(tarred({"a.csv": CSV}))}),
        "contains a tar archive inside a zip archive; unpack it first",
    ),
    "tar in tar": (tarred({"a.tar": tarred({"a.csv": CSV})}), NESTED.format("a tar archive", "a tar archive")),
    "zip in gzip": (gzip.compress(zipped({"a.csv": CSV})), NESTED.format("a zip archive", "compressed data")),
    "gzip in gzip": (gzip.compress(gzip.compress(CSV)), "contains gzip inside compressed data; unpack it first"),
    "gzip twice in zip": (
        zipped({"a.csv": gzip.compress(gzip.compress(CSV))}),
        "contains gzip inside a zip archive; unpack it first",
    ),
    "outside": (zipped({"../a.csv": CSV}), f"{OUTSIDE} '../a.csv'"),
    "outside in Windows": (zipped({"..\\a.csv": CSV}), f"{OUTSIDE} '..\\\\a.csv'"),
    "absolute": (tarred({"/a.csv": CSV}), f"{OUTSIDE} '/a.csv'"),
    "Excel": (xlsx(), f"{EXPECTED} an Excel workbook"),
    "npz": (zipped({"images.npy": b"x", "labels.npy": b"x"}), f"{EXPECTED} NumPy arrays (.npz)"),
    "PyTorch": (zipped({"model/data.pkl": b"x", "model/data/0": b"x"}), f"{EXPECTED} a PyTorch checkpoint"),
    "a pointer": (
        zipped({"a.csv": b"version https://git-lfs.github.com/spec/v1\n"}),
        "is a Git LFS pointer, not the file itself; `git lfs pull` downloads it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_an_archive_from_which_nothing_can_be_read_is_named(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    require_error(path, f"{path}: {message.format(path=path)}")


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_an_archive_cut_anywhere_is_damaged(path: Path, pack: Callable[..., bytes]) -> None:
    whole = pack({"a.csv": CSV})
    for keep in (*range(600, len(whole) - 12_000, len(whole) // 5), len(whole) // 2, int(len(whole) * 0.9)):
        path.write_bytes(whole[:keep])
        with pytest.raises(DataError, match=r"archive\.csv: [^\n]*damaged or cut short \([^\n]+\)$"):
            read_faces(path, on_error="skip")


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_flipped_byte_in_a_zip_archive_is_noticed(path: Path, method: int) -> None:
    whole = bytearray(zipped({"a.csv": CSV}, method))
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"archive\.csv: [^\n]*damaged or cut short \([^\n]+\)$"):
        read_faces(path, on_error="skip")


@pytest.mark.parametrize("compress", [lzma.compress, bz2.compress])
def test_a_compressed_file_cut_anywhere_or_with_wrong_bytes_is_damaged(
    path: Path, compress: Callable[[bytes], bytes]
) -> None:
    whole = compress(CSV)
    middle = len(whole) // 2
    for data in (whole[:40], whole[:middle], whole[:-1], whole[:middle] + b"\xff" * 9 + whole[middle + 9 :]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"archive\.csv: compressed data is damaged or cut short \([^\n]+\)$"):
            read_faces(path, on_error="skip")


def test_a_member_of_what_is_no_archive_is_refused(plain: Path) -> None:
    require_error(plain / "a.csv", f"{plain}: is not an archive, so it cannot contain 'a.csv'")


@pytest.mark.parametrize("content", [zipped({"a.csv": CSV}), tarred({"a.csv": CSV})], ids=["zip", "tar"])
def test_an_archive_on_standard_input_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    path.write_bytes(content)
    with open(path) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(
            DataError, match=r"^-: expected a CSV, found a (zip|tar) archive, which is read from a plain"
        ):
            read_faces("-")


def test_xz_on_standard_input_is_read(path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(lzma.compress(CSV))
    with open(path) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert (read_faces("-").images == read_faces(plain).images).all()


def test_a_path_into_an_archive_is_split_where_the_archive_ends(path: Path) -> None:
    path.write_bytes(zipped({"a.csv": CSV}))
    assert locate(path) == (path, None)
    assert locate(path / "b" / "a.csv") == (path, "b/a.csv")
    assert locate(path.with_name("absent") / "a.csv") == (path.with_name("absent") / "a.csv", None)
    assert [can_be_reread(one) for one in (path, path / "a.csv", path.parent, "-", "absent")] == [True] * 3 + [
        False
    ] * 2


def test_an_archive_that_is_read_is_not_overwritten(path: Path) -> None:
    path.write_bytes(zipped({"a.csv": CSV}))
    with pytest.raises(OutputError, match=re.escape(f"{path}: would overwrite the input {path};")):
        require_apart(path, [path / "a.csv"])


@pytest.mark.parametrize("pack", [zipped, lambda members: gzip.compress(tarred(members))], ids=["zip", "tar.gz"])
def test_a_long_member_is_read_in_constant_memory(path: Path, pack: Callable[..., bytes]) -> None:
    path.write_bytes(pack({"a.csv": make_csv("pixels", 10) + (b"0 " * 2303 + b"0\n") * 20_000}))
    code = (
        "import resource, sys\n"
        "from fer_core import iter_faces\n"
        "next(iter_faces(sys.argv[1], batch_rows=10))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "rows = sum(len(faces) for faces in iter_faces(sys.argv[1], batch_rows=256))\n"
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    rows, grown_kib = map(int, done.stdout.split())
    assert rows == 20_010
    assert grown_kib < 30_000  # of 92 MB of text
