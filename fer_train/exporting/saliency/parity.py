"""Parity of `saliency.onnx` and the gradients of PyTorch, checked by the production code on real faces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import Faces, ModelError
from fer_infer.runtime.runners import slices
from fer_infer.runtime.session import available_devices, open_session
from fer_infer.saliency import PREDICTED, SaliencyModel
from fer_train.exporting.saliency.builder import PREFIX
from fer_train.exporting.saliency.network import Choices, NetworkMaps, maps_of

FACES: Final = 512
"""Number of faces that are compared, as a pass backwards takes longer than the prediction."""
SINGLE_FACES: Final = 32
"""Number of faces that are explained one and two at a time."""
REFERENCE_FACES: Final = 4
"""Number of faces that the ONNX reference implementation explains, which takes seconds."""
BATCH_SIZES: Final = (1, 2, 7, 128)
RTOL: Final = 1e-5
"""Largest difference of two maps of a face that passes, relative to the largest absolute value of the map."""
KINK: Final = 1e-6
"""Largest distance to a kink that rounding explains, relative to the largest value of the layer."""

REFERENCE: Final = "onnx.reference"
"""Name of the reference implementation of ONNX."""
MAPS: Final = ("saliency", "grad_cam")

Arrays = dict[str, NDArray[Any]]
"""Outputs of a graph by name."""


@dataclass(frozen=True)
class Kink:
    """A face at which the gradient is discontinuous, so that two correct programs give different maps.

    Attributes
    ----------
    row : int
        Row number of the face.
    engine : str
        Program that took another side of the kink than PyTorch.
    layer : str
        Layer of the kink.
    gap : float
        Distance to the kink, relative to the largest value of the layer; at most `KINK`.
    relative_difference : float
        Difference of the maps as they are.
    on_same_side : float
        Difference of the maps if PyTorch takes the same side; at most `RTOL`.
    """

    row: int
    engine: str
    layer: str
    gap: float
    relative_difference: float
    on_same_side: float


@dataclass(frozen=True)
class SaliencyParity:
    """Difference between the maps of `saliency.onnx` and of PyTorch on the same faces.

    Attributes
    ----------
    source, n : str, int
        Name of the data, and number of faces.
    providers, batch_sizes : list
        Providers of ONNX Runtime, and batch sizes on each.
    reference_n : int
        Number of faces that the ONNX reference implementation explained as well.
    max_absolute_difference : float
        Largest difference of a logit.
    median_relative_difference, max_relative_difference : float
        Difference of the saliency of a face, relative to its largest absolute value; the maximum is that of faces
        without a kink.
    grad_cam_max_relative_difference : float or None
        The same for Grad-CAM; None without a convolution.
    kinks : list of Kink
        Faces at a kink; their maps are equal on the same side of it.
    rtol : float
        Limit of the relative differences.
    """

    source: str
    n: int
    providers: list[str]
    batch_sizes: list[int]
    reference_n: int
    max_absolute_difference: float
    median_relative_difference: float
    max_relative_difference: float
    grad_cam_max_relative_difference: float | None
    kinks: list[Kink]
    rtol: float = RTOL

    def record(self) -> dict[str, Any]:
        """Return the comparison as `parity.json` states it."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the comparison in one line."""
        faces = len({kink.row for kink in self.kinks})
        kinks = f", {faces} at a kink of the network and equal on the same side of it" if faces else ""
        return (
            f"saliency on {self.n:,} faces, {', '.join(self.providers)}: relative difference median "
            f"{self.median_relative_difference:.1e}, max {self.max_relative_difference:.1e}{kinks}"
        )


