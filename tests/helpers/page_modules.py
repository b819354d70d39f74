"""The modules of the page in a real browser, without the page."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from visits import CHROMIUM, ROOT, find_runtime, served

SCORING = ROOT / "fer_infer" / "web" / "page" / "scoring"

MODULES = ("alignment", "classifier", "colors", "detector", "faces", "maps", "pixels", "resampling")

START = """async (names) => {
  window.ort = await import("./runtime/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  for (const name of names) window[name] = await import(`./scoring/${name}.js`);
}"""


@contextmanager
def empty_page(**folders: Path) -> Iterator[Any]:
    """Open an empty page whose scripts can import what is in the scoring modules and other folders, by their names."""
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        site.mkdir()
        (site / "index.html").write_text("<!doctype html><title>Modules</title>")
        for name, target in {"scoring": SCORING, **folders}.items():
            (site / name).symlink_to(target, target_is_directory=True)
        with served(site) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(address)
            page.add_script_tag(content=BYTES)
            yield page
            browser.close()


@contextmanager
def scoring_page(**folders: Path) -> Iterator[Any]:
    """Open a page that has loaded the runtime as `ort`, and the modules by their names."""
    runtime = find_runtime()
    assert runtime is not None
    with empty_page(runtime=runtime, **folders) as page:
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
