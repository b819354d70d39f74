"""A visit to the page that `fer-infer web` writes, in a real browser, from a server of this machine."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_infer.web.runtime import FILES, cache_folder

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
INT8 = 5e-3
"""Largest difference of a probability of the int8 graph."""
WAIT_MS = 90_000
"""Generous, because other tests may use all cores."""


def find_runtime() -> Path | None:
    """Return ONNX Runtime Web as `npm ci` or an earlier `fer-infer web` left it; nothing is downloaded."""
    for folder in (ROOT / "node_modules" / "onnxruntime-web" / "dist", cache_folder()):
        if all((folder / name).is_file() for name in FILES):
            return folder
    return None


def require_browser() -> Any:
    """Return Playwright, or skip the tests of the module."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium is on the PATH", allow_module_level=True)
    if find_runtime() is None:
        pytest.skip("onnxruntime-web is neither in node_modules nor in the cache", allow_module_level=True)
    return sync_api


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder below a path, as GitHub Pages does; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder.parent)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{folder.name}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def visit(browser: Any, address: str, *, expected: str | None = None, **options: Any) -> Iterator[Any]:
    """Open the page and wait for its first result; at the end it must have complained about nothing but `expected`.

    A request to another address is refused and counts as a complaint.
    """
    context = browser.new_context(permissions=["camera"], reduced_motion="reduce", **options)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def refuse(route: Any) -> None:
        complaints.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith((address, "blob:", "data:")), refuse)
    page.goto(address)
    page.wait_for_selector(".result .meta:not(:empty)")
    try:
        yield page
    finally:
        context.close()
    unexpected = [text for text in complaints if expected is None or expected not in text]
    assert unexpected == [], unexpected


def choose(page: Any, *files: Path) -> None:
    page.set_input_files("#files", [str(file) for file in files])


def result(page: Any, title: str) -> Any:
    """Return the part of the page with a result."""
    return page.locator(".result", has=page.locator("h3", has_text=title)).first


def finished(page: Any, title: str, text: str) -> Any:
    """Wait until a result states a text in its title line, and return it."""
    found = result(page, title)
    found.locator(".meta", has_text=text).wait_for()
    return found


def downloaded(found: Any, folder: Path) -> Path:
    """Download the CSV of a result."""
    with found.page.expect_download() as download:
        found.locator(".csv").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_tables(found: Path, expected: Path, *, box: float = 0.5, probability: float = 1e-3) -> None:
    """Hold two tables to the same cells: numbers of boxes and probabilities to within a tolerance."""
    ours, theirs = table(found), table(expected)
    assert len(ours) == len(theirs) > 0
    for row, other in zip(ours, theirs, strict=True):
        assert list(row) == list(other)
        for name, value in row.items():
            if "." in other[name] and name not in ("file", "id", "reason"):
                tolerance = box if name in ("left", "top", "width", "height") else probability
                assert float(value) == pytest.approx(float(other[name]), abs=tolerance), name
            else:
                assert value == other[name], name


def pixels(canvas: Any) -> NDArray[np.int16]:
    script = "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"
    return np.array(canvas.evaluate(script), np.int16)
