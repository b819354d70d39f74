"""Attribution maps in memory: the Python counterpart of `fer-explain attribute`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, Faces
from fer_core.io.crop import ALIGNED
from fer_core.io.in_memory import FacesLike, as_faces
from fer_core.outputs.figures import default_style
from fer_core.outputs.map_colors import overlay
from fer_core.outputs.staging import staged
from fer_explain.attribution.convergence import deltas_missed, error_text, median_of, unfinished_maps
from fer_explain.attribution.explainer import Explainer
from fer_explain.attribution.masks import masked_face, salient_mask
from fer_explain.attribution.registry import METHODS, find_method
from fer_explain.config import MEMORY_MB, AttributionConfig
from fer_explain.plots import DPI, figure_html
from fer_explain.verification import VerifiedModel, load_verified
from fer_infer.attribution.differentiable import DELTAS, ERRORS, SAMPLES
from fer_infer.photos.crops import crop_for
from fer_train.prediction import softmax

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN: Final = 4
"""Number of faces that a notebook shows."""
SALIENT_SHARE: Final = 0.2
"""Fraction of the pixels that the masked face keeps."""


@dataclass(frozen=True, eq=False)
class Attributions:
    """Attribution maps of N faces by one method.

    An integer index gives one map; a slice, a mask or a list of positions gives the `Attributions` of these faces.
    Notebooks show the first faces with their maps.

    Attributes
    ----------
    faces : Faces
        The explained faces.
    maps : ndarray of float32, shape (N, 48, 48)
        Attribution maps.
    targets : ndarray of int64, shape (N,)
        Class of each face whose output is explained.
    logits : ndarray of float32, shape (N, classes)
        Logits of the faces.
    classes : tuple of str
        Names of the classes.
    temperature : float
        Temperature of the model card, by which the logits are divided before the softmax.
    deltas : ndarray of float32, shape (N,), or None
        Convergence deltas; None for a method without a defined sum.
    samples : ndarray of int64, shape (N,), or None
        Number of gradients that each map averages; None for a method without samples.
    errors : ndarray of float32, shape (N,), or None
        Relative error of each map, see `fer_explain.attribution.attributions_of`; None for a method without samples.
    texts : mapping of str to str
        How the maps were made: `method`, `target`, `settings` (JSON), `cautions`, `weights_sha256`, and `faces`, how
        the faces were taken from images.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> from fer_explain import explain
    >>> maps = explain("exports/compact", read_faces("faces.csv").take(slice(8)))
    >>> len(maps), maps[0].shape, maps[:5].predictions.shape
    (8, (48, 48), (5,))
    >>> maps.plot(3).savefig("face.png")
    >>> maps.save("attributions.npz")
    """

    faces: Faces
    maps: NDArray[np.float32]
    targets: NDArray[np.int64]
    logits: NDArray[np.float32]
    classes: tuple[str, ...]
    temperature: float
    deltas: NDArray[np.float32] | None
    samples: NDArray[np.int64] | None
    errors: NDArray[np.float32] | None
    texts: Mapping[str, Any]

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.texts["method"])

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row numbers of the faces, int64 (N,)."""
        return self.faces.rows

    @property
    def predictions(self) -> NDArray[np.str_]:
        """Names of the predicted classes, str (N,)."""
        names: NDArray[np.str_] = np.array(self.classes)[self.logits.argmax(axis=1)]
        return names

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Calibrated probabilities of the classes, float32 (N, classes)."""
        return softmax(self.logits, self.temperature)

    @property
    def missed(self) -> float:
        """Median of the relative convergence deltas; NaN for a method without a defined sum."""
        return median_of(deltas_missed(self._arrays()))

    @property
    def unfinished(self) -> NDArray[np.bool_]:
        """Maps whose error exceeds the setting at which the method stops, bool (N,)."""
        settings = AttributionConfig(**json.loads(self.texts["settings"]))
        return unfinished_maps(METHODS[self.method], settings, self._arrays())

    def to_numpy(self) -> NDArray[np.float32]:
        """Return the maps, float32 (N, 48, 48)."""
        return self.maps

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the same `.npz` file as `fer-explain attribute`, whole or not at all.

        Parameters
        ----------
        path : str or Path
            File to write.
        force : bool
            Replace an existing file.
        """
        with staged(path, force=force, endings=(".npz",)) as stage, open(stage, "wb") as output:
            np.savez(output, **self._arrays(), **self.texts)

    @default_style()
    def plot(self, index: int = 0) -> Figure:
        """Draw a face, its attribution map, and the face reduced to its most salient pixels.

        Parameters
        ----------
        index : int
            Position of the face, from 0; negative positions count from the end.
        """
        from matplotlib.figure import Figure

        face = self._position(index)
        figure = Figure(figsize=(7.2, 2.9), dpi=DPI, layout="constrained", facecolor="white")
        titles = ("face", self.method, f"most salient {SALIENT_SHARE:.0%}")
        for axes, picture, title in zip(figure.subplots(1, 3), self._pictures(face), titles, strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(title, fontsize=10)
            axes.axis("off")
        figure.suptitle(self._caption(face), fontsize=10)
        return figure

    def __len__(self) -> int:
        return len(self.maps)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Attributions: ...

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> NDArray[np.float32] | Attributions:
        if isinstance(index, int | np.integer):
            attributions: NDArray[np.float32] = self.maps[self._position(index)]
            return attributions
        chosen: Any = index if isinstance(index, slice) else np.asarray(index) if len(index) else np.empty(0, np.intp)
        of_method: dict[str, Any] = {
            name: None if values is None else values[chosen] for name, values in self._of_method().items()
        }
        return replace(
            self,
            faces=self.faces.take(index),
            maps=self.maps[chosen],
            targets=self.targets[chosen],
            logits=self.logits[chosen],
            **of_method,
        )

    def __repr__(self) -> str:
        faces = "1 face" if len(self) == 1 else f"{len(self):,} faces"
        return f"Attributions({faces}, {self.method}, target {self.texts['target']!r})"

    def _repr_html_(self) -> str:
        """Show the first faces in a notebook."""
        shown = range(min(SHOWN, len(self)))
        pictures = "".join(figure_html(self._pictures(face), self._caption(face)) for face in shown)
        more = f"; the first {SHOWN} are shown" if len(self) > SHOWN else ""
        return f"<div><p>{escape(repr(self))}{more}</p>{pictures}</div>"

    def _pictures(self, face: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        image, attributions = self.faces.images[face], self.maps[face]
        colored = overlay(image, attributions, signed=METHODS[self.method].signed)
        return image, colored, masked_face(image, salient_mask(attributions, SALIENT_SHARE))

    def _caption(self, face: int) -> str:
        predicted, target = self.classes[int(self.logits[face].argmax())], self.classes[self.targets[face]]
        name = f"row {self.rows[face]}" if self.faces.ids is None else str(self.faces.ids[face])
        caption = f"{name}: predicted {predicted} ({self.probabilities[face].max():.0%})"
        if target != predicted:
            caption = f"{caption}, explained {target}"
        if self.errors is None or not self.unfinished[face]:
            return caption
        return f"{caption}; {error_text(METHODS[self.method], float(self.errors[face]))}"

    def _position(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected a position below {len(self)}, found {index}")
        return index % len(self)

    def _of_method(self) -> dict[str, Any]:
        return {DELTAS: self.deltas, SAMPLES: self.samples, ERRORS: self.errors}

    def _arrays(self) -> dict[str, Any]:
        return {
            "attributions": self.maps,
            **{name: values for name, values in self._of_method().items() if values is not None},
            "targets": self.targets,
            "logits": self.logits,
            "rows": self.rows,
        }


def explain(
    model: str | Path | VerifiedModel,
    data: FacesLike,
    method: str = "saliency",
    *,
    faces: str = ALIGNED,
    target: str = "predicted",
    memory_mb: float = MEMORY_MB,
    **settings: Any,
) -> Attributions:
    """Compute the attribution maps of faces in memory.

    Parameters
    ----------
    model : str, Path or VerifiedModel
        An exports folder or a run, or one that `load_verified` has loaded.
    data : path, Faces, ndarray, image, sequence of images or DataFrame
        Faces, as `fer_core.as_faces` takes them.
    method : str
        Name in `fer_explain.METHODS`.
    faces : {"aligned", "detect", "whole"}
        How to take faces from images, see `fer_infer.photos.crops.crop_for`.
    target : str
        Class whose output is explained: ``predicted``, ``true``, or the name of a class.
    memory_mb : float
        Memory limit of the passes through the network, in MiB; it affects speed, not the results.
    **settings
        Settings of `AttributionConfig` that the method uses, e.g. ``samples=64``.

    Returns
    -------
    Attributions

    Raises
    ------
    FerError
        If the model, the data or a setting is not as expected, or the method does not suit the network.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> faces = read_faces("faces.csv").take(slice(8))
    >>> maps = explain("exports/compact", faces, method="integrated-gradients", samples=8)
    >>> maps.to_numpy().shape
    (8, 48, 48)
    """
    chosen, crop = find_method(method), crop_for(faces)
    chosen.require_names(settings)
    if "temperature" in settings:
        raise ConfigError("comes from the model card and cannot be set", parameter="temperature")
    verified = model if isinstance(model, VerifiedModel) else load_verified(model)
    explainer = Explainer.prepare(verified, chosen, target, AttributionConfig(**settings), memory_mb)
    given = as_faces(data, roles=("label", "id") if target == "true" else ("id",), crop=crop)
    arrays = explainer.arrays(given)
    return Attributions(
        faces=given,
        maps=arrays["attributions"],
        targets=arrays["targets"],
        logits=arrays["logits"],
        classes=verified.card.labels,
        temperature=verified.temperature,
        deltas=arrays.get(DELTAS),
        samples=arrays.get(SAMPLES),
        errors=arrays.get(ERRORS),
        texts={**explainer.texts(), "faces": faces},
    )
