"""Randomization of weights layer by layer, and the similarity of maps before and after.

Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim 2018, Sanity Checks for Saliency Maps, section 3.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core.terminal.progress import Advance
from fer_explain.evaluation.compared_maps import Explain
from fer_explain.evaluation.metrics.similarity import spearman, ssim
from fer_explain.layers.structure import output_shapes

MODES: Final = ("cascading", "independent")
"""Randomize all layers from the last down to a stage, or only the layers of a stage."""
MEASURES: Final = {
    "spearman_absolute": "rank correlation, without signs",
    "spearman_signed": "rank correlation, with signs",
    "ssim": "structural similarity, without signs",
}
"""Name of each similarity -> title."""
MOST_STAGES: Final = 10
"""Largest number of stages; the layers of a deep network are divided evenly."""
BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, eq=False)
class Randomization:
    """Similarity of maps to the original ones when weights are randomized.

    Attributes
    ----------
    methods : tuple of str
        Names of M methods.
    stages : tuple of tuple of str
        S groups of module names, from the logits down to the first layer.
    rows : ndarray of int64, shape (N,)
        Row numbers of the faces.
    similarity : mapping of str to ndarray of float64, shape (M, 2, S, N)
        By the names in `MEASURES`; axis 1 in the order of `MODES`.
    """

    methods: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    rows: NDArray[np.int64]
    similarity: Mapping[str, NDArray[np.float64]]


def weight_stages(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Divide the modules that have weights into stages, from the logits down to the first layer.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) to logits (batch, classes).

    Returns
    -------
    tuple of tuple of str
        Dotted names in at most `MOST_STAGES` groups. A normalization belongs to the layer before it.
    """
    modules = {m: name for name, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None}
    layers: list[tuple[str, ...]] = []
    for name in output_shapes(model, modules):
        if layers and isinstance(model.get_submodule(name), BATCH_NORMS):
            layers[-1] += (name,)
        else:
            layers.append((name,))
    layers.reverse()
    split = np.array_split(np.arange(len(layers)), min(MOST_STAGES, len(layers)))
    return tuple(tuple(name for place in group for name in layers[place]) for group in split)


def randomized(model: nn.Module, fresh: nn.Module, names: Sequence[str]) -> nn.Module:
    """Return a copy of a network with the weights of some modules taken from another network.

    Parameters
    ----------
    model : torch.nn.Module
        The network; it is not changed.
    fresh : torch.nn.Module
        The same architecture, newly initialized.
    names : sequence of str
        Dotted names of the modules whose weights and running statistics are replaced.
    """
    copied = copy.deepcopy(model)
    for name in names:
        copied.get_submodule(name).load_state_dict(fresh.get_submodule(name).state_dict())
    return copied


def randomize(
    model: nn.Module,
    fresh: nn.Module,
    methods: Mapping[str, Explain],
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    stages: tuple[tuple[str, ...], ...] | None = None,
    advance: Advance | None = None,
) -> Randomization:
    """Randomize a network's weights stage by stage and compare its maps with the original ones.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes); it is not changed.
    fresh : torch.nn.Module
        The same architecture, newly initialized, which provides the new weights.
    methods : mapping of str to callable
        By method, a function of (model, images, targets, rows) that returns maps.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        Classes, for all weights.
    rows : ndarray of int64, shape (N,)
        Row numbers, which seed random numbers.
    stages : tuple of tuple of str, optional
        Groups of module names, from the logits down; by default those of `weight_stages`.
    advance : callable, optional
        Called with the number of maps after each method and stage.

    Returns
    -------
    Randomization

    Raises
    ------
    ConfigError, ModelError
        If a map is not finite.
    """
    stages = stages or weight_stages(model)
    original = {name: explain(model, images, targets, rows) for name, explain in methods.items()}
    shape = (len(methods), len(MODES), len(stages), len(images))
    similarity = {measure: np.empty(shape) for measure in MEASURES}
    for stage in range(len(stages)):
        downwards = [name for group in stages[: stage + 1] for name in group]
        # In the first stage both modes are the same.
        for mode, names in enumerate((downwards, stages[stage]) if stage else (downwards,)):
            other = randomized(model, fresh, names)
            for m, (name, explain) in enumerate(methods.items()):
                before, after = original[name], explain(other, images, targets, rows)
                similarity["spearman_absolute"][m, mode, stage] = spearman(np.abs(before), np.abs(after))
                similarity["spearman_signed"][m, mode, stage] = spearman(before, after)
                similarity["ssim"][m, mode, stage] = ssim(before, after)
                if advance is not None:
                    advance(len(images))
    for values in similarity.values():
        values[:, 1, 0] = values[:, 0, 0]
    return Randomization(tuple(methods), stages, rows, similarity)
