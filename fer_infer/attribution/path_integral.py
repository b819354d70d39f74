"""Integrated gradients, with as many nodes of the path as completeness requires."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fer_infer.attribution.differentiable import DELTAS, ERRORS, SAMPLES, Arrays, Differentiable
from fer_infer.config import SamplingConfig
from fer_infer.runtime.runners import slices

PANELS: Final = 8
"""Number of panels that the path is first divided into. They are shorter toward the baseline, where the gradient of a
ReLU network changes most."""
NODES: Final = 2
"""Gauss-Legendre nodes per panel."""


def integrated_gradients(
    model: Differentiable, face_outputs: NDArray[np.float32], baseline: float, config: SamplingConfig
) -> Arrays:
    """Integrate the gradient along the straight path from the baseline: Sundararajan, Taly and Yan 2017, equation 1.

    With a fixed number of samples, the integral is a Gauss-Legendre sum over the whole path, as in Captum. Otherwise
    the path is divided into panels with `NODES` nodes each. The exact values sum to the difference between the outputs
    for face and baseline (completeness, ibid., proposition 1), and those of a panel to the difference between its ends.
    A face is finished when its sum is within `tolerance` of the difference. For the others, the panels that make up
    half of the absolute errors are bisected, until the face is finished or has used `max_samples` gradients.

    Parameters
    ----------
    model : Differentiable
        Faces and model.
    face_outputs : ndarray of float32, shape (N,)
        Explained outputs of the faces.
    baseline : float
        Gray level of the baseline image.
    config : SamplingConfig
        Settings.
    """
    path = _Path(model, np.float32(baseline), face_outputs.astype(np.float64))
    n = len(face_outputs)
    difference = path.face_outputs - path.baseline_outputs
    if config.samples is not None:
        panels = path.divided(np.array([0.0, 1.0]), config.samples)
        samples = np.full(n, config.samples)
        model.finish(n)
    else:
        panels = path.divided(np.linspace(0, 1, PANELS + 1) ** 2, NODES)
        panels, samples = _refined(path, panels, difference, config)
    attributions = panels.sums(panels.maps.astype(np.float64), n)
    deltas = attributions.sum(axis=(1, 2)) - difference
    return {"attributions": attributions, DELTAS: deltas, SAMPLES: samples, ERRORS: _relative(deltas, difference)}


@dataclass(frozen=True, eq=False)
class _Panels:
    """P panels of the paths of several faces.

    Attributes
    ----------
    faces : ndarray of int64, shape (P,)
        Face of each panel.
    starts, ends : ndarray of float64, shape (P,)
        Positions between the baseline, 0, and the face, 1.
    start_outputs, end_outputs : ndarray of float64, shape (P,)
        Explained outputs at these positions.
    maps : ndarray of float32, shape (P, 48, 48)
        Integrals over the panels.
    """

    faces: NDArray[np.intp]
    starts: NDArray[np.float64]
    ends: NDArray[np.float64]
    start_outputs: NDArray[np.float64]
    end_outputs: NDArray[np.float64]
    maps: NDArray[np.float32]

    @property
    def deltas(self) -> NDArray[np.float64]:
        """Sum of each integral minus the difference of outputs."""
        sums: NDArray[np.float64] = self.maps.sum(axis=(1, 2), dtype=np.float64)
        return sums - (self.end_outputs - self.start_outputs)

    def sums(self, values: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        """Sum values (P, ...) over the panels of each of n faces."""
        total = np.zeros((n, *values.shape[1:]))
        np.add.at(total, self.faces, values)
        return total

    def largest_errors(self, most: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which panels make up half of the absolute errors of each face, at most `most` (N,)."""
        errors = np.abs(self.deltas)
        largest = np.zeros(len(self.faces), np.bool_)
        for face in np.flatnonzero(most):
            own = np.flatnonzero(self.faces == face)
            own = own[np.argsort(-errors[own], kind="stable")]
            total = np.cumsum(errors[own])
            count = 1 + int(np.searchsorted(total, total[-1] / 2))
            largest[own[: min(count, int(most[face]))]] = True
        return largest

    def where(self, chosen: NDArray[np.bool_]) -> _Panels:
        """Return some of the panels."""
        return _Panels(*(getattr(self, entry.name)[chosen] for entry in fields(self)))

    def joined(self, other: _Panels) -> _Panels:
        """Return these panels and others."""
        names = [entry.name for entry in fields(self)]
        return _Panels(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


class _Path:
    """The straight paths from the baseline to each of N faces."""

    def __init__(self, model: Differentiable, baseline: np.float32, face_outputs: NDArray[np.float64]) -> None:
        self.face_outputs = face_outputs
        self._model, self._baseline = model, baseline
        self._differences = model.images - baseline
        self.baseline_outputs = model.uniform_outputs(baseline).astype(np.float64)

    def divided(self, edges: NDArray[np.float64], nodes: int) -> _Panels:
        """Divide the path of each face at the same positions."""
        n, count = len(self.face_outputs), len(edges) - 1
        faces = np.arange(n).repeat(count)
        starts, ends = np.tile(edges[:-1], n), np.tile(edges[1:], n)
        inner = self.outputs(np.arange(n).repeat(count - 1), np.tile(edges[1:-1], n)).reshape(n, count - 1)
        outputs = np.concatenate([self.baseline_outputs[:, None], inner, self.face_outputs[:, None]], axis=1)
        maps = self.integrals(faces, starts, ends, nodes)
        return _Panels(faces, starts, ends, outputs[:, :-1].ravel(), outputs[:, 1:].ravel(), maps)

    def bisected(self, panels: _Panels, chosen: NDArray[np.bool_]) -> _Panels:
        """Replace the chosen panels by their halves."""
        split = panels.where(chosen)
        middles = (split.starts + split.ends) / 2
        outputs = self.outputs(split.faces, middles)
        faces = np.tile(split.faces, 2)
        starts, ends = np.concatenate([split.starts, middles]), np.concatenate([middles, split.ends])
        halves = _Panels(
            faces,
            starts,
            ends,
            np.concatenate([split.start_outputs, outputs]),
            np.concatenate([outputs, split.end_outputs]),
            self.integrals(faces, starts, ends, NODES),
        )
        return panels.where(~chosen).joined(halves)

    def outputs(self, faces: NDArray[np.intp], places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the explained outputs at positions of the paths of faces, (n,)."""
        found = np.zeros(len(faces))
        for batch in slices(len(faces), self._model.batch_size):
            found[batch] = self._model.outputs(self._points(faces[batch], places[batch]), faces[batch])
        return found

    def integrals(
        self, faces: NDArray[np.intp], starts: NDArray[np.float64], ends: NDArray[np.float64], nodes: int
    ) -> NDArray[np.float32]:
        """Return Gauss-Legendre sums (P, 48, 48) over panels, in full batches."""
        positions, weights = gauss_legendre(nodes)
        places = (starts[:, None] + (ends - starts)[:, None] * positions).ravel()
        scaled = ((ends - starts)[:, None] * weights).ravel().astype(np.float32)
        panels = np.arange(len(faces)).repeat(nodes)
        total = np.zeros((len(faces), *self._differences.shape[1:]), np.float32)
        for batch in slices(len(places), self._model.batch_size):
            of = faces[panels[batch]]
            gradients = self._model.gradients(self._points(of, places[batch]), of)
            np.add.at(total, panels[batch], scaled[batch, None, None] * gradients)
        integrals: NDArray[np.float32] = total * self._differences[faces]
        return integrals

    def finish(self, faces: int) -> None:
        """Report complete faces."""
        self._model.finish(faces)

    def _points(self, faces: NDArray[np.intp], places: NDArray[np.float64]) -> NDArray[np.float32]:
        along = places.astype(np.float32)[:, None, None]
        points: NDArray[np.float32] = self._baseline + along * self._differences[faces]
        return points


def _refined(
    path: _Path, panels: _Panels, difference: NDArray[np.float64], config: SamplingConfig
) -> tuple[_Panels, NDArray[np.int64]]:
    """Bisect panels until each face is finished or has used all its samples; return also the samples used, (N,)."""
    n = len(difference)
    samples = np.bincount(panels.faces, minlength=n) * NODES
    going = np.ones(n, np.bool_)
    while True:
        splits = (config.max_samples - samples).clip(0) // (2 * NODES)
        errors = _relative(panels.sums(panels.deltas, n), difference)
        still = going & (splits > 0) & ~(errors <= config.tolerance)
        path.finish(int((going & ~still).sum()))
        if not still.any():
            return panels, samples
        going = still
        chosen = panels.largest_errors(splits * going)
        samples = samples + 2 * NODES * np.bincount(panels.faces[chosen], minlength=n)
        panels = path.bisected(panels, chosen)


def _relative(deltas: NDArray[np.float64], difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``|delta / difference|``, (N,); infinite if only the difference is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deltas == 0, 0.0, np.abs(deltas / difference))


def gauss_legendre(nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights on 0..1, float64 (nodes,), exact for polynomials of degree up to 2 nodes - 1."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return (1 + places) / 2, weights / 2
