"""A small stand-in for ONNX Runtime Web, whose checksums replace the pinned ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from npm_packages import archive_of, integrity_of

from fer_infer.web import runtime


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the files of the stand-in."""
    made = {name: f"// {name}".encode() for name in runtime.FILES}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
    monkeypatch.setattr(runtime, "FILES", sums)
    return made


@pytest.fixture
def archive(contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the stand-in as npm downloads it."""
    path = tmp_path / "onnxruntime-web-1.30.0.tgz"
    path.write_bytes(archive_of(contents))
    monkeypatch.setattr(runtime, "INTEGRITY", integrity_of(path.read_bytes()))
    return path


@pytest.fixture
def package(contents: dict[str, bytes], tmp_path: Path) -> Path:
    """Return the stand-in as a folder."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name, content in contents.items():
        (folder / "dist" / name).write_bytes(content)
    return folder
