"""Infidelity: how well a map predicts the change of the logit when a patch is removed.

After Yeh, Hsieh, Suggala, Inouye and Ravikumar 2019, On the (In)fidelity and Sensitivity of Explanations, definition
2.1 with the square removal of section 2.4 and the optimal scaling of its experiments. There a map is multiplied by the
change of the pixels, which suits gradients; here by the mask, because values are read as contributions of pixels. This
favors maps in units of the logit over gradients, in units of the logit per gray level: the gradient of a linear network
has infidelity 0 by the definition, but not here. Maps with another baseline than the face's mean, which replaces
patches, are at a disadvantage too.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.terminal.progress import Advance
from fer_explain.evaluation.compared_maps import require_maps
from fer_explain.evaluation.metrics.altered_images import altered_logits

STREAM: Final = 1
"""Random stream; other random numbers of the same seed and row number come from other streams."""


def draw_squares(rows: NDArray[np.int64], *, squares: int, side: int, seed: int = 0) -> NDArray[np.bool_]:
    """Draw the patches to remove from each face.

    Parameters
    ----------
    rows : ndarray of int64, shape (N,)
        Row numbers; a face's patches depend only on its row number and the seed.
    squares : int
        Number of patches per face.
    side : int
        Side of a patch, 1..48 pixels. All positions within the image are equally likely.
    seed : int
        Random seed of the positions.

    Returns
    -------
    ndarray of bool, shape (N, squares, 48, 48)
        True where a pixel is removed.

    Raises
    ------
    ConfigError
        If `side` is outside its range.
    """
    if not 1 <= side <= IMAGE_SIZE:
        raise ConfigError(f"expected 1 to {IMAGE_SIZE}, found {side}", parameter="square_side")
    last = IMAGE_SIZE - side + 1
    generators = [np.random.default_rng([seed, row, STREAM]) for row in rows.tolist()]
    corners = np.stack([generator.integers(0, last, (2, squares, 1)) for generator in generators])
    along = np.arange(IMAGE_SIZE)
    within = (corners <= along) & (along < corners + side)
    removed: NDArray[np.bool_] = within[:, 0, :, :, None] & within[:, 1, :, None, :]
    return removed


def logit_drops(
    model: nn.Module,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64],
    removed: NDArray[np.bool_],
    *,
    batch_size: int,
    advance: Advance | None = None,
) -> NDArray[np.float32]:
    """Return the drop of each face's logit when a patch is replaced by the mean gray of the face.

    Parameters
    ----------
    model : torch.nn.Module
        Maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). It runs in evaluation mode; its mode is
        restored.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        Classes.
    removed : ndarray of bool, shape (N, squares, 48, 48)
        Patches.
    batch_size : int
        Images per forward pass.
    advance : callable, optional
        Called with the number of images scored, after each batch.

    Returns
    -------
    ndarray of float32, shape (N, squares)
        In logits; negative if the removal raises the logit.
    """
    faces = images.astype(np.float32)
    grays = faces.mean(axis=(1, 2), keepdims=True)
    squares = removed.shape[1]

    def alter(chunk: NDArray[np.intp]) -> NDArray[np.float32]:
        face, square = np.divmod(chunk, squares + 1)  # square 0 is the whole face
        covered = removed[face, square - 1] & (square > 0)[:, None, None]
        return np.where(covered, grays[face], faces[face])

    n = len(images) * (squares + 1)
    logits = altered_logits(model, n, alter, batch_size=batch_size, advance=advance)
    found = logits[np.arange(n), targets.repeat(squares + 1)].reshape(len(images), -1)
    drops: NDArray[np.float32] = found[:, :1] - found[:, 1:]
    return drops


def infidelity(
    attributions: NDArray[np.float32], removed: NDArray[np.bool_], drops: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Compare the sums of maps over patches with the drops of the logit when the patches are removed.

    Units differ between methods, so each map is first scaled by the best factor of at least 0. The mean squared error
    is relative to the mean squared drop.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    removed : ndarray of bool, shape (N, squares, 48, 48)
        Patches.
    drops : ndarray of float32, shape (N, squares)
        As `logit_drops` returns them.

    Returns
    -------
    ndarray of float64, shape (N,)
        0 if the map predicts each drop exactly, 1 if it predicts nothing; 0 if no removal changes the logit.

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    """
    require_maps(attributions)
    sums = np.einsum("nij,nsij->ns", attributions.astype(np.float64), removed)
    drops = drops.astype(np.float64)
    # A negative factor would make an inverted map, which predicts nothing, look good.
    explained = (sums * drops).sum(axis=1).clip(min=0) ** 2
    possible = (sums**2).sum(axis=1) * (drops**2).sum(axis=1)
    share = np.divide(explained, possible, out=np.zeros_like(possible), where=possible > 0)
    unexplained: NDArray[np.float64] = np.where((drops == 0).all(axis=1), 0.0, np.clip(1 - share, 0, 1))
    return unexplained
