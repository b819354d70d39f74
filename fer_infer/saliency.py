"""SaliencyModel: an exported model that also returns the gradient of a class at the pixels, without PyTorch."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, ModelError
from fer_core.cores import physical_cores
from fer_core.exports_folder import SALIENCY_FILE, ExportsFolder
from fer_infer.config import RuntimeConfig, require
from fer_infer.inputs import images_of
from fer_infer.model_files import read_card, require_checksum
from fer_infer.runtime.contract import read_graph, require_saliency_contract
from fer_infer.runtime.cuda import CUDA_PROVIDER, CudaOptions
from fer_infer.runtime.onnx_runtime import first_line
from fer_infer.runtime.runners import NotFiniteError, silent_options, slices
from fer_infer.runtime.session import open_graph

if TYPE_CHECKING:
    from fer_core.io.in_memory import FacesLike

PREDICTED: Final = -1
"""Target that stands for the predicted class."""
FACES_PER_CALL: Final = 8
"""Faces per call of a CPU thread: the gradient keeps all activations, and those of more faces leave the cache."""
FACES_PER_GPU_CALL: Final = 128


@dataclass(frozen=True, eq=False)
class SaliencyMaps:
    """Predictions and attribution maps of N faces.

    Attributes
    ----------
    logits, probabilities : ndarray of float32, shape (N, classes)
        Predictions of the model.
    targets : ndarray of int64, shape (N,)
        Explained class of each face.
    saliency : ndarray of float32, shape (N, 48, 48)
        Signed gradient of the target's logit with respect to the pixels, per gray level.
    grad_cam : ndarray of float32, shape (N, 48, 48), or None
        Grad-CAM of the last convolution, at least 0; None for a network without convolutions.

    Examples
    --------
    >>> from fer_infer import SaliencyModel
    >>> with SaliencyModel("exports/compact", device="cpu") as model:
    ...     maps = model.explain(np.full((1, 48, 48), 127, np.uint8), targets=3)
    >>> maps.targets.tolist(), bool(maps.grad_cam.min() >= 0)
    ([3], True)
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    targets: NDArray[np.int64]
    saliency: NDArray[np.float32]
    grad_cam: NDArray[np.float32] | None


