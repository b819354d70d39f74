"""The scorer: an exported graph, checked against its contract and its card, run in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, CardError, ConfigError, FerError, ModelCard, ModelError
from fer_core.file_types import refuse_lfs_pointer
from fer_infer.cuda import CudaOptions
from fer_infer.devices import CPU_PROVIDER, first_line, open_session
from fer_infer.precision import GRAPH_FILES, INT8_WEIGHTS, find_graph
from fer_infer.runner import runner_of
from fer_infer.views import average_views, log_probabilities

DEFAULT_BATCH_SIZE: Final = 128
"""Faces a run: enough to amortize a call, few enough that the activations stay in a CPU's cache."""

MODEL_FILE: Final = GRAPH_FILES["fp32"]
CARD_FILE: Final = "card.json"

EXTERNAL_DATA: Final = b"\n\x08location"
"""The key that every tensor kept in another file has, as protobuf writes it (field 1, eight bytes)."""

Signatures = dict[str, tuple[str, tuple[int | None, ...]]]
"""By name, the type and shape of a graph's inputs or outputs; None stands for a free dimension."""


class NotFiniteError(ModelError):
    """A logit is not finite.

    Attributes
    ----------
    face : int
        Position, from 0, of the first face whose logits are not.
    """

    def __init__(self, path: Path, face: int) -> None:
        super().__init__(f"{path}: the logits of face {face} (counted from 0) are not finite")
        self.face = face