@dataclass(frozen=True, eq=False)
class _Trial:
    """Maps of the first n faces by one program, in batches.

    Attributes
    ----------
    engine : str
        Name of the program.
    batch_size : int
        Faces per batch.
    targets : ndarray of int64, shape (n,)
        Explained classes, where -1 stands for the predicted one.
    expected : NetworkMaps
        Maps by PyTorch.
    found : dict of str to ndarray
        Maps by the program.
    run : callable
        Runs the annotated graph on faces and targets by the same program, to see its sides of kinks.
    """

    engine: str
    batch_size: int
    targets: NDArray[np.int64]
    expected: NetworkMaps
    found: Arrays
    run: Callable[[NDArray[np.uint8], NDArray[np.int64]], Arrays]

    def differences(self, expected: NetworkMaps, one: slice = slice(None)) -> dict[str, NDArray[np.float64]]:
        """Return the differences of each map from those of PyTorch, relative to the scale of the map."""
        found = {
            "saliency": _relative(self.found["saliency"][one], expected.saliency, np.abs(expected.saliency).max((1, 2)))
        }
        if expected.grad_cam is not None and expected.cam_scales is not None:
            found["grad_cam"] = _relative(self.found["grad_cam"][one], expected.grad_cam, expected.cam_scales)
        return found


def check_saliency(model: nn.Module, path: Path, faces: Faces, *, atol: float) -> SaliencyParity:
    """Compare `saliency.onnx` with the gradients of PyTorch, at every batch size and on every provider.

    Parameters
    ----------
    model : torch.nn.Module
        The network, in evaluation mode.
    path : Path
        `saliency.onnx`.
    faces : Faces
        At least one face; the first `FACES` are compared.
    atol : float
        Largest difference of a logit that passes.

    Raises
    ------
    ModelError
        If a logit differs by more than `atol`, or a map by more than `RTOL`, unless the face is at a kink and the maps
        are equal on the same side of it.
    """
    images = faces.images[:FACES]
    trials = list(_trials(model, path, images))
    logits = max(float(np.abs(trial.found["logits"] - trial.expected.logits).max()) for trial in trials)
    if not logits <= atol:
        found = f"max |d logit| {logits:.3g} (limit {atol:.3g})"
        raise ModelError(f"{path.name}: differs from the PyTorch network: {found}")
    kinks: dict[tuple[int, str], Kink] = {}
    smooth: dict[str, list[NDArray[np.float64]]] = {name: [] for name in MAPS}
    for trial in trials:
        differences = trial.differences(trial.expected)
        worst = np.max(list(differences.values()), axis=0)
        for name, each in differences.items():
            smooth[name].append(each[worst <= RTOL])
        for face in np.flatnonzero(~(worst <= RTOL)).tolist():  # also where a map is not finite
            kink = _kink(model, path, trial, images, face, int(faces.rows[face]))
            kinks.setdefault((kink.row, kink.engine), kink)
    saliency, grad_cam = (np.concatenate([*smooth[name], np.zeros(0)]) for name in MAPS)
    return SaliencyParity(
        source=Path(faces.source).name,
        n=len(images),
        providers=list(dict.fromkeys(trial.engine for trial in trials if trial.engine != REFERENCE)),
        batch_sizes=list(BATCH_SIZES),
        reference_n=min(REFERENCE_FACES, len(images)),
        max_absolute_difference=logits,
        median_relative_difference=float(np.median(saliency)) if len(saliency) else 0.0,
        max_relative_difference=float(saliency.max(initial=0)),
        grad_cam_max_relative_difference=float(grad_cam.max(initial=0)) if smooth["grad_cam"] else None,
        kinks=list(kinks.values()),
    )


