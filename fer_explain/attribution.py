"""Which pixels a logit depends on: attribution methods, one registry, batched over faces.

Every method explains a logit, not a probability: the softmax lets a class rise because another one falls, and its
gradient vanishes where the network is sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core import IMAGE_SIZE, ConfigError, Faces, ModelError, read_faces
from fer_core.output import staged
from fer_core.progress import Advance, progress
from fer_explain.layers import device_of, evaluation_mode
from fer_explain.proof import load_proven
from fer_explain.rows import take_rows
from fer_train.prediction import predict_logits

BATCH_SIZE: Final = 64
"""Faces explained together: enough to keep two cores or a GPU busy with the course CNN."""

BatchFunction = Callable[[nn.Module, Tensor, Tensor], Mapping[str, Tensor]]
"""(model, images float32 (B, 1, 48, 48) with gradient, targets int64 (B,)) to `attributions` (B, 1, 48, 48) and
whatever else the method tells of each face, first axis B."""


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    Attributes
    ----------
    name : str
        As `--method` takes it.
    paper : str
        Authors, year, equation.
    needs : str
        What the method asks of the network.
    sign : str
        What the values mean.
    signed : bool
        Whether negative values can occur, and with them a diverging colour scale.
    function : callable
        Explains one batch.
    """

    name: str
    paper: str
    needs: str
    sign: str
    signed: bool
    function: BatchFunction


