"""The scorer: an exported graph, checked against its contract and its card, run in batches."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, CardError, ConfigError, DeviceError, FerError, ModelCard, ModelError
from fer_core.errors import NO_THREADS, lacks_threads
from fer_core.exports_folder import CARD_FILE, GRAPH_FILES, INT8_WEIGHTS
from fer_core.per_process import PerProcess
from fer_infer.graph_selection import find_graph
from fer_infer.runtime.contract import read_graph, require_contract
from fer_infer.runtime.cuda import CUDA_PROVIDER, CudaOptions
from fer_infer.runtime.onnx_runtime import first_line
from fer_infer.runtime.runners import Runner, runner_of
from fer_infer.runtime.session import CPU_PROVIDER, open_session
from fer_infer.tta import average_views, log_probabilities

DEFAULT_BATCH_SIZE: Final = 128
"""Faces a run: enough to amortize a call, few enough that the activations stay in a CPU's cache."""


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

    Threads may share a scorer. It can be pickled and used in a forked process: each process then creates a session of
    its own, on first use, from the same file and on the same provider, and refuses a file that has changed meanwhile.
    `with` closes it.

    Parameters
    ----------
    model : str or Path
        An exports folder (`model.onnx`, `card.json`, ...) or an ONNX file.
    device : {"auto", "cpu", "cuda"}
        `cuda` fails unless the created session itself reports CUDA; `auto` falls back to the CPU and says why.
    precision : {"auto", "fp32", "int8", "fp16"}
        Which graph of a folder is run; see `fer_infer.graph_selection.find_graph`. A file must be of that precision.
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
    >>> with Scorer("exports/course-cnn") as scorer:  # doctest: +SKIP
    ...     labels = scorer.score(images).argmax(axis=1)
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
        content = read_graph(self.path)
        session, self._device_note = self._create(content, device, cuda)
        if session.get_providers()[0] == CPU_PROVIDER:
            on_cpu = find_graph(Path(model), precision, "cpu")
            if on_cpu != self.path:  # there is a GPU, but it could not take this graph
                self.path = on_cpu
                content = read_graph(self.path)
                session, _ = self._create(content, "cpu", cuda)
        self.provider: str = session.get_providers()[0]
        self.card = self._read_card(session, in_folder=Path(model).is_dir())
        self._require_precision(precision)
        require_contract(session, len(self.card.labels), self.path)
        self._cuda, self._threads, self._closed = cuda or CudaOptions(), threads, False
        self._file, self._sha256 = self.path.absolute(), hashlib.sha256(content).hexdigest()
        self._runner: PerProcess[Runner] = PerProcess()
        self._runner.set(runner_of(session, self._cuda, threads))

    def _create(self, content: bytes, device: str, cuda: CudaOptions | None) -> tuple[Any, str]:
        try:
            return open_session(content, device, cuda)
        except FerError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            if lacks_threads(error):
                raise DeviceError(NO_THREADS) from None
            raise ModelError(f"{self.path}: cannot be loaded by ONNX Runtime: {first_line(error)}") from None

    def _open_again(self) -> Runner:
        """Create a session in another process than the one that made the scorer."""
        on_gpu = self.provider == CUDA_PROVIDER
        if on_gpu and self._runner.is_inherited:
            why = "CUDA cannot be used in a process forked from one that uses it"
            raise DeviceError(f"{self.path}: {why}; start processes with the method spawn or forkserver")
        content = read_graph(self._file)
        found = hashlib.sha256(content).hexdigest()
        if found != self._sha256:
            expected = f"expected SHA-256 {self._sha256[:12]}..., found {found[:12]}..."
            raise ModelError(f"{self._file}: changed after this scorer was made: {expected}")
        session, _ = self._create(content, "cuda" if on_gpu else "cpu", self._cuda)
        return runner_of(session, self._cuda, self._threads)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_runner"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._runner = PerProcess()

    def __repr__(self) -> str:
        shown = f"{str(self.path)!r}, precision={self.card.precision!r}, provider={self.provider!r}"
        return f"Scorer({shown}{', closed' if self._closed else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def runner(self) -> Runner:
        """How this process's session is run."""
        return self._runner.get(self._open_again)

    @property
    def provider_note(self) -> str:
        """See the attributes of the class; it may change while faces are scored."""
        return self._device_note or self.runner.note

    def _read_card(self, session: Any, *, in_folder: bool) -> ModelCard:
        try:
            metadata = session.get_modelmeta().custom_metadata_map
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
            up to `fer_infer.runtime.runners.SMALLEST_CALL` where that is less. The last batch may be smaller.
        tta : {"none", "flip", "flip-shift"}
            Test-time augmentation: average the probabilities over so many views; see `fer_infer.tta.TTA`.

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
        """Stop what other threads of this process still run, so that a program need not wait for it.

        A closed scorer cannot run again.
        """
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
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            if lacks_threads(error):
                raise DeviceError(NO_THREADS) from None
            raise ModelError(f"{self.path}: failed on {len(images)} faces: {first_line(error)}") from None
