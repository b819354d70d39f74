"""A JavaScript library that predicts faces, run in Node on WebAssembly with its own preprocessing."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import shorten
from fer_core.fer2013 import EXPRESSIONS, label_of
from fer_infer.photos.found_face import Box

FOLDER: Final = Path(__file__).parent
PACKAGE_FILES: Final = ("package.json", "package-lock.json", ".npmrc")
SCRIPT: Final = FOLDER / "predict.mjs"
TIMEOUT_S: Final = 1200


class Found(NamedTuple):
    """A face that a library found: its box, its score, and probabilities, (7,)."""

    box: Box
    score: float
    probabilities: NDArray[np.float32]


class Predictions(NamedTuple):
    """Probabilities of faces, (N, 7), and the time that they took."""

    probabilities: NDArray[np.float32]
    elapsed_s: float


def install(folder: Path) -> Path:
    """Install the packages of `package-lock.json`, whose checksums npm verifies, into an existing folder.

    Raises
    ------
    LookupError
        If Node or npm is not installed, or npm cannot install the packages.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise LookupError("Node.js with npm is not installed")
    for name in PACKAGE_FILES:
        shutil.copy(FOLDER / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise LookupError(f"npm did not install the packages within {TIMEOUT_S} s") from None
    if done.returncode:
        raise LookupError(f"npm cannot install the packages: {shorten(done.stderr.strip(), 200)}")
    return folder


def probabilities_of(by_name: Mapping[str, float]) -> NDArray[np.float32]:
    """Return probabilities in the order of FER2013's classes, with a sum of 1.

    Parameters
    ----------
    by_name : mapping of str to float
        Probabilities by the library's names of the classes, e.g. `fearful`. Human cuts them to two digits, so that
        their sum may be less than 1; a class that is absent has 0.

    Raises
    ------
    ValueError
        If a name is not that of an expression, two names are the same one, or no probability is positive.
    """
    row = np.zeros(len(EXPRESSIONS), np.float32)
    seen: set[int] = set()
    for name, value in by_name.items():
        label = None if name.isdigit() else label_of(name)
        if label is None or label in seen:
            raise ValueError(f"expected distinct names of expressions, found {', '.join(by_name)}")
        seen.add(label)
        row[label] = value
    if not (np.isfinite(row).all() and row.min() >= 0 and row.sum() > 0):
        raise ValueError(f"expected probabilities, found {dict(by_name)}")
    row /= row.sum()
    return row


class BrowserLibrary:
    """A process of Node with one library.

    Parameters
    ----------
    packages : Path
        Folder that `install` has filled.
    library : {"face-api", "human", "onnxruntime-web"}
        The library.
    *arguments : str
        For `face-api`, its detector: `ssd` or `tiny`. For `human`, `blazeface`, or `none` to predict faces. For
        `onnxruntime-web`, an exports folder and the file name of a graph in it.

    Raises
    ------
    LookupError
        If Node is not installed or the library cannot be loaded.
    """

    def __init__(self, packages: Path, library: str, *arguments: str) -> None:
        node = shutil.which("node")
        if node is None:
            raise LookupError("Node.js is not installed")
        command = [node, str(SCRIPT), str(packages), library, *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            self._answer()
        except RuntimeError:
            self.close()
            raise LookupError(f"{library} cannot be loaded from {packages}; `node {SCRIPT.name}` shows why") from None

    def predict(self, faces: NDArray[np.uint8], *, per_call: int = 1) -> Predictions:
        """Predict faces, uint8 (N, 48, 48), `per_call` at once; each is treated as a face that was found."""
        answer = self._ask(faces, per_call, find=False)
        rows = [probabilities_of(face["probabilities"]) for [face] in answer["faces"]]
        return Predictions(np.array(rows), answer["ms"] / 1000)

    def find(self, picture: NDArray[np.uint8]) -> tuple[list[Found], float]:
        """Find the faces in a gray picture, uint8 (H, W), and predict them; return them and the seconds it took."""
        answer = self._ask(picture[None], 1, find=True)
        [faces] = answer["faces"]
        found = [Found(Box(*face["box"]), face["score"], probabilities_of(face["probabilities"])) for face in faces]
        return found, answer["ms"] / 1000

    def _ask(self, images: NDArray[np.uint8], per_call: int, *, find: bool) -> Any:
        request = struct.pack("<5I", *images.shape, per_call, find) + np.ascontiguousarray(images).tobytes()
        assert self._process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError("the library ended") from None
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None  # noqa: S101 - for mypy: it is a pipe
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the library ended")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def nearest(found: Sequence[Found], center: NDArray[np.float64], distance: float) -> Found | None:
    """Return the face of the highest score whose center is within a distance of `center` (x, y); None if none is."""
    near = [face for face in found if np.hypot(*(_center(face.box) - center)) < distance]
    return max(near, key=lambda face: face.score, default=None)


def _center(box: Box) -> NDArray[np.float64]:
    return np.array([box.left + box.width / 2, box.top + box.height / 2])
