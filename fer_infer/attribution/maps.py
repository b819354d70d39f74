"""Attribution maps by ONNX Runtime: methods that need only the gradient of `saliency.onnx`, without PyTorch.

The methods, their settings and their values are those of the same names in `fer_explain`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE, ConfigError, ModelError
from fer_infer.attribution.differentiable import SAMPLES, Arrays
from fer_infer.attribution.path_integral import integrated_gradients
from fer_infer.attribution.sampling import smoothgrad
from fer_infer.config import MapConfig
from fer_infer.saliency import SaliencyMaps, SaliencyModel

PASSES_AT_ONCE: Final = 512
"""Number of images that pass through the model together, which bounds memory."""

SIGNED: Final = frozenset({"input-x-gradient", "integrated-gradients"})
"""Methods whose maps have a sign: positive values raise the target's logit."""


@dataclass(frozen=True, eq=False)
class AttributionMaps:
    """Predictions and attribution maps of N faces by one method.

    Attributes
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    targets : ndarray of int64, shape (N,)
        Explained class of each face.
    logits, probabilities : ndarray of float32, shape (N, classes)
        Predictions.
    rows : ndarray of int64, shape (N,)
        Row numbers of the faces.
    deltas : ndarray of float32, shape (N,), or None
        Convergence deltas: the sum of a map minus the difference of logits that it approximates; None for a method
        without a defined sum.
    samples : ndarray of int64, shape (N,), or None
        Number of gradients per map; None for a method that needs one.
    errors : ndarray of float32, shape (N,), or None
        Relative error at which a map was finished: that of its sum, or its standard error.

    Examples
    --------
    >>> from fer_infer import SaliencyModel, attributions_of
    >>> with SaliencyModel("exports/compact", device="cpu") as model:
    ...     maps = attributions_of(model, np.full((1, 48, 48), 127, np.uint8))
    >>> maps.attributions.shape, maps.deltas is None
    ((1, 48, 48), True)
    """

    attributions: NDArray[np.float32]
    targets: NDArray[np.int64]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    rows: NDArray[np.int64]
    deltas: NDArray[np.float32] | None = None
    samples: NDArray[np.int64] | None = None
    errors: NDArray[np.float32] | None = None


def attributions_of(
    model: SaliencyModel,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64] | int | None = None,
    *,
    rows: NDArray[np.int64] | None = None,
    config: MapConfig | None = None,
) -> AttributionMaps:
    """Explain faces.

    Parameters
    ----------
    model : SaliencyModel
        Model with its gradient.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,), or int, optional
        Class to explain; by default, or where it is -1, the predicted class.
    rows : ndarray of int64, shape (N,), optional
        Row numbers, which seed the random numbers of each face; by default 0 to N - 1.
    config : MapConfig, optional
        Method and settings.

    Returns
    -------
    AttributionMaps

    Raises
    ------
    ConfigError
        If the method needs a convolution that the network does not have, or an argument is not as expected.
    ModelError
        If ONNX Runtime fails, or a value is not finite.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> from fer_infer import SaliencyModel, attributions_of
    >>> from fer_infer.config import MapConfig
    >>> faces = read_faces("faces.csv").take(slice(2))
    >>> with SaliencyModel("exports/compact", device="cpu") as model:
    ...     maps = attributions_of(model, faces.images, config=MapConfig(method="integrated-gradients"))
    >>> maps.attributions.shape, bool((maps.errors <= 0.01).all())
    ((2, 48, 48), True)
    """
    config = config or MapConfig()
    rows = np.arange(len(images)) if rows is None else rows
    if rows.shape != (len(images),):
        raise ConfigError(f"expected ({len(images)},), one row number per face, found {rows.shape}", parameter="rows")
    maps = model.explain(images, targets)
    found = _maps_by(config, model, images, maps, rows)
    if not np.isfinite(found["attributions"]).all():
        raise ModelError(f"{model.path}: attributions contain NaN or Inf; check the model's weights")
    arrays: dict[str, Any] = {
        name: values.astype(np.int64 if name == SAMPLES else np.float32) for name, values in found.items()
    }
    return AttributionMaps(
        targets=maps.targets, logits=maps.logits, probabilities=maps.probabilities, rows=rows, **arrays
    )


def _maps_by(
    config: MapConfig, model: SaliencyModel, images: NDArray[np.uint8], maps: SaliencyMaps, rows: NDArray[np.int64]
) -> Arrays:
    """Return the arrays of a method, given the gradients and Grad-CAM of the faces."""
    match config.method:
        case "saliency":
            return {"attributions": np.abs(maps.saliency)}
        case "input-x-gradient":
            return {"attributions": maps.saliency * images}
        case "grad-cam":
            if maps.grad_cam is None:
                raise ConfigError("Grad-CAM needs a convolution; the network has none", parameter="method")
            return {"attributions": maps.grad_cam}
        case "integrated-gradients":
            faces = _Faces(model, images, maps.targets)
            baseline = model.card.standardization["mean"] if config.baseline is None else config.baseline
            return integrated_gradients(faces, _chosen(maps.logits, maps.targets), baseline, config)
        case _:
            return smoothgrad(_Faces(model, images, maps.targets), rows, config)


class _Faces:
    """Faces and their explained logits, as `Differentiable` describes them."""

    batch_size = PASSES_AT_ONCE

    def __init__(self, model: SaliencyModel, images: NDArray[np.uint8], targets: NDArray[np.int64]) -> None:
        self.images = images.astype(np.float32)
        self._model, self._stored, self._targets = model, images, targets

    def uniform_outputs(self, level: np.float32) -> NDArray[np.float32]:
        """See `Differentiable.uniform_outputs`."""
        black = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        outputs: NDArray[np.float32] = self._model.logits(black, offsets=black + level)[0, self._targets]
        return outputs

    def outputs(self, points: NDArray[np.float32], faces: NDArray[np.intp]) -> NDArray[np.float32]:
        """See `Differentiable.outputs`."""
        logits = self._model.logits(self._stored[faces], offsets=points - self.images[faces])
        return _chosen(logits, self._targets[faces])

    def gradients(self, points: NDArray[np.float32], faces: NDArray[np.intp]) -> NDArray[np.float32]:
        """See `Differentiable.gradients`."""
        offsets = points - self.images[faces]
        return self._model.explain(self._stored[faces], self._targets[faces], offsets=offsets).saliency

    def finish(self, faces: int) -> None:
        """See `Differentiable.finish`; progress is counted in batches of predictions."""


def _chosen(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float32]:
    chosen: NDArray[np.float32] = np.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    return chosen
