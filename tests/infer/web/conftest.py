"""A small stand-in for ONNX Runtime Web, whose checksums replace the pinned ones, and browsers that visit a page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from npm_packages import archive_of, integrity_of
from visits import CHROMIUM, FAKE_CAMERA, ROOT, find_runtime, served

from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer import write_site
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


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a shipped model."""
    folder = tmp_path_factory.mktemp("web") / "compact"
    write_site(ROOT / "exports" / "compact", folder, runtime=find_runtime())
    return folder


@pytest.fixture(scope="session")
def address(page_folder: Path) -> Iterator[str]:
    with served(page_folder) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a browser whose camera shows a person who moves."""
    from playwright.sync_api import sync_playwright

    film = write_camera(tmp_path_factory.mktemp("camera") / "camera.y4m")
    arguments = ["--no-sandbox", *FAKE_CAMERA, f"--use-file-for-fake-video-capture={film}"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


def write_camera(path: Path) -> Path:
    """Write frames of a portrait that moves to the right and back, without compression, as fake cameras need them."""
    import av
    from films import frame_at

    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F20:1 Ip A1:1 C420jpeg\n")
        for step in (*range(20), *range(20, 0, -1)):
            picture = frame_at([(60 + 5 * step, 30)]).resize((640, 480))
            planes = av.VideoFrame.from_image(picture).reformat(format="yuv420p").planes
            file.write(b"FRAME\n")
            for plane in planes:
                rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                file.write(rows[:, : plane.width].tobytes())
    return path


@pytest.fixture(scope="session")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a photo with one face."""
    from PIL import Image

    data = pytest.importorskip("skimage.data")
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


@pytest.fixture(scope="session")
def faces_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a CSV of 60 labeled faces with ids."""
    drawn = draw_faces(60, seed=3)
    lines = ["emotion,pixels,id"]
    for i, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        lines.append(f"{label},{' '.join(map(str, image.ravel()))},face {i}")
    path = tmp_path_factory.mktemp("data") / "drawn.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
