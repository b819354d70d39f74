"""Near duplicates: pairs of faces that show the same picture shifted, relit, compressed or mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fer_core import IMAGE_SIZE, ConfigError
from fer_core.cores import available_cores
from fer_core.terminal.progress import progress

SIMILARITY: Final = 0.95
"""Smallest correlation of near duplicates; `docs/concepts/honesty-protocol.md` describes how it was chosen."""

MAX_SHIFT: Final = 2
"""Largest shift between the two pictures along each axis, in pixels."""

FREQUENCIES: Final = 8
"""Number of frequencies per axis of the cosine transform that proposes pairs."""

PROPOSED: Final = 0.75
"""Smallest correlation of the low frequencies of a pair that is compared at half the size. 99% of the faces of FER2013
reach it when they are shifted by two pixels along both axes, and one of 120 random pairs does."""

HALF_SIZE_MARGIN: Final = 0.1
"""How far below `SIMILARITY` a pair may be at half the size, where its best shift may be off by half a pixel; 0.2% of
the pairs of FER2013 are further below."""

BLOCK: Final = 256
"""Number of faces compared with all later ones at once; 1,000 later faces take 1 MB of correlations."""


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of faces that show the same picture.

    Attributes
    ----------
    first, second : ndarray of int64, shape (P,)
        Positions, ``first < second``, sorted by both.
    similarity : ndarray of float64, shape (P,)
        Normalized cross-correlation at the best shift; at 1 they differ only in brightness and contrast.
    mirrored : ndarray of bool, shape (P,)
        Whether they agree better when one of them is mirrored.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float64]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)

    def components(self, n: int) -> NDArray[np.int64]:
        """Return for each of `n` faces the first face to which pairs link it, directly or over others."""
        links = coo_array((np.ones(len(self), np.bool_), (self.first, self.second)), shape=(n, n))
        _, component = connected_components(links, directed=False)
        _, first = np.unique(component, return_index=True)
        labeled: NDArray[np.int64] = first[component].astype(np.int64)
        return labeled


def find_near_duplicates(images: NDArray[np.uint8], similarity: float = SIMILARITY) -> NearDuplicates:
    """Compare all pairs of faces, on all cores.

    A pair is proposed if the low frequencies of the two pictures correlate, of which a perceptual hash keeps one bit
    each (C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010). It is confirmed by
    the normalized cross-correlation of the overlapping pixels (J. P. Lewis, "Fast normalized cross-correlation", 1995),
    the largest over shifts by `MAX_SHIFT` pixels: at half the size, then at full size.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Gray levels. A blank image has no correlation and is never in a pair.
    similarity : float
        Smallest normalized cross-correlation, `SIMILARITY` to 1.

    Returns
    -------
    NearDuplicates
        Pairs, including identical images with similarity 1.

    Raises
    ------
    ConfigError
        If `similarity` is out of range: the proposals would miss pairs below it.
    """
    if not SIMILARITY <= similarity <= 1:
        raise ConfigError(f"expected {SIMILARITY} to 1, found {similarity}", parameter="similarity")
    compare = partial(_compare, _Pictures.of(images), similarity)
    starts = range(0, len(images), BLOCK)
    found = []
    n = len(images)
    with progress("compare", n * (n - 1) // 2, "pairs") as advance, ThreadPoolExecutor(available_cores()) as pool:
        blocks = pool.map(compare, starts)
        try:
            for start, part in zip(starts, blocks, strict=True):
                found.append(part)
                size = min(BLOCK, n - start)
                advance(size * (n - start) - size * (size + 1) // 2)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return _join(found)


@dataclass(frozen=True, eq=False)
class _Pictures:
    """Faces and their mirror images, each at full size, at half the size, and as low frequencies."""

    images: tuple[NDArray[np.uint8], ...]
    half_size: tuple[NDArray[np.uint16], ...]
    low_frequencies: tuple[NDArray[np.float32], ...]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> _Pictures:
        # Sums of 2x2 pixels, which are exact.
        half_size = images[:, ::2, ::2].astype(np.uint16)
        for down, right in ((0, 1), (1, 0), (1, 1)):
            half_size += images[:, down::2, right::2]
        frequencies = _low_frequencies(images)
        # Mirroring only changes the sign of each odd horizontal frequency.
        signs = np.tile(np.where(np.arange(FREQUENCIES) % 2, -1, 1), FREQUENCIES).astype(np.float32)
        return cls(
            (images, np.ascontiguousarray(images[:, :, ::-1])),
            (half_size, np.ascontiguousarray(half_size[:, :, ::-1])),
            (frequencies, frequencies * signs),
        )


def _compare(pictures: _Pictures, similarity: float, start: int) -> NearDuplicates:
    """Return the pairs of a block of faces and all later ones."""
    found = []
    for mirrored in (0, 1):
        frequencies = pictures.low_frequencies
        proposed = frequencies[0][start : start + BLOCK] @ frequencies[mirrored][start:].T >= PROPOSED
        first, second = (at + start for at in np.nonzero(np.triu(proposed, k=1)))
        half_size = _correlations(pictures.half_size[0], pictures.half_size[mirrored], first, second, MAX_SHIFT // 2)
        kept = half_size >= similarity - HALF_SIZE_MARGIN
        first, second = first[kept], second[kept]
        best = _correlations(pictures.images[0], pictures.images[mirrored], first, second, MAX_SHIFT)
        kept = best >= similarity
        found.append(NearDuplicates(first[kept], second[kept], best[kept], np.full(kept.sum(), mirrored == 1)))
    return _join(found)


def _join(parts: Sequence[NearDuplicates]) -> NearDuplicates:
    """Sort pairs by position; if a pair was found both plain and mirrored, keep the more similar one."""
    if not parts:
        return NearDuplicates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_))
    first, second, similarity, mirrored = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("first", "second", "similarity", "mirrored")
    )
    order = np.lexsort((mirrored, -similarity, second, first))
    first, second = first[order], second[order]
    kept = np.ones(len(order), np.bool_)
    kept[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return NearDuplicates(first[kept], second[kept], similarity[order][kept], mirrored[order][kept])


def _low_frequencies(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the lowest coefficients (N, 64) of the cosine transform without the mean, each row of length 1 or 0.

    The basis is orthogonal with vectors of equal length, so that the product of two rows is the correlation of the two
    blurred pictures.
    """
    frequency = np.arange(FREQUENCIES)[:, None]
    basis = np.cos(np.pi / IMAGE_SIZE * (np.arange(IMAGE_SIZE) + 0.5) * frequency).astype(np.float32)
    basis[0] /= np.sqrt(2)
    coefficients = np.empty((len(images), FREQUENCIES**2), np.float32)
    for start in range(0, len(images), BLOCK):
        some = images[start : start + BLOCK].astype(np.float32)
        coefficients[start : start + BLOCK] = (basis @ some @ basis.T).reshape(len(some), -1)
    coefficients[:, 0] = 0
    length = np.linalg.norm(coefficients, axis=1, keepdims=True)
    # Rounding leaves a few tenths of a blank image.
    lowest = 1.0
    scaled: NDArray[np.float32] = np.where(length > lowest, coefficients / np.maximum(length, lowest), 0)
    return scaled


