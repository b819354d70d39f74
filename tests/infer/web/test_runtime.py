"""ONNX Runtime Web is taken from a package, an archive or the cache, and only if it is the pinned one."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import pytest
from npm_packages import archive_of, integrity_of

from fer_core import FerError
from fer_infer.web import runtime
from fer_infer.web.runtime import cache_folder, runtime_files


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a program named npm on the PATH, which records its arguments."""
    (folder / "bin").mkdir()
    npm = folder / "bin" / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{script}\n')
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/bin:/usr/bin")
    return folder / "calls"


def test_the_files_of_an_unpacked_package_are_read(package: Path, contents: dict[str, bytes]) -> None:
    assert runtime_files(package) == contents
    assert runtime_files(package / "dist") == contents


def test_the_files_of_an_archive_are_read(archive: Path, contents: dict[str, bytes]) -> None:
    assert runtime_files(archive) == contents


def test_npm_is_called_once_and_the_files_are_cached(
    archive: Path, contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    calls = fake_npm(tmp_path, monkeypatch, f'cp {archive} "$5"')
    assert runtime_files() == contents
    assert runtime_files() == contents
    assert re.fullmatch(r"pack onnxruntime-web@1\.30\.0 --ignore-scripts --pack-destination \S+\n", calls.read_text())
    assert sorted(file.name for file in empty_cache.iterdir()) == sorted(contents)


def test_a_damaged_cache_is_replaced(
    archive: Path, contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    calls = fake_npm(tmp_path, monkeypatch, f'cp {archive} "$5"')
    first, *others = contents
    empty_cache.mkdir(parents=True)
    (empty_cache / first).write_bytes(b"half of")
    for name in others:
        (empty_cache / name).write_bytes(contents[name])
    assert runtime_files() == contents
    (empty_cache / first).unlink()
    assert runtime_files() == contents
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo 'npm error code E404' >&2; echo 'npm error 404 Not Found' >&2; exit 1",
            r"npm cannot download onnxruntime-web 1\.30\.0: '404 Not Found'; `runtime=DIR` takes an unpacked package",
        ),
        ("exit 3", r"npm cannot download onnxruntime-web 1\.30\.0: no reason was given; `runtime=DIR` takes"),
        ("exit 0", r"npm cannot download onnxruntime-web 1\.30\.0: no reason was given; `runtime=DIR` takes"),
        ('echo other > "$5/other.tgz"', r"other\.tgz: expected onnxruntime-web 1\.30\.0 with sha512 \S+\.\.\., found"),
    ],
)
def test_a_failure_of_npm_is_one_line(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    fake_npm(tmp_path, monkeypatch, script)
    with pytest.raises(FerError, match=message):
        runtime_files()
    assert not empty_cache.exists()


def test_an_npm_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(runtime, "TIMEOUT_S", 0.2)
    with pytest.raises(FerError, match=r"^npm did not download onnxruntime-web 1\.30\.0 within 0\.2 s; `runtime=DIR`"):
        runtime_files()


def test_a_missing_npm_is_one_line_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = (
        "onnxruntime-web 1.30.0 is needed and npm is not installed, which downloads it once: install Node.js from "
        "nodejs.org, or else `runtime=DIR` takes an unpacked package or its .tgz"
    )
    with pytest.raises(FerError, match=f"^{re.escape(expected)}$"):
        runtime_files()


def test_a_package_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"none: expected the npm package onnxruntime-web 1\.30\.0, unpacked or as .tgz"):
        runtime_files(tmp_path / "none")


def test_a_folder_without_the_files_is_refused(package: Path) -> None:
    name = next(iter(runtime.FILES))
    (package / "dist" / name).unlink()
    with pytest.raises(FerError, match=rf"onnxruntime-web: contains no {name}; expected the npm package onnxruntime-"):
        runtime_files(package)


def test_a_file_of_another_version_is_refused(package: Path) -> None:
    name = next(iter(runtime.FILES))
    (package / "dist" / name).write_bytes(b"another")
    expected = rf"onnxruntime-web: {name} is damaged or from another version: expected SHA-256 \w{{12}}\.\.\. of"
    with pytest.raises(FerError, match=expected):
        runtime_files(package)


def test_an_archive_with_another_checksum_is_refused(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "INTEGRITY", integrity_of(b"another"))
    with pytest.raises(FerError, match=r"1\.30\.0\.tgz: expected onnxruntime-web 1\.30\.0 with sha512 \S+, found"):
        runtime_files(archive)


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_an_archive_that_cannot_be_unpacked_is_named(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "package.tgz"
    path.write_bytes(content)
    monkeypatch.setattr(runtime, "INTEGRITY", integrity_of(content))
    with pytest.raises(FerError, match=r"package\.tgz: cannot be unpacked: "):
        runtime_files(path)


def test_an_archive_without_the_files_is_refused(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "package.tgz"
    path.write_bytes(archive_of(contents, folder="elsewhere"))
    monkeypatch.setattr(runtime, "INTEGRITY", integrity_of(path.read_bytes()))
    with pytest.raises(FerError, match=r"package\.tgz: contains no ort\.wasm\.min\.mjs; expected the npm package"):
        runtime_files(path)


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "", "home/.cache"),
        ("darwin", "", "home/Library/Caches"),
        ("win32", "LOCALAPPDATA", "local"),
        ("linux", "XDG_CACHE_HOME", "local"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(
    platform: str, variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "local"))
    assert cache_folder() == tmp_path / expected / "fer-toolkit" / "onnxruntime-web-1.30.0"
