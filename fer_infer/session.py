"""The scorer: an exported graph, checked against its contract and its card, run in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, CardError, ConfigError, FerError, ModelCard, ModelError
from fer_infer.devices import first_line, open_session

DEFAULT_BATCH_SIZE: Final = 128
"""Faces a run: enough to amortize a call, few enough that the activations stay in a CPU's cache."""

MODEL_FILE: Final = "model.onnx"
CARD_FILE: Final = "card.json"

Signatures = dict[str, tuple[str, tuple[int | None, ...]]]
"""By name, the type and shape of a graph's inputs or outputs; None stands for a free dimension."""


class Scorer:
    """An exported model on one device.

    Parameters
    ----------
    model : str or Path
        An exports folder (`model.onnx`, `card.json`, ...) or an ONNX file.
    device : {"auto", "cpu", "cuda"}
        `cuda` fails unless the created session itself reports CUDA; `auto` falls back to the CPU and says why.
    threads : int, optional
        Threads within one operator on the CPU; ONNX Runtime's choice where None.

    Attributes
    ----------
    path : Path
        The ONNX file.
    card : ModelCard
        From the ONNX `metadata_props`.
    provider : str
        The first provider of the session, as the session names it.
    provider_note : str
        Why it is not CUDA; empty where it is.

    Raises
    ------
    ModelError
        If the file is absent, damaged, or not a graph of the contract.
    CardError
        If the model's card is missing, incomplete, or not the one in `card.json` beside it.
    DeviceError
        If the device cannot be had.

    Examples
    --------
    >>> scorer = Scorer("exports/course-cnn")  # doctest: +SKIP
    >>> scorer.score(images).argmax(axis=1)  # doctest: +SKIP
    """

    def __init__(self, model: str | Path, device: str = "auto", *, threads: int | None = None) -> None:
        self.path = _onnx_file(Path(model))
        try:
            self._session, self.provider_note = open_session(self.path, device, threads)
        except FerError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ModelError(f"{self.path}: cannot be loaded by ONNX Runtime: {first_line(error)}") from None
        self.provider: str = self._session.get_providers()[0]
        self.card = self._read_card()
        self._require_contract()

    def _read_card(self) -> ModelCard:
        metadata = self._session.get_modelmeta().custom_metadata_map
        if not metadata:
            raise CardError(f"{self.path}: carries no model card in its metadata_props")
        card = ModelCard.from_metadata(metadata, str(self.path))
        beside = self.path.with_name(CARD_FILE)
        if beside.is_file():
            card.require_equal(ModelCard.load_json(beside), str(self.path), str(beside))
        return card

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

    def score(self, images: NDArray[np.uint8], *, batch_size: int = DEFAULT_BATCH_SIZE) -> NDArray[np.float32]:
        """Return `probabilities`, float32 (N, classes); parameters and errors as for `run`."""
        return self.run(images, batch_size=batch_size)[1]

    def logits(self, images: NDArray[np.uint8], *, batch_size: int = DEFAULT_BATCH_SIZE) -> NDArray[np.float32]:
        """Return `logits`, float32 (N, classes); parameters and errors as for `run`."""
        return self.run(images, batch_size=batch_size)[0]

    def run(
        self, images: NDArray[np.uint8], *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score faces.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, 48, 48)
            Gray levels, 0 black to 255 white; N may be 0.
        batch_size : int
            Faces that the graph takes at once; the last batch may be smaller.

        Returns
        -------
        logits, probabilities : ndarray of float32, shape (N, classes)
            Columns in the order of ``card.labels``.

        Raises
        ------
        ValueError
            If `images` has another type or shape.
        ModelError
            If ONNX Runtime fails, or a logit is not finite.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size: expected at least 1, found {batch_size}")
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            raise ValueError(f"images: expected uint8 (N, 48, 48), found {images.dtype} {images.shape}")
        n = len(images)
        logits = np.empty((n, len(self.card.labels)), np.float32)
        probabilities = np.empty_like(logits)
        for start in range(0, n, batch_size):
            batch = slice(start, min(start + batch_size, n))
            logits[batch], probabilities[batch] = self._run_once(np.ascontiguousarray(images[batch]))
        finite = np.isfinite(logits).all(axis=1)
        if not finite.all():
            raise ModelError(f"{self.path}: the logits of face {int(finite.argmin())} (counted from 0) are not finite")
        return logits, probabilities

    def _run_once(self, faces: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(["logits", "probabilities"], {"faces": faces})
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ModelError(f"{self.path}: failed on {len(faces)} faces: {first_line(error)}") from None
        return outputs


def _onnx_file(model: Path) -> Path:
    """Return the ONNX file that `model`, a folder or a file, stands for."""
    if model.is_dir():
        if not (model / MODEL_FILE).is_file():
            raise ModelError(f"{model}: expected an exports folder, found no {MODEL_FILE} in it")
        return model / MODEL_FILE
    if not model.is_file():
        raise ModelError(f"{model}: expected an exports folder or an ONNX file, found none")
    return model


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