@numba.njit(cache=True, nogil=True)
def _correlations(
    images: NDArray[Any], others: NDArray[Any], first: NDArray[np.int64], second: NDArray[np.int64], max_shift: int
) -> NDArray[Any]:
    """Return the largest normalized cross-correlation of each pair over all shifts, from exact integer sums."""
    best = np.zeros(len(first))
    side = images.shape[1]
    for pair in range(len(first)):
        one, other = images[first[pair]], others[second[pair]]
        for down in range(-max_shift, max_shift + 1):
            for right in range(-max_shift, max_shift + 1):
                one_part = one[max(down, 0) : side + min(down, 0), max(right, 0) : side + min(right, 0)]
                other_part = other[max(-down, 0) : side - max(down, 0), max(-right, 0) : side - max(right, 0)]
                best[pair] = max(best[pair], _correlation(one_part, other_part))
    return best


@numba.njit(cache=True, nogil=True)
def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the correlation of the pixels of two pictures of the same shape, 0 if one is blank."""
    sum_a = sum_b = sum_aa = sum_bb = sum_ab = 0
    for y in range(one.shape[0]):
        a_row, b_row = one[y], other[y]
        # 24 * 1020 * 1020 fits an int32, of which twice as many go through the processor at once.
        row_a = row_b = row_aa = row_bb = row_ab = np.int32(0)
        for x in range(a_row.shape[0]):
            a, b = np.int32(a_row[x]), np.int32(b_row[x])
            row_a = np.int32(row_a + a)
            row_b = np.int32(row_b + b)
            row_aa = np.int32(row_aa + a * a)
            row_bb = np.int32(row_bb + b * b)
            row_ab = np.int32(row_ab + a * b)
        sum_a += int(row_a)
        sum_b += int(row_b)
        sum_aa += int(row_aa)
        sum_bb += int(row_bb)
        sum_ab += int(row_ab)
    n = one.size
    spread = float(n * sum_aa - sum_a * sum_a) * float(n * sum_bb - sum_b * sum_b)
    return min((n * sum_ab - sum_a * sum_b) / np.sqrt(spread), 1.0) if spread > 0 else 0.0