def _saliency(model: nn.Module, images: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
    from captum.attr import Saliency

    return {"attributions": Saliency(model).attribute(images, target=targets, abs=True)}


METHODS: Final[Mapping[str, Method]] = {
    "saliency": Method(
        name="saliency",
        paper="Simonyan, Vedaldi and Zisserman 2013, Deep Inside Convolutional Networks, section 3",
        needs="a gradient",
        sign="absolute: how much the target's logit changes, up or down, when a pixel changes by one gray level",
        signed=False,
        function=_saliency,
    ),
}


def find_method(name: str) -> Method:
    """Return a method of the registry; raise ConfigError with those that there are where it is none."""
    if name not in METHODS:
        raise ConfigError(f"method: expected one of {', '.join(METHODS)}, found {name!r}")
    return METHODS[name]


def saliency(
    model: nn.Module,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    *,
    batch_size: int = BATCH_SIZE,
) -> NDArray[np.float32]:
    """Take the gradient of a logit with respect to each pixel, without its sign.

    Simonyan, Vedaldi and Zisserman 2013, section 3: ``|d logit[target] / d pixel|``, through Captum's `Saliency`
    with its default ``abs=True``. The values say how strongly a pixel matters, not whether it speaks for or
    against the class; 0 means that a small change of the pixel alone changes nothing.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It is explained in evaluation mode and
        left in its own, without hooks, and its parameters gather no gradient.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        The class of each face whose logit is explained.
    batch_size : int
        Faces at once; it changes speed and memory, not the result.

    Returns
    -------
    ndarray of float32, shape (N, 48, 48)
        At least 0, in logits per gray level.

    Raises
    ------
    ConfigError
        If `targets` are not one class a face, or `batch_size` is below 1.
    ModelError
        If a gradient is not finite.
    """
    return attributions_of(model, METHODS["saliency"], images, targets, batch_size=batch_size)["attributions"]


def attributions_of(
    model: nn.Module,
    method: Method,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    *,
    batch_size: int = BATCH_SIZE,
    advance: Advance | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Explain faces by one method, batch after batch.

    Parameters
    ----------
    model, images, targets, batch_size
        As for `saliency`.
    method : Method
        Of the registry.
    advance : callable, optional
        Called with the number of faces after each batch.

    Returns
    -------
    dict of ndarray of float32
        `attributions`, shape (N, 48, 48), and the method's own extras, first axis N.

    Raises
    ------
    ConfigError, ModelError
        As for `saliency`.
    """
    _require_targets(model, images, targets)
    parts: dict[str, list[NDArray[np.float32]]] = {"attributions": []}
    for batch, start in _batches(model, images, batch_size):
        target = torch.from_numpy(targets[start : start + len(batch)]).to(batch.device)
        with evaluation_mode(model), torch.enable_grad():
            found = method.function(model, batch.requires_grad_(), target)
        for name, values in found.items():
            parts.setdefault(name, []).append(values.detach().float().cpu().numpy())
        if not np.isfinite(parts["attributions"][-1]).all():
            raise ModelError(f"{method.name}: found values that are not finite; are the weights?")
        if advance is not None:
            advance(len(batch))
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}
    joined["attributions"] = joined.get("attributions", np.empty(0, np.float32)).reshape(images.shape)
    return joined


def resolve_targets(
    target: str, logits: NDArray[np.float32], faces: Faces, class_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """Turn ``predicted``, ``true`` or the name of a class into one class a face.

    Parameters
    ----------
    target : str
        Which logit is explained.
    logits : ndarray of float32, shape (N, classes)
        Of `faces`.
    faces : Faces
        N of them; labelled, if `target` is ``true``.
    class_names : tuple of str
        In the order of the logits.

    Returns
    -------
    ndarray of int64, shape (N,)

    Raises
    ------
    ConfigError
        If there is no such class.
    DataError
        If true classes are asked for and the faces have none.
    """
    if target == "predicted":
        predicted: NDArray[np.int64] = logits.argmax(axis=1).astype(np.int64)
        return predicted
    if target == "true":
        return faces.require_labels()
    if target not in class_names:
        raise ConfigError(f"target: expected predicted, true or one of {', '.join(class_names)}, found {target!r}")
    return np.full(len(faces), class_names.index(target), np.int64)


def attribute(
    data: str | Path,
    model: str | Path,
    method: str,
    output: str | Path,
    *,
    target: str = "predicted",
    rows: tuple[int, ...] | None = None,
    usage: str | None = None,
    batch_size: int = BATCH_SIZE,
    force: bool = False,
) -> Path:
    """Explain the faces of a file and keep the maps as numbers.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run.
    method : str
        Name in `METHODS`.
    output : str or Path
        The `.npz` to write: `attributions` float32 (N, 48, 48), `targets` int64 (N,), `logits` float32
        (N, classes), `rows` int64 (N,), the method's own extras, and as texts `method` and `weights_sha256`.
    target : str
        ``predicted``, ``true``, or the name of a class.
    rows : tuple of int, optional
        Row numbers to explain; all without it.
    usage : str, optional
        The split to explain.
    batch_size : int
        Faces at once.
    force : bool
        Replace an existing output.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    FerError
        If the data, the model, a setting or the output is not what it must be; nothing is then written.
    """
    chosen = find_method(method)
    with staged(output, force=force) as stage:
        proven = load_proven(model)
        faces = read_faces(data, usage)
        faces = faces if rows is None else take_rows(faces, rows)
        logits = predict_logits(proven.network, faces.images)
        targets = resolve_targets(target, logits, faces, proven.card.labels)
        with progress(chosen.name, len(faces)) as advance:
            found: dict[str, Any] = dict(
                attributions_of(proven.network, chosen, faces.images, targets, batch_size=batch_size, advance=advance)
            )
        found |= {"targets": targets, "logits": logits, "rows": faces.rows}
        found |= {"method": np.array(chosen.name), "weights_sha256": np.array(proven.card.weights_sha256)}
        # Through an open file: given a path, NumPy would append a suffix of its own.
        with stage.open("wb") as file:
            np.savez(file, **found)
    return Path(output)


def _batches(model: nn.Module, images: NDArray[np.uint8], batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield float32 (B, 1, 48, 48) on the network's device, and the position of its first face."""
    if batch_size < 1:
        raise ConfigError(f"batch_size: expected at least 1, found {batch_size}")
    device = device_of(model)
    for start in range(0, len(images), batch_size):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size]))
        yield pixels.to(device).float().unsqueeze(1), start


def _count_classes(model: nn.Module) -> int:
    with evaluation_mode(model), torch.no_grad():
        return int(model(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, device=device_of(model))).shape[1])


def _require_targets(model: nn.Module, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> None:
    if targets.shape != (len(images),) or targets.dtype != np.int64:
        raise ConfigError(
            f"targets: expected int64 ({len(images)},), one class a face, found {targets.dtype} {targets.shape}"
        )
    classes = _count_classes(model)
    if len(targets) and not 0 <= targets.min() <= targets.max() < classes:
        raise ConfigError(f"targets: expected classes in 0..{classes - 1}, found {targets.min()}..{targets.max()}")
