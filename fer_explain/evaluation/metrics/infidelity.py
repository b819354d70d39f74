"""Infidelity: how far a map is from predicting what the removal of a patch does to the logit.

After Yeh, Hsieh, Suggala, Inouye and Ravikumar 2019, On the (In)fidelity and Sensitivity of Explanations, definition
2.1 with the square removal of section 2.4 and the optimal scaling of its experiments. There a map is multiplied by the
change of the pixels, which suits gradients; here by the mask, since a map is read as what its pixels are worth. So maps
in units of the logit are favoured over gradients, which are in units of the logit a gray level: of a linear network the
gradient has an infidelity of 0 by the definition, and has not here. A baseline other than the face's mean, which the
patches become, costs as well.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.terminal.progress import Advance
from fer_explain.evaluation.compared_maps import require_maps
from fer_explain.layers.structure import evaluation_mode
from fer_train.prediction import predict_logits

STREAM: Final = 1
"""Of chance: what else a seed and a row number decide, such as random maps, is drawn from other streams."""


def draw_squares(rows: NDArray[np.int64], *, squares: int, side: int, seed: int = 0) -> NDArray[np.bool_]:
    """Draw the patches to remove from each face.

    Parameters
    ----------
    rows : ndarray of int64, shape (N,)
        Row numbers; a face's patches depend on its row number and the seed alone.
    squares : int
        Patches a face.
    side : int
        Of a patch, 1..48 pixels. Every place within the image is equally likely.
    seed : int
        Of the places.

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
        raise ConfigError(f"square_side: expected 1..{IMAGE_SIZE}, found {side}")
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
    """Return how much each face's logit falls when a patch becomes the mean gray of the face.

    Parameters
    ----------
    model : torch.nn.Module
        float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes); run in evaluation mode, left in its own.
    images : ndarray of uint8, shape (N, 48, 48)
        Faces.
    targets : ndarray of int64, shape (N,)
        Classes.
    removed : ndarray of bool, shape (N, squares, 48, 48)
        The patches.
    batch_size : int
        Images a forward pass.
    advance : callable, optional
        Called with the number of images passed, after each face.

    Returns
    -------
    ndarray of float32, shape (N, squares)
        Logits; below 0 where the removal raises the logit.
    """
    drops = np.empty(removed.shape[:2], np.float32)
    with evaluation_mode(model):
        for i, (image, target) in enumerate(zip(images.astype(np.float32), targets.tolist(), strict=True)):
            altered = np.concatenate([image[None], np.where(removed[i], image.mean(), image)])
            logits = predict_logits(model, altered, batch_size=batch_size)[:, target]
            drops[i] = logits[0] - logits[1:]
            if advance is not None:
                advance(len(logits))
    return drops


def infidelity(
    attributions: NDArray[np.float32], removed: NDArray[np.bool_], drops: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Compare what maps say that patches are worth with what their removal did.

    A patch is worth the sum of the map over it, as one reads a map. Units differ between methods, so each map is first
    scaled as serves it best, by 0 or more, and the mean squared error is given as a share of the mean squared drop.

    Parameters
    ----------
    attributions : ndarray of float32, shape (N, 48, 48)
        Maps.
    removed : ndarray of bool, shape (N, squares, 48, 48)
        The patches.
    drops : ndarray of float32, shape (N, squares)
        As `logit_drops` returns them.

    Returns
    -------
    ndarray of float64, shape (N,)
        0 where the map tells every drop exactly, 1 where it tells nothing; 0 where no removal changes anything.

    Raises
    ------
    ConfigError
        If a map is not finite or not of 48x48 values.
    """
    require_maps(attributions)
    worth = np.einsum("nij,nsij->ns", attributions.astype(np.float64), removed)
    fell = drops.astype(np.float64)
    # A scale below 0 would serve best a map that is upside down, which tells nothing.
    explained = (worth * fell).sum(axis=1).clip(min=0) ** 2
    possible = (worth**2).sum(axis=1) * (fell**2).sum(axis=1)
    share = np.divide(explained, possible, out=np.zeros_like(possible), where=possible > 0)
    unexplained: NDArray[np.float64] = np.where((fell == 0).all(axis=1), 0.0, np.clip(1 - share, 0, 1))
    return unexplained
