"""The modules of the page in a real browser, from a server of this machine."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fer_core import FerError
from fer_infer.web.runtime import PACKAGE, cache_folder, runtime_files

ROOT = Path(__file__).parents[2]
SCORING = ROOT / "fer_infer" / "web" / "page" / "scoring"

MISSING: str | None
try:
    from playwright.sync_api import sync_playwright

    CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    MISSING = None if CHROMIUM else "no chromium is on the PATH"
except ModuleNotFoundError:
    CHROMIUM, MISSING = None, "playwright is not installed"

needs_chromium = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")


def runtime_folder(folder: Path) -> Path:
    """Write ONNX Runtime Web into a folder; skip the test if it was not downloaded, as tests download nothing."""
    for source in (ROOT / "node_modules" / PACKAGE, cache_folder()):
        with suppress(FerError):
            for name, content in runtime_files(source).items():
                (folder / name).write_bytes(content)
            return folder
    pytest.skip(f"{PACKAGE} was not downloaded: npm ci")


class _Handler(SimpleHTTPRequestHandler):
    """Serves folders, and files of the memory, below their names."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def __init__(self, *args: Any, served: Mapping[str, Path], **options: Any) -> None:
        self.served = served
        super().__init__(*args, **options)

    def translate_path(self, path: str) -> str:
        _, name, *rest = path.split("?")[0].split("/")
        return str(self.served.get(name, Path("nowhere")).joinpath(*rest))

    def do_GET(self) -> None:
        if self.path == "/":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Modules</title>")
            return
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served_page(served: Mapping[str, Path]) -> Iterator[Any]:
    """Open an empty page whose scripts can import what is in the folders `served`, by name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, served=served))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.add_script_tag(content=BYTES)
            yield page
            browser.close()
    finally:
        server.shutdown()
        server.server_close()


MODULES = ("alignment", "classifier", "colors", "detector", "faces", "maps", "pixels", "resampling")

START = """async (names) => {
  window.ort = await import("/runtime/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = "/runtime/";
  ort.env.wasm.numThreads = 1;
  for (const name of names) window[name] = await import(`/scoring/${name}.js`);
}"""


@contextmanager
def scoring_page(served: Mapping[str, Path]) -> Iterator[Any]:
    """Open a page that has loaded the runtime as `ort`, and the modules by their names."""
    with TemporaryDirectory() as folder:
        runtime = runtime_folder(Path(folder))
        with served_page({"scoring": SCORING, "runtime": runtime, **served}) as page:
            page.evaluate(START, MODULES)
            yield page


def run(page: Any, script: str, *arguments: Any) -> Any:
    """Run the body of a function in a page; the arguments are the list `given` in it."""
    return page.evaluate(f"async (given) => {{ {script} }}", list(arguments))


BYTES = """
window.bytesOf = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
window.textOf = (array) => {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
};
window.pictureOf = async (png) => {
  const bitmap = await createImageBitmap(new Blob([bytesOf(png)]), {
    premultiplyAlpha: "none", colorSpaceConversion: "none",
  });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
};
"""
"""Functions of the page that exchange bytes with the test: `bytesOf`, `textOf` and `pictureOf` a PNG file."""


def encoded(content: bytes | NDArray[Any]) -> str:
    """Return bytes, or those of an array, for `bytesOf` of the page."""
    return base64.b64encode(content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()).decode()


def decoded(text: str, kind: type[np.generic]) -> NDArray[Any]:
    """Return the array that `textOf` of the page returned."""
    return np.frombuffer(base64.b64decode(text), kind)


def png(pixels: NDArray[np.uint8]) -> str:
    """Return a picture for `pictureOf` of the page, whose decoder changes no pixel."""
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return encoded(content.getvalue())