class Scorer:
    """An exported model on one device.

    Parameters
    ----------
    model : str or Path
        An exports folder (`model.onnx`, `card.json`, ...) or an ONNX file.
    device : {"auto", "cpu", "cuda"}
        `cuda` fails unless the created session itself reports CUDA; `auto` falls back to the CPU and says why.
    precision : {"auto", "fp32", "int8", "fp16"}
        Which graph of a folder is run; see `fer_infer.precision.find_graph`. A file must be of that precision.
    threads : int, optional
        On the CPU, each of which runs faces of its own; as many as there are physical cores where None.
    cuda : CudaOptions, optional
        How a GPU is used; as `open_session` takes it.

    Attributes
    ----------
    path : Path
        The ONNX file.
    card : ModelCard
        From the ONNX `metadata_props`; its `precision` is the one that runs.
    provider : str
        The first provider of the session, as the session names it.
    runner : Runner
        How the session is run.
    provider_note : str
        Why it is not CUDA; on CUDA, what happened on the way, such as a batch that had to be halved.

    Raises
    ------
    ModelError
        If the file is absent, unreadable, damaged, kept in parts, or not a graph of the contract.
    CardError
        If the model's card is missing, incomplete, or not the one in `card.json` beside it, which a folder must hold.
    DeviceError
        If the device cannot be had.
    ConfigError
        If `device` is unknown or `threads` is below 1.

    Examples
    --------
    >>> scorer = Scorer("exports/course-cnn")  # doctest: +SKIP
    >>> scorer.score(images).argmax(axis=1)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path,
        device: str = "auto",
        precision: str = "auto",
        *,
        threads: int | None = None,
        cuda: CudaOptions | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise ConfigError(f"threads: expected at least 1, found {threads}")
        self.path = find_graph(Path(model), precision, device)
        self._session, self._device_note = self._open(device, cuda)
        if self._session.get_providers()[0] == CPU_PROVIDER:
            on_cpu = find_graph(Path(model), precision, "cpu")
            if on_cpu != self.path:  # there is a GPU, but it could not take this graph
                self.path = on_cpu
                self._session, _ = self._open("cpu", cuda)
        self.provider: str = self._session.get_providers()[0]
        self.card = self._read_card(in_folder=Path(model).is_dir())
        self._require_precision(precision)
        self._require_contract()
        self.runner = runner_of(self._session, cuda or CudaOptions(), threads)

    def _open(self, device: str, cuda: CudaOptions | None) -> tuple[Any, str]:
        content = _whole_graph(self.path)
        try:
            return open_session(content, device, cuda)
        except FerError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ModelError(f"{self.path}: cannot be loaded by ONNX Runtime: {first_line(error)}") from None

    @property
    def provider_note(self) -> str:
        """See the attributes of the class; it may change while faces are scored."""
        return self._device_note or self.runner.note

    def _read_card(self, *, in_folder: bool) -> ModelCard:
        try:
            metadata = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError:
            raise CardError(f"{self.path}: carries a model card that is not UTF-8") from None
        if not metadata:
            raise CardError(f"{self.path}: carries no model card in its metadata_props")
        card = ModelCard.from_metadata(metadata, str(self.path))
        beside = self.path.with_name(CARD_FILE)
        if beside.exists() or in_folder:
            card.require_equal(ModelCard.load_json(beside), str(self.path), str(beside))
        return card

    def _require_precision(self, asked: str) -> None:
        by_name = {file: precision for precision, file in GRAPH_FILES.items()}
        expected = by_name.get(self.path.name, self.card.precision) if asked == "auto" else asked
        if self.card.precision != expected:
            raise ModelError(f"{self.path}: expected a graph of precision {expected}, found {self.card.precision}")
        if expected == "int8" and INT8_WEIGHTS not in self.card.selection:
            why = f"expected an int8 graph of {INT8_WEIGHTS}, which all processors add alike, found none stated"
            raise ModelError(f"{self.path}: {why}; `fer-train export` makes it anew")

    def _require_contract(self) -> None:
        classes = len(self.card.labels)
        faces: Signatures = {"faces": ("uint8", (None, IMAGE_SIZE, IMAGE_SIZE))}
        scores: Signatures = {"logits": ("float32", (None, classes)), "probabilities": ("float32", (None, classes))}
        for kind, expected, nodes in (
            ("input", faces, self._session.get_inputs()),
            ("output", scores, self._session.get_outputs()),
        ):
            found = {node.name: _signature(node) for node in nodes}
            if found != expected:
                raise ModelError(f"{self.path}: expected {kind} {_shown(expected)}, found {_shown(found)}")

    def score(
        self, images: NDArray[np.uint8], *, batch_size: int = DEFAULT_BATCH_SIZE, tta: str = "none"
    ) -> NDArray[np.float32]:
        """Return `probabilities`, float32 (N, classes); parameters and errors as for `run`."""
        return self.run(images, batch_size=batch_size, tta=tta)[1]

    def logits(self, images: NDArray[np.uint8], *, batch_size: int = DEFAULT_BATCH_SIZE) -> NDArray[np.float32]:
        """Return `logits`, float32 (N, classes); parameters and errors as for `run`."""
        return self.run(images, batch_size=batch_size)[0]

    def run(
        self, images: NDArray[np.uint8], *, batch_size: int = DEFAULT_BATCH_SIZE, tta: str = "none"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score faces.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, 48, 48)
            Gray levels, 0 black to 255 white; N may be 0.
        batch_size : int
            Faces that are run at once, by all threads of a CPU together: a thread takes its share of them, though
            up to `fer_infer.runner.SMALLEST_CALL` where that is less. The last batch may be smaller.
        tta : {"none", "flip", "flip-shift"}
            Test-time augmentation: average the probabilities over so many views; see `fer_infer.views.TTA`.

        Returns
        -------
        logits, probabilities : ndarray of float32, shape (N, classes)
            Columns in the order of ``card.labels``. Without augmentation `logits` are the network's own; the graph
            divides them by the card's temperature before its softmax. With it they are the logarithms of the mean
            probabilities, since several views have no logits in common.

        Raises
        ------
        ValueError
            If `images` has another type or shape.
        ModelError
            If ONNX Runtime fails; `NotFiniteError` if a logit is not finite.
        ConfigError
            If `batch_size` is below 1 or there is no such `tta`.
        """
        if tta != "none":
            _, averaged = average_views(lambda view: self.run(view, batch_size=batch_size)[1], np.asarray(images), tta)
            return log_probabilities(averaged), averaged
        if batch_size < 1:
            raise ConfigError(f"batch_size: expected at least 1, found {batch_size}")
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"images: expected uint8 (N, 48, 48), found {images.dtype} {images.shape}")
        logits, probabilities = self._run(images, batch_size)
        finite = np.isfinite(logits).all(axis=1)
        if not finite.all():
            raise NotFiniteError(self.path, int(finite.argmin()))
        return logits, probabilities

    def close(self) -> None:
        """Stop what other threads still run, so that a program need not wait for it; nothing can be run any longer."""
        self.runner.close()

    def _run(self, images: NDArray[np.uint8], batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            return self.runner.run(images, batch_size)
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ModelError(f"{self.path}: failed on {len(images)} faces: {first_line(error)}") from None


def _whole_graph(path: Path) -> bytes:
    """Return the content of an ONNX file, and refuse one whose tensors stand in other files."""
    refuse_lfs_pointer(path, ModelError)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    if EXTERNAL_DATA in content:
        raise ModelError(f"{path}: keeps tensors in other files; expected a model in one file")
    return content


def _signature(node: Any) -> tuple[str, tuple[int | None, ...]]:
    """Return the type and shape of one input or output of a graph."""
    types = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return types.get(node.type, node.type), shape


def _shown(signatures: Signatures) -> str:
    """Write signatures as the contract does: `faces` uint8 (batch, 48, 48)."""
    return ", ".join(
        f"`{name}` {kind} ({', '.join('batch' if size is None else str(size) for size in shape)})"
        for name, (kind, shape) in signatures.items()
    )
