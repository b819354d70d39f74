"""Files by path and by URI: what an address stands for, and that what is placed appears whole."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest
from fsspec.implementations.local import LocalFileSystem

from fer_core import DataError, OutputError
from fer_infer.cluster import storage
from fer_infer.cluster.storage import join, list_inputs, local_copy, names_in, place, sha256


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files in a folder, which is the working folder's `data`."""
    for name in ("b.csv", "a.csv", "sub/c.csv.gz", ".hidden.csv", "_SUCCESS", "sub/.tmp/d.csv", "x[1].csv"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pipe({"/faces/a.csv": b"one", "/faces/sub/b.csv": b"two", "/faces/.c.csv": b"three"})
    yield system
    system.store.clear()


@pytest.fixture
def bucket(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `arrow://bucket`, on a file system that pyarrow brings itself, as it does S3."""

    def from_uri(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
        if not uri.startswith("arrow://"):
            raise pa.ArrowInvalid("Unrecognized filesystem type in URI")
        root = pyarrow.fs.SubTreeFileSystem(str(tree.parent), pyarrow.fs.LocalFileSystem())
        return root, uri.removeprefix("arrow://").partition("?")[0]

    monkeypatch.setattr(storage, "FileSystem", SimpleNamespace(from_uri=from_uri))
    return tree.rename(tree.parent / "bucket")


def sources(*addresses: str) -> list[str]:
    return [file.source for file in list_inputs(addresses)]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("data", ["data/a.csv", "data/b.csv", "data/sub/c.csv.gz", "data/x[1].csv"]),
        ("data/", ["data/a.csv", "data/b.csv", "data/sub/c.csv.gz", "data/x[1].csv"]),
        ("./data/b.csv", ["./data/b.csv"]),
        ("data/*.csv", ["data/a.csv", "data/b.csv", "data/x[1].csv"]),
        ("data/?.csv", ["data/a.csv", "data/b.csv"]),
        ("data/[b].csv", ["data/b.csv"]),
        ("data/x[1].csv", ["data/x[1].csv"]),
        ("*/sub/*", ["data/sub/c.csv.gz"]),
        ("data/**/c*", ["data/sub/c.csv.gz"]),
    ],
)
def test_a_local_address_stands_for_its_files_as_its_user_would_name_them(
    tree: Path, address: str, expected: list[str]
) -> None:
    assert sources(address) == expected
    assert all(Path(source).is_file() for source in expected)


def test_a_file_uri_stands_for_the_same_files(tree: Path) -> None:
    assert sources(f"file://{tree}/*.csv") == [f"file://{tree}/{name}" for name in ("a.csv", "b.csv", "x[1].csv")]
    assert sources(f"{tree}/sub") == [f"{tree}/sub/c.csv.gz"]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("memory://faces", ["memory://faces/a.csv", "memory://faces/sub/b.csv"]),
        ("memory://faces/*.csv", ["memory://faces/a.csv"]),
        ("memory://faces/a.csv", ["memory://faces/a.csv"]),
    ],
)
def test_a_remote_address_stands_for_its_files(memory: object, address: str, expected: list[str]) -> None:
    assert sources(address) == expected


@pytest.mark.parametrize("options", ["", "?region=here"])
def test_a_file_system_of_pyarrow_serves_for_inputs_and_outputs(bucket: Path, options: str) -> None:
    names = ["a.csv", "b.csv", "sub/c.csv.gz", "x[1].csv"]
    assert sources(f"arrow://bucket{options}") == [f"arrow://bucket/{name}{options}" for name in names]
    assert sources(f"arrow://bucket/[ab].csv{options}") == [f"arrow://bucket/{name}{options}" for name in names[:2]]
    (before,) = list_inputs([f"arrow://bucket/a.csv{options}"])
    os.utime(bucket / "a.csv", ns=(1, 1))
    assert list_inputs([f"arrow://bucket/a.csv{options}"]) != (before,)
    with local_copy(f"arrow://bucket/a.csv{options}") as path:
        assert path.read_text() == "a.csv"
    for content in (b"first", b"second"):
        storage.write(content, f"arrow://bucket/out/part.csv{options}")
        assert storage.read(f"arrow://bucket/out/part.csv{options}") == content
    assert sha256(f"arrow://bucket/out/part.csv{options}") == hashlib.sha256(b"second").hexdigest()
    assert names_in(f"arrow://bucket/out{options}") == ["part.csv"]
    assert names_in(f"arrow://bucket/absent{options}") == []
    storage.remove(f"arrow://bucket/out/part.csv{options}")
    assert sha256(f"arrow://bucket/out/part.csv{options}") is None
    with pytest.raises(DataError, match=r"^arrow://bucket/absent.*: cannot be listed: No such file or directory$"):
        list_inputs([f"arrow://bucket/absent{options}"])


def test_an_input_tells_when_it_changed(tree: Path, memory: fsspec.AbstractFileSystem) -> None:
    before = list_inputs(["data/a.csv", "memory://faces/a.csv"])
    assert list_inputs(["data/a.csv", "memory://faces/a.csv"]) == before
    assert [file.size_bytes for file in before] == [5, 3]
    os.utime(tree / "a.csv", ns=(1, 1))
    memory.pipe("/faces/a.csv", b"six")
    after = list_inputs(["data/a.csv", "memory://faces/a.csv"])
    assert [file.size_bytes for file in after] == [5, 3]
    assert all(now.version != then.version for now, then in zip(after, before, strict=True))


def test_a_link_changes_with_what_it_names(tree: Path) -> None:
    (tree / "link.csv").symlink_to("a.csv")
    before = list_inputs(["data/link.csv"])
    os.utime(tree / "a.csv", ns=(1, 1))
    assert list_inputs(["data/link.csv"]) != before


@pytest.mark.parametrize(
    ("addresses", "message"),
    [
        (["data/absent.csv"], "data/absent.csv: cannot be listed: No such file or directory"),
        (["data/*.parquet"], "data/*.parquet: expected files to score, found none"),
        (["data/a.csv", "./data/*.csv"], "./data/a.csv: is listed twice; expected each file once"),
        (["memory://absent"], "memory://absent: cannot be listed: No such file or directory"),
        (["cloud9://bucket/a.csv"], "cloud9://bucket/a.csv: cannot be listed: Protocol not known: cloud9"),
    ],
)
def test_an_address_without_files_is_one_line(tree: Path, memory: object, addresses: list[str], message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        list_inputs(addresses)


def test_the_options_of_a_uri_stay_at_its_end() -> None:
    address = "s3://bucket/faces?endpoint_override=localhost:9000&scheme=http"
    joined = "s3://bucket/faces/a.csv?endpoint_override=localhost:9000&scheme=http"
    assert join(address, "a.csv") == joined
    assert storage._split_pattern(join(address, "*.csv")) == (address, "*.csv")


def test_a_local_file_is_read_in_place_and_a_remote_one_from_a_copy(tree: Path, memory: object) -> None:
    with local_copy("data/a.csv") as path:
        assert path.samefile(tree / "a.csv")
    with local_copy("memory://faces/sub/b.csv") as path:
        assert (path.name, path.read_bytes()) == ("b.csv", b"two")
    assert not path.exists()
    with (
        pytest.raises(DataError, match=r"^memory://faces/z\.csv: cannot be read: "),
        local_copy("memory://faces/z.csv"),
    ):
        pass


@pytest.mark.parametrize("folder", ["local", "file://{}/uri", "memory://out"])
def test_what_is_placed_replaces_what_was_there(tree: Path, memory: object, folder: str) -> None:
    folder = folder.format(tree)
    for content in (b"first", b"second"):
        (tree / "made").write_bytes(content)
        place(tree / "made", join(folder, "part.csv"))
        assert storage.read(join(folder, "part.csv")) == content
        assert sha256(join(folder, "part.csv")) == hashlib.sha256(content).hexdigest()
        assert names_in(folder) == ["part.csv"]
    storage.remove(join(folder, "part.csv"))
    assert sha256(join(folder, "part.csv")) is None
    assert names_in(folder) == []


@pytest.mark.parametrize("step", ["put_file", "mv"])
def test_what_cannot_be_placed_leaves_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, step, full)
    with pytest.raises(OutputError, match=r"^out/part\.csv: cannot be written: No space left on device$"):
        place(tree / "a.csv", "out/part.csv")
    assert names_in("out") == []


def test_a_file_is_no_folder(tree: Path) -> None:
    with pytest.raises(OutputError, match=r"^data/a\.csv: cannot be listed: expected a folder, found a file$"):
        names_in("data/a.csv")
    assert names_in("data/absent") == []


def test_a_killed_writer_leaves_whole_files_alone_under_final_names(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(20_000_000)
    (tmp_path / "made").write_bytes(content)
    code = (
        "import itertools, pathlib, sys\n"
        "from fer_infer.cluster.storage import place\n"
        "for n in itertools.count():\n"
        "    place(pathlib.Path('made'), f'out/part-{n}')\n"
        "    print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.kill()
    left = names_in(str(tmp_path / "out"))
    whole = [name for name in left if not name.startswith(".")]
    assert len(whole) >= 5
    assert len(left) - len(whole) <= 1
    for name in whole:
        assert sha256(str(tmp_path / "out" / name)) == hashlib.sha256(content).hexdigest()