def _trials(model: nn.Module, path: Path, images: NDArray[np.uint8]) -> Iterator[_Trial]:
    """Yield the production code on every provider at every batch size, also for another class, and the reference."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    predicted = np.full(len(images), PREDICTED)
    expected = _network_maps(model, images, predicted)
    few = images[:SINGLE_FACES]
    others = (expected.logits[: len(few)].argmax(axis=1) + 1) % expected.logits.shape[1]
    expected_others = _network_maps(model, few, others)
    annotated = _annotated(path)
    for device in available_devices():
        run = _runner(open_session(annotated.SerializeToString(), device)[0])
        with SaliencyModel(path, device) as explainer:
            for size in BATCH_SIZES:
                n = len(images) if size > 2 else len(few)
                found = vars(explainer.explain(images[:n], batch_size=size))
                yield _Trial(explainer.provider, size, predicted[:n], expected.first(n), found, run)
            found = vars(explainer.explain(few, others, batch_size=len(few)))
            yield _Trial(explainer.provider, len(few), others, expected_others, found, run)
    few, targets = images[:REFERENCE_FACES], predicted[:REFERENCE_FACES]
    found, run = _runner(ReferenceEvaluator(onnx.load(path)))(few, targets), _runner(ReferenceEvaluator(annotated))
    yield _Trial(REFERENCE, len(few), targets, expected.first(len(few)), found, run)


def _runner(session: Any) -> Callable[[NDArray[np.uint8], NDArray[np.int64]], Arrays]:
    """Return a function that runs a session of ONNX Runtime or of the reference implementation."""
    nodes = session.get_outputs() if hasattr(session, "get_outputs") else None
    names = session.output_names if nodes is None else [node.name for node in nodes]

    def run(images: NDArray[np.uint8], targets: NDArray[np.int64]) -> Arrays:
        return dict(zip(names, session.run(None, {"faces": images, "target": targets}), strict=True))

    return run


def _network_maps(model: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> NetworkMaps:
    """Explain one face at a time, because PyTorch rounds a face differently in batches of different sizes."""
    return NetworkMaps.joined([maps_of(model, images[face], targets[face]) for face in slices(len(images), 1)])


def _relative(
    found: NDArray[np.float32], expected: NDArray[np.float32], scale: NDArray[np.float32]
) -> NDArray[np.float64]:
    largest = np.abs(found - expected).max(axis=(1, 2)).astype(np.float64)
    relative: NDArray[np.float64] = largest / np.maximum(scale, np.finfo(np.float32).tiny)
    return relative


def _kink(model: nn.Module, path: Path, trial: _Trial, images: NDArray[np.uint8], face: int, row: int) -> Kink:
    """Explain the difference of a face by a kink; raise ModelError if that is not possible."""
    one, start = slice(face, face + 1), face - face % trial.batch_size
    batch = slice(start, min(start + trial.batch_size, len(trial.targets)))
    choices = _choices(trial.run(images[batch], trial.targets[batch])).of(face - start)
    same_side = maps_of(model, images[one], trial.targets[one], choices)
    expected = maps_of(model, images[one], trial.targets[one])
    before, after = (
        float(max(each[0] for each in trial.differences(maps, one).values())) for maps in (expected, same_side)
    )
    gap = float(same_side.gaps[0])
    if not (after <= RTOL and gap <= KINK):
        raise ModelError(
            f"{path.name}: a map of row {row} differs from the PyTorch network's on {trial.engine} by {before:.3g} of "
            f"its scale (limit {RTOL:.3g}), and no kink explains it: it differs by {after:.3g} on the same side of all "
            f"kinks, the farthest of which is {gap:.3g} away (limit {KINK:.3g})"
        )
    return Kink(row, trial.engine, same_side.places[0], gap, before, after)


def _annotated(path: Path) -> Any:
    """Return `saliency.onnx` with further outputs, which show its sides of kinks: see `_choices`."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        added = node.output[0].startswith(PREFIX)
        if node.op_type == "Relu" and not added:
            model.graph.output.append(onnx.ValueInfoProto(name=node.output[0]))
        elif node.op_type == "MaxPool" and added:
            model.graph.output.append(onnx.ValueInfoProto(name=node.output[1]))
    return model


def _choices(outputs: Arrays) -> Choices:
    """Return the sides of kinks from the outputs of an annotated graph."""
    extra = {name: values for name, values in outputs.items() if name not in (*MAPS, "logits", "probabilities")}
    # The places of maxima are computed on the way back, so the last pooling comes first.
    maxima = [values for name, values in extra.items() if name.startswith(PREFIX)][::-1]
    return Choices([values > 0 for name, values in extra.items() if not name.startswith(PREFIX)], maxima)
