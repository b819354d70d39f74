"""Scorer: an exported graph, checked against its contract and its model card, that predicts in batches."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, ConfigError, DeviceError, ModelError
from fer_core.errors import NO_THREADS, lacks_threads
from fer_core.per_process import PerProcess
from fer_infer.config import DEFAULT_BATCH_SIZE, RuntimeConfig, require
from fer_infer.graph_selection import find_graph
from fer_infer.inputs import images_of, names_for, probabilities_for
from fer_infer.model_files import count_parameters, read_card, require_checksum, require_precision
from fer_infer.runtime.contract import read_graph, require_contract
from fer_infer.runtime.cuda import CUDA_PROVIDER, CudaOptions
from fer_infer.runtime.onnx_runtime import first_line
from fer_infer.runtime.runners import NotFiniteError, Runner, runner_of
from fer_infer.runtime.session import CPU_PROVIDER, open_graph
from fer_infer.tta import average_views, log_probabilities

if TYPE_CHECKING:
    from fer_core.io.in_memory import FacesLike


class Scorer:
    """An exported model on one device.

    Threads may share a scorer. It can be pickled and used in a forked process: each process then creates its own
    session on first use, from the same file and on the same provider, and refuses a file that has changed since. Use
    it as a context manager, which closes it at the end.

    Parameters
    ----------
    model : str or Path
        Exports folder (`model.onnx`, `card.json`, ...), or an ONNX file in one.
    device : {"auto", "cpu", "cuda"}
        `auto` uses CUDA if the created session reports it, else the CPU, and `provider_note` says why; `cuda` fails
        if CUDA is not available.
    precision : {"auto", "fp32", "int8", "fp16"}
        Graph to run, see `fer_infer.graph_selection.find_graph`. An ONNX file must have this precision.
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
        Model card in the ONNX metadata; its `precision` is that of the graph.
    provider : str
        Execution provider that the session reports.
    provider_note : str
        Why the provider is not CUDA; on CUDA, notes such as a reduced batch size.

    Raises
    ------
    ModelError
        If the file is absent, unreadable, damaged, uses external data, or has other inputs and outputs than an exported
        graph.
    CardError
        If the model card is missing, incomplete, or differs from `card.json`, which an exports folder must contain.
    DeviceError
        If the device is not available.
    ConfigError
        If a setting is outside its range.

    Examples
    --------
    >>> from fer_infer import Scorer
    >>> with Scorer("exports/compact", device="cpu", precision="int8") as model:
    ...     print(model)
    ...     names = model.predict("faces.csv")
    ...     probabilities = model.predict_proba(np.zeros((2, 48, 48), np.uint8))
    Scorer(compact, int8, CPU, 0.47 M parameters)
    >>> names.shape, probabilities.shape
    ((64,), (2, 7))
    >>> model.classes_.tolist()
    ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral']
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
        RuntimeConfig(device=device, precision=precision, threads=threads)
        folder = Path(os.path.expanduser(model))  # noqa: PTH111 - Path.expanduser raises for an unknown user
        self.path = find_graph(folder, precision, device)
        content = self._read()
        session, self._device_note = open_graph(self.path, content, device, cuda)
        if session.get_providers()[0] == CPU_PROVIDER:
            on_cpu = find_graph(folder, precision, "cpu")
            if on_cpu != self.path:  # there is a GPU that cannot run this graph
                self.path = on_cpu
                content = self._read()
                session, _ = open_graph(self.path, content, "cpu", cuda)
        self.provider: str = session.get_providers()[0]
        self.card = read_card(session, self.path, in_folder=folder.is_dir())
        require_precision(self.card, self.path, precision)
        require_contract(session, len(self.card.labels), self.path)
        self.classes_: NDArray[np.str_] = np.array(self.card.labels)
        self._cuda, self._threads, self._closed = cuda or CudaOptions(), threads, False
        self._file = self.path.absolute()
        self._runner: PerProcess[Runner] = PerProcess()
        self._runner.set(runner_of(session, self._cuda, threads))

    def _read(self) -> bytes:
        content = read_graph(self.path)
        self._sha256 = hashlib.sha256(content).hexdigest()
        require_checksum(self.path, self._sha256)
        return content

    def _open_again(self) -> Runner:
        """Create a session in a process other than the one that made the scorer."""
        on_gpu = self.provider == CUDA_PROVIDER
        if on_gpu and self._runner.is_inherited:
            why = "CUDA cannot be used in a process forked from one that uses it"
            raise DeviceError(f"{self.path}: {why}; start processes with the method spawn or forkserver")
        content = read_graph(self._file)
        found = hashlib.sha256(content).hexdigest()
        if found != self._sha256:
            expected = f"expected SHA-256 {self._sha256[:12]}..., found {found[:12]}..."
            raise ModelError(f"{self._file}: changed after this scorer was made: {expected}")
        session, _ = open_graph(self.path, content, "cuda" if on_gpu else "cpu", self._cuda)
        return runner_of(session, self._cuda, self._threads)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_runner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._runner = PerProcess()

    def __repr__(self) -> str:
        parameters = count_parameters(self.path, self.card.weights_sha256)
        shown = [self.card.architecture, self.card.precision, self.provider.removesuffix("ExecutionProvider")]
        shown += [] if parameters is None else [f"{parameters / 1e6:.2f} M parameters"]
        return f"Scorer({', '.join(shown)}{', closed' if self._closed else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def runner(self) -> Runner:
        """Runner of this process's session."""
        return self._runner.get(self._open_again)

    @property
    def provider_note(self) -> str:
        """See the attributes of the class; it may change while faces are scored."""
        return self._device_note or self.runner.note

    def predict(
        self,
        data: FacesLike,
        *,
        faces: str | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        tta: str = "none",
    ) -> Any:
        """Predict the class of each face.

        Parameters
        ----------
        data : str, Path, Faces, ndarray, PIL.Image.Image, sequence of PIL.Image.Image, or pandas.DataFrame
            Path of faces as `fer_core.read_faces` takes it; uint8 array (N, 48, 48) or (48, 48); images of 48x48
            pixels; or a DataFrame with a column `pixels`. Also photos: the path of one, a PIL image or a uint8 array of
            shape (H, W) gray or (H, W, 3) in the order red, green, blue, or a sequence of them.
        faces : {"aligned", "detect", "whole"}, optional
            How to take faces from images: they have 48x48 pixels, or are found in photos, or are whole pictures. By
            default, faces are found in a photo in memory or in one file, and everything else must have 48x48 pixels.
        batch_size : int
            Faces per batch, see `run`.
        tta : {"none", "flip", "flip-shift"}
            Test-time augmentation.

        Returns
        -------
        ndarray of str, shape (N,), or pandas.Series
            Class names, one per face; for a DataFrame, a Series with its index. The faces of a photo are ordered from
            left to right; `fer_infer.find_faces` returns where they are.

        Raises
        ------
        DataError, ModelError, DeviceError, ConfigError
            If the faces cannot be read, a photo has no face, or the model fails.

        Examples
        --------
        >>> from fer_infer import Scorer
        >>> with Scorer("exports/compact", device="cpu") as model:
        ...     model.predict(np.zeros((3, 48, 48), np.uint8)).shape
        (3,)
        """
        logits, _ = self.run(images_of(data, faces), batch_size=batch_size, tta=tta)
        return names_for(data, self.classes_[logits.argmax(axis=1)])

    def predict_proba(
        self,
        data: FacesLike,
        *,
        faces: str | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        tta: str = "none",
    ) -> Any:
        """Predict the probability of each class for each face.

        Parameters
        ----------
        data : str, Path, Faces, ndarray, PIL.Image.Image, sequence of PIL.Image.Image, or pandas.DataFrame
            Faces or photos, see `predict`.
        faces : {"aligned", "detect", "whole"}, optional
            How to take faces from images, see `predict`.
        batch_size : int
            Faces per batch, see `run`.
        tta : {"none", "flip", "flip-shift"}
            Test-time augmentation.

        Returns
        -------
        ndarray of float32, shape (N, classes), or pandas.DataFrame
            Probabilities in the order of `classes_`; for a DataFrame, a DataFrame with its index and the class names
            as columns.

        Raises
        ------
        DataError, ModelError, DeviceError, ConfigError
            If the faces cannot be read or the model fails.

        Examples
        --------
        >>> from fer_infer import Scorer
        >>> with Scorer("exports/compact", device="cpu") as model:
        ...     probabilities = model.predict_proba("faces.csv")
        >>> bool(np.allclose(probabilities.sum(axis=1), 1, atol=1e-5))
        True
        """
        _, probabilities = self.run(images_of(data, faces), batch_size=batch_size, tta=tta)
        return probabilities_for(data, probabilities, self.classes_)

    def run(
        self, images: NDArray[np.uint8], *, batch_size: int = DEFAULT_BATCH_SIZE, tta: str = "none"
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compute logits and probabilities.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, 48, 48)
            Gray levels, 0 black to 255 white; N may be 0.
        batch_size : int
            Faces per batch. CPU threads share a batch, with at least `fer_infer.runtime.runners.SMALLEST_CALL` faces
            per thread. The last batch may be smaller.
        tta : {"none", "flip", "flip-shift"}
            Test-time augmentation: average the probabilities over augmented copies, see `fer_infer.tta.TTA`.

        Returns
        -------
        logits, probabilities : ndarray of float32, shape (N, classes)
            Columns in the order of `classes_`. Without augmentation, `logits` are those of the network, which the
            graph divides by the card's temperature before its softmax. With augmentation, they are the logarithms of
            the mean probabilities.

        Raises
        ------
        ModelError
            If ONNX Runtime fails; `NotFiniteError` if a logit is not finite.
        ConfigError
            If `images` have another type or shape, or a setting is outside its range.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
            found = f"expected uint8 (N, 48, 48), found {images.dtype} {images.shape}"
            raise ConfigError(found, parameter="images")
        if tta != "none":
            _, averaged = average_views(lambda view: self.run(view, batch_size=batch_size)[1], images, tta)
            return log_probabilities(averaged), averaged
        require("batch_size", batch_size)
        logits, probabilities = self._run(images, batch_size)
        finite = np.isfinite(logits).all(axis=1)
        if not finite.all():
            raise NotFiniteError(self.path, int(finite.argmin()))
        return logits, probabilities

    def close(self) -> None:
        """Stop the threads of this process that still run the model. A closed scorer cannot run again."""
        self._closed = True
        runner = self._runner.here()
        if runner is not None:
            runner.close()

    def _run(self, images: NDArray[np.uint8], batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self._closed:
            raise ModelError(f"{self.path}: this scorer is closed")
        runner = self.runner
        try:
            return runner.run(images, batch_size)
        except Exception as error:  # ONNX Runtime's errors have no common base class
            if lacks_threads(error):
                raise DeviceError(NO_THREADS) from None
            raise ModelError(f"{self.path}: failed on {len(images)} faces: {first_line(error)}") from None
