"""Write the page and everything that it needs as a folder that any web server can serve."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from PIL import Image

from fer_core import ModelCard, ModelError
from fer_core.cards.summary import card_rows
from fer_core.exports_folder import CARD_FILE, GRAPH_FILES, PARITY_FILE, SALIENCY_FILE, ExportsFolder
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.synthetic.drawn_faces import draw_faces
from fer_infer.config import SiteConfig
from fer_infer.photos import yunet
from fer_infer.photos.alignment import TEMPLATE_FILE
from fer_infer.saliency import SaliencyModel
from fer_infer.scorer import Scorer
from fer_infer.web.runtime import NAME as RUNTIME_NAME
from fer_infer.web.runtime import runtime_files

PRECISIONS: Final = ("int8", "fp32")
"""Graphs that the page offers, if the exports folder has them; the first one is selected."""
SITE_FILE: Final = "site.json"
"""What the page reads about the model and the files of the site."""
FILE_LIST: Final = "files.js"
"""Names of all files and their joint checksum, for the service worker that makes the page work offline."""
DRAWN_FACE: Final = "faces/drawn.png"
SEED, POSITION = 0, 7
"""Random seed and position of the drawn face that the page shows first: surprise."""
FOLDER: Final = OutputFolder(
    always=("index.html", SITE_FILE, FILE_LIST),
    sometimes=(
        *("*.css", "*.js", "*.svg", "*.webmanifest", "*/*.js", "*/*/*.js"),
        *("runtime/*.mjs", "runtime/*.wasm", "model/*.onnx", "model/*.json", "detector/*.onnx", "detector/*.json"),
        DRAWN_FACE,
    ),
)


@dataclass(frozen=True)
class Site:
    """A page that was written.

    Attributes
    ----------
    output : Path
        Folder of the site.
    model : str
        Name of the exports folder.
    graphs : tuple of str
        Precisions of the graphs in the site.
    explains : bool
        Whether the site has a graph of attribution maps.
    size_bytes : int
        Size of all files.
    """

    output: Path
    model: str
    graphs: tuple[str, ...]
    explains: bool
    size_bytes: int

    def to_text(self) -> str:
        """Return the summary as the lines that a command prints."""
        maps = f"with {SALIENCY_FILE}" if self.explains else f"without attribution maps, as there is no {SALIENCY_FILE}"
        return "\n".join(
            [
                f"{self.output}: {self.model} ({', '.join(self.graphs)}), {maps}, {self.size_bytes / 1e6:.1f} MB",
                f"python -m http.server -d {self.output} serves it at http://localhost:8000",
            ]
        )


def write_site(model: str | Path, output: str | Path, *, force: bool = False, **settings: Any) -> Site:
    """Write a page that finds, scores and explains faces in the visitor's browser.

    The site is static: any web server can serve it, from any path. It sends nothing anywhere, and works offline once it
    is loaded.

    Parameters
    ----------
    model : str or Path
        Exports folder.
    output : str or Path
        Folder to create; it appears complete or not at all.
    force : bool
        Replace an existing site.
    **settings
        Settings of `fer_infer.config.SiteConfig`: ``runtime`` is the npm package onnxruntime-web, if npm is not to
        download it.

    Returns
    -------
    Site
        Name and graphs of the model.

    Raises
    ------
    ModelError
        If `model` is not an exports folder, or a graph in it is damaged.
    CardError
        If the model card is missing, incomplete, or differs between the files.
    OutputError
        If the output exists and `force` is false, or cannot be written.
    FerError
        If ONNX Runtime Web or the face detector is not available.

    Examples
    --------
    >>> from fer_core import FerError
    >>> from fer_infer import write_site
    >>> try:
    ...     site = write_site("exports/compact", "site", runtime="onnxruntime-web")
    ... except FerError as error:
    ...     print(error)
    onnxruntime-web: expected the npm package onnxruntime-web 1.30.0, unpacked or as .tgz, found none
    """
    config = SiteConfig(**settings)
    folder = Path(os.path.expanduser(model))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    target = Path(os.path.expanduser(output))  # noqa: PTH111 - as above
    runtime = None if config.runtime is None else Path(os.path.expanduser(config.runtime))  # noqa: PTH111 - as above
    with staged(target, force=force, folder=FOLDER, inputs=(folder, runtime)) as stage:
        graphs, has_grad_cam = _write_model(folder, stage / "model")
        explains = (stage / "model" / SALIENCY_FILE).exists()
        _write_detector(stage / "detector")
        _write_all(stage / "runtime", runtime_files(runtime))
        _write_drawn_face(stage / DRAWN_FACE)
        _write_page(stage)
        name = folder.resolve().name
        about = {**describe(name, ModelCard.load_json(folder / CARD_FILE), stage), "grad_cam": has_grad_cam}
        (stage / SITE_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        _write_file_list(stage)
        size = sum(file.stat().st_size for file in _listed(stage))
    return Site(target, name, graphs, explains, size)


def describe(name: str, card: ModelCard, site: Path) -> dict[str, Any]:
    """Return what the page reads about a model and the files of its site."""

    def present(file: str) -> str | None:
        return file if (site / file).exists() else None

    graphs = {precision: present(f"model/{GRAPH_FILES[precision]}") for precision in PRECISIONS}
    return {
        "model": name,
        "graphs": {precision: file for precision, file in graphs.items() if file},
        "saliency": present(f"model/{SALIENCY_FILE}"),
        "card": f"model/{CARD_FILE}",
        "parity": present(f"model/{PARITY_FILE}"),
        "detector": f"detector/{yunet.FILE}",
        "template": f"detector/{TEMPLATE_FILE}",
        "drawn_face": DRAWN_FACE,
        "summary": card_rows(asdict(card)),
        "runtime": RUNTIME_NAME,
        "toolkit": _toolkit_version(),
    }


def _toolkit_version() -> str:
    try:
        return version("fer-toolkit")
    except PackageNotFoundError:  # a checkout that is not installed
        return "unknown"


def _write_model(folder: Path, stage: Path) -> tuple[tuple[str, ...], bool]:
    """Check and copy the graphs, the card and the record of parity; return the precisions, and if there is Grad-CAM."""
    exports = ExportsFolder(folder)
    if not exports.exists():
        why = f"found no {GRAPH_FILES['fp32']} in it; `fer-train export` makes one from a run"
        raise ModelError(f"{folder}: expected an exports folder, {why}")
    graphs = tuple(precision for precision in PRECISIONS if exports.graph(precision).is_file())
    stage.mkdir()
    for precision in graphs:
        Scorer(folder, "cpu", precision, threads=1).close()  # checks the graph, its card and its checksum
        shutil.copyfile(exports.graph(precision), stage / GRAPH_FILES[precision])
    has_grad_cam = False
    if exports.saliency.is_file():
        with SaliencyModel(folder, "cpu", threads=1) as model:
            has_grad_cam = model.has_grad_cam
    for file in (exports.card, exports.parity, exports.saliency):
        if file.is_file():
            shutil.copyfile(file, stage / file.name)
    return graphs, has_grad_cam


def _write_detector(stage: Path) -> None:
    template = files("fer_infer.photos").joinpath(TEMPLATE_FILE).read_bytes()
    _write_all(stage, {yunet.FILE: yunet.read_graph(), TEMPLATE_FILE: template})


def _write_all(stage: Path, contents: dict[str, bytes]) -> None:
    stage.mkdir()
    for name, content in contents.items():
        (stage / name).write_bytes(content)


def _write_drawn_face(path: Path) -> None:
    path.parent.mkdir()
    Image.fromarray(draw_faces(POSITION + 1, seed=SEED).images[POSITION]).save(path)


def _write_page(stage: Path) -> None:
    """Copy the page, which is part of this package."""
    with as_file(files("fer_infer.web").joinpath("page")) as page:
        shutil.copytree(page, stage, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.py"))


def _write_file_list(stage: Path) -> None:
    """Write the names of all files, and a checksum that changes if any of them does."""
    digest = hashlib.sha256()
    names = []
    for file in _listed(stage):
        names.append(file.relative_to(stage).as_posix())
        digest.update(f"{names[-1]}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    listed = {"version": digest.hexdigest()[:16], "files": names}
    (stage / FILE_LIST).write_text(f"self.FER_SITE = {json.dumps(listed, indent=2)};\n", encoding="utf-8")


def _listed(stage: Path) -> Iterator[Path]:
    """Yield all files of a folder, sorted by name."""
    return iter(sorted(path for path in stage.rglob("*") if path.is_file()))