class SaliencyModel:
    """An exported model with its gradient at the pixels, run by ONNX Runtime from the file `saliency.onnx`.

    Threads may share it. Use it as a context manager, which stops its threads at the end.

    Parameters
    ----------
    model : str or Path
        Exports folder with a `saliency.onnx`, which ``fer-train export --saliency`` writes, or the path of this file.
    device : {"auto", "cpu", "cuda"}
        See `fer_infer.Scorer`.
    threads : int, optional
        Number of CPU threads; by default one per physical core.
    cuda : CudaOptions, optional
        Options of the CUDA provider.

    Attributes
    ----------
    classes_ : ndarray of str, shape (classes,)
        Class names, in the order of the probabilities.
    path : Path
        ONNX file.
    card : ModelCard
        Model card in the ONNX metadata, equal to that of the folder.
    provider, provider_note : str
        Execution provider that the session reports, and why it is not CUDA.
    has_grad_cam : bool
        Whether the graph returns Grad-CAM, which needs a convolution.

    Raises
    ------
    ModelError, CardError, DeviceError, ConfigError
        See `fer_infer.Scorer`; also if the folder has no `saliency.onnx`, or one of other weights.

    Examples
    --------
    >>> from fer_infer import SaliencyModel
    >>> with SaliencyModel("exports/compact", device="cpu") as model:
    ...     maps = model.explain(np.zeros((2, 48, 48), np.uint8))
    >>> maps.saliency.shape, maps.grad_cam.shape, maps.targets.shape
    ((2, 48, 48), (2, 48, 48), (2,))
    """

    def __init__(
        self,
        model: str | Path,
        device: str = "auto",
        *,
        threads: int | None = None,
        cuda: CudaOptions | None = None,
    ) -> None:
        RuntimeConfig(device=device, threads=threads)
        folder = Path(os.path.expanduser(model))  # noqa: PTH111 - Path.expanduser raises for an unknown user
        self.path = ExportsFolder(folder).saliency if folder.is_dir() else folder
        if not self.path.is_file():
            remedy = "`fer-train export --saliency` writes one"
            raise ModelError(f"{folder}: expected an exports folder with {SALIENCY_FILE}, found none; {remedy}")
        content = read_graph(self.path)
        require_checksum(self.path, hashlib.sha256(content).hexdigest())
        self._session, self.provider_note = open_graph(self.path, content, device, cuda)
        self.provider: str = self._session.get_providers()[0]
        self.card = read_card(self._session, self.path, in_folder=folder.is_dir())
        require_saliency_contract(self._session, len(self.card.labels), self.path)
        self.classes_: NDArray[np.str_] = np.array(self.card.labels)
        self._outputs = [node.name for node in self._session.get_outputs()]
        self.has_grad_cam = "grad_cam" in self._outputs
        on_gpu = self.provider == CUDA_PROVIDER
        self._per_call = FACES_PER_GPU_CALL if on_gpu else FACES_PER_CALL
        self._run_options = silent_options()
        self._run_options.only_execute_path_to_fetches = True
        count = 1 if on_gpu else threads or physical_cores()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="explain")

    def __repr__(self) -> str:
        return f"SaliencyModel({self.card.architecture}, {self.provider.removesuffix('ExecutionProvider')})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def explain(
        self,
        data: FacesLike,
        targets: NDArray[np.int64] | int | str | None = None,
        *,
        offsets: NDArray[np.float32] | None = None,
        batch_size: int | None = None,
    ) -> SaliencyMaps:
        """Predict faces and explain the predictions in one pass.

        Parameters
        ----------
        data : str, Path, Faces, ndarray, PIL.Image.Image, sequence of PIL.Image.Image, or pandas.DataFrame
            Faces or photos, see `fer_infer.Scorer.predict`; for example uint8 (N, 48, 48), where N may be 0.
        targets : ndarray of int64, shape (N,), int or str, optional
            Class to explain, 0 to classes - 1 or the name of one, or -1 for the predicted class, the default.
        offsets : ndarray of float32, shape (N, 48, 48), optional
            Gray levels to add to the pixels, which may then lie between gray levels and outside of 0..255.
        batch_size : int, optional
            Faces per call; it affects speed, not the results.

        Returns
        -------
        SaliencyMaps

        Raises
        ------
        ConfigError
            If an argument has another type or shape, or a target is not a class.
        ModelError
            If ONNX Runtime fails, or the logits of a face are not finite.
        """
        images = images_of(data)
        asked = self._targets(targets, len(images))
        arrays = self._run(self._outputs, images, asked, offsets, batch_size)
        chosen = np.where(asked == PREDICTED, arrays["logits"].argmax(axis=1), asked)
        return SaliencyMaps(
            arrays["logits"], arrays["probabilities"], chosen, arrays["saliency"], arrays.get("grad_cam")
        )

    def logits(self, images: NDArray[np.uint8], *, offsets: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Compute logits only, which takes less than half of the time of `explain`.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, 48, 48)
            Gray levels, 0 black to 255 white.
        offsets
            Parameter of `explain`.

        Returns
        -------
        ndarray of float32, shape (N, classes)
        """
        return self._run(["logits"], images, self._targets(None, len(images)), offsets, None)["logits"]

    def _run(
        self,
        names: list[str],
        images: NDArray[np.uint8],
        targets: NDArray[np.int64],
        offsets: NDArray[np.float32] | None,
        batch_size: int | None,
    ) -> dict[str, NDArray[np.float32]]:
        """Run the graph in batches; parameters and errors are those of `explain`."""
        if offsets is not None and (offsets.dtype != np.float32 or offsets.shape != images.shape):
            found = f"expected float32 {images.shape}, as the images, found {offsets.dtype} {offsets.shape}"
            raise ConfigError(found, parameter="offsets")
        if batch_size is not None:
            require("batch_size", batch_size)
        scores = (len(images), len(self.classes_))
        arrays = {
            name: np.empty(scores if name in ("logits", "probabilities") else images.shape, np.float32)
            for name in names
        }

        def call(batch: slice) -> None:
            inputs = {"faces": np.ascontiguousarray(images[batch]), "target": targets[batch]}
            if offsets is not None:
                inputs["offset"] = np.ascontiguousarray(offsets[batch])
            for name, values in zip(names, self._session.run(names, inputs, self._run_options), strict=True):
                arrays[name][batch] = values

        try:
            list(self._pool.map(call, slices(len(images), batch_size or self._per_call)))
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise ModelError(f"{self.path}: failed on {len(images)} faces: {first_line(error)}") from None
        finite = np.isfinite(arrays["logits"]).all(axis=1)
        if not finite.all():
            raise NotFiniteError(self.path, int(finite.argmin()))
        return arrays

    def close(self) -> None:
        """Stop the threads; a running call ends at its next operator."""
        self._run_options.terminate = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _targets(self, targets: NDArray[np.int64] | int | str | None, n: int) -> NDArray[np.int64]:
        if isinstance(targets, str):
            if targets not in self.card.labels:
                expected = f"expected one of {', '.join(self.card.labels)}"
                raise ConfigError(f"{expected}, found {targets!r}", parameter="targets")
            targets = self.card.labels.index(targets)
        found = np.asarray(PREDICTED if targets is None else targets)
        if found.dtype.kind not in "iu" or found.shape not in ((), (n,)):
            raise ConfigError(f"expected integers ({n},), found {found.dtype} {found.shape}", parameter="targets")
        wrong = found[(found < PREDICTED) | (found >= len(self.classes_))]
        if wrong.size:
            expected = f"expected classes 0 to {len(self.classes_) - 1}, or {PREDICTED} for the predicted one"
            raise ConfigError(f"{expected}, found {wrong.flat[0]}", parameter="targets")
        return np.ascontiguousarray(np.broadcast_to(found.astype(np.int64), n))
