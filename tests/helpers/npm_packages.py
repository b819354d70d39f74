"""Archives as npm downloads them."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile

from fer_infer.web import runtime


def archive_of(contents: dict[str, bytes], folder: str = runtime.ARCHIVE_FOLDER) -> bytes:
    """Return an npm package as bytes."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def integrity_of(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
