"""Integrated gradients, with as many nodes of the path as completeness requires."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer_explain.attribution.methods.batch import DELTAS, ERRORS, SAMPLES, Batch, MethodOutput

PANELS: Final = 8
"""Number of panels that the path is first divided into. They are shorter toward the baseline, where the gradient of a
ReLU network changes most."""
NODES: Final = 2
"""Gauss-Legendre nodes per panel."""


def integrated_gradients(batch: Batch) -> MethodOutput:
    """Integrate the gradient along the straight path from the baseline: Sundararajan, Taly and Yan 2017, equation 1.

    With a fixed number of samples, the integral is a Gauss-Legendre sum over the whole path, as in Captum. Otherwise
    the path is divided into panels with `NODES` nodes each. The exact values sum to the difference between the outputs
    for face and baseline (completeness, ibid., proposition 1), and those of a panel to the difference between its ends.
    A face is finished when its sum is within `tolerance` of the difference. For the others, the panels that make up
    half of the absolute errors are bisected, until the face is finished or has used `max_samples` gradients.
    """
    with torch.no_grad():
        blank = torch.full_like(batch.images[:1], batch.baseline)
        baseline_outputs = batch.model(blank)[0, batch.targets].double()
    difference = batch.face_outputs.double() - baseline_outputs
    fixed = batch.config.samples
    if fixed is not None:
        panels = _first_panels(batch, baseline_outputs, np.array([0.0, 1.0]), fixed)
        samples = torch.full_like(batch.targets, fixed)
        batch.finish(len(samples))
    else:
        panels = _first_panels(batch, baseline_outputs, np.linspace(0, 1, PANELS + 1) ** 2, NODES)
        panels, samples = _refined(batch, panels, difference)
    attributions = panels.sums(panels.maps.double(), len(samples))
    deltas = attributions.sum((1, 2, 3)) - difference
    errors = _relative(deltas, difference)
    return {"attributions": attributions, DELTAS: deltas, SAMPLES: samples, ERRORS: errors}


class _Panels(NamedTuple):
    """P panels of the paths of several faces.

    Attributes
    ----------
    faces : Tensor
        int64 (P,).
    starts, ends : Tensor
        Positions between the baseline, 0, and the face, 1, float64 (P,).
    start_outputs, end_outputs : Tensor
        Explained outputs at these positions, float64 (P,).
    maps : Tensor
        Integrals over the panels, float32 (P, 1, 48, 48).
    """

    faces: Tensor
    starts: Tensor
    ends: Tensor
    start_outputs: Tensor
    end_outputs: Tensor
    maps: Tensor

    @property
    def deltas(self) -> Tensor:
        """Sum of each integral minus the difference of outputs, float64 (P,)."""
        return self.maps.sum((1, 2, 3), dtype=torch.float64) - (self.end_outputs - self.start_outputs)

    def sums(self, values: Tensor, n: int) -> Tensor:
        """Sum values (P, ...) over the panels of each of n faces."""
        return values.new_zeros((n, *values.shape[1:])).index_add_(0, self.faces, values)

    def largest_errors(self, most: Tensor) -> Tensor:
        """Return which panels make up half of the absolute errors of each face, at most `most` (n,); bool (P,)."""
        faces, errors = self.faces.cpu().numpy(), self.deltas.abs().cpu().numpy()
        largest = np.zeros(len(faces), np.bool_)
        for face in torch.nonzero(most)[:, 0].tolist():
            own = np.flatnonzero(faces == face)
            own = own[np.argsort(-errors[own], kind="stable")]
            total = np.cumsum(errors[own])
            count = 1 + int(np.searchsorted(total, total[-1] / 2))
            largest[own[: min(count, int(most[face]))]] = True
        return torch.from_numpy(largest).to(self.faces.device)


def _first_panels(batch: Batch, baseline_outputs: Tensor, edges: NDArray[np.float64], nodes: int) -> _Panels:
    """Divide the path of each face at the same positions."""
    n, count = len(batch.images), len(edges) - 1
    places = torch.from_numpy(edges).to(batch.images.device).expand(n, -1)
    faces = torch.arange(n, device=places.device)[:, None].expand(n, count)
    inner = _outputs(batch, faces[:, 1:].flatten(), places[:, 1:-1].flatten()).view(n, -1)
    outputs = torch.cat([baseline_outputs[:, None], inner, batch.face_outputs.double()[:, None]], dim=1)
    ends = (places[:, :-1].flatten(), places[:, 1:].flatten())
    maps = _integrals(batch, faces.flatten(), *ends, nodes)
    return _Panels(faces.flatten(), *ends, outputs[:, :-1].flatten(), outputs[:, 1:].flatten(), maps)


def _refined(batch: Batch, panels: _Panels, difference: Tensor) -> tuple[_Panels, Tensor]:
    """Bisect panels until each face is finished or has used all its samples; return also the samples used, (B,)."""
    samples = torch.bincount(panels.faces, minlength=len(difference)) * NODES
    going = torch.ones_like(samples, dtype=torch.bool)
    while True:
        splits = (batch.config.max_samples - samples).clamp(min=0) // (2 * NODES)
        errors = _relative(panels.sums(panels.deltas, len(difference)), difference)
        still = going & (splits > 0) & ~(errors <= batch.config.tolerance)
        batch.finish(int((going & ~still).sum()))
        if not still.any():
            return panels, samples
        going = still
        chosen = panels.largest_errors(splits * going)
        samples += 2 * NODES * torch.bincount(panels.faces[chosen], minlength=len(samples))
        panels = _bisected(batch, panels, chosen)


def _bisected(batch: Batch, panels: _Panels, chosen: Tensor) -> _Panels:
    """Replace the chosen panels by their halves."""
    kept, split = _Panels(*(each[~chosen] for each in panels)), _Panels(*(each[chosen] for each in panels))
    middles = (split.starts + split.ends) / 2
    outputs = _outputs(batch, split.faces, middles)
    faces = split.faces.repeat(2)
    starts, ends = torch.cat([split.starts, middles]), torch.cat([middles, split.ends])
    halves = _Panels(
        faces,
        starts,
        ends,
        torch.cat([split.start_outputs, outputs]),
        torch.cat([outputs, split.end_outputs]),
        _integrals(batch, faces, starts, ends, NODES),
    )
    return _Panels(*map(torch.cat, zip(kept, halves, strict=True)))


def _integrals(batch: Batch, faces: Tensor, starts: Tensor, ends: Tensor, nodes: int) -> Tensor:
    """Return Gauss-Legendre sums (P, 1, 48, 48) over panels, in full batches."""
    positions, weights = (torch.from_numpy(each).to(starts) for each in gauss_legendre(nodes))
    places = (starts[:, None] + (ends - starts)[:, None] * positions).flatten()
    scaled = ((ends - starts)[:, None] * weights).flatten().to(batch.images.dtype)[:, None, None, None]
    panels = torch.arange(len(faces), device=faces.device).repeat_interleave(nodes)
    total = batch.images.new_zeros((len(faces), *batch.images.shape[1:]))
    for chunk in torch.split(torch.arange(len(places), device=faces.device), batch.batch_size):
        of = faces[panels[chunk]]
        gradients = batch.gradients(_points(batch, of, places[chunk]), of)
        total.index_add_(0, panels[chunk], scaled[chunk] * gradients)
    return total * (batch.images.detach()[faces] - batch.baseline)


@torch.no_grad()
def _outputs(batch: Batch, faces: Tensor, places: Tensor) -> Tensor:
    """Return the explained outputs at positions of the paths of faces, float64 (n,)."""
    chunks = zip(*(torch.split(each, batch.batch_size) for each in (faces, places)), strict=True)
    parts = [batch.outputs(_points(batch, some, at), some) for some, at in chunks if len(some)]
    return torch.cat(parts).double() if parts else places


def _points(batch: Batch, faces: Tensor, places: Tensor) -> Tensor:
    """Return images (n, 1, 48, 48) at positions of the paths of faces."""
    along = places.to(batch.images.dtype)[:, None, None, None]
    return batch.baseline + along * (batch.images.detach()[faces] - batch.baseline)


def _relative(deltas: Tensor, difference: Tensor) -> Tensor:
    """Return ``|delta / difference|``, float64 (B,); infinite if only the difference is zero."""
    return torch.where(deltas == 0, 0.0, (deltas / difference).abs())


def gauss_legendre(nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights on 0..1, float64 (nodes,), exact for polynomials of degree up to 2 nodes - 1."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return (1 + places) / 2, weights / 2
