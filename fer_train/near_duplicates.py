"""Pairs of faces that are one picture twice: shifted, lit, compressed or mirrored, where the pixels differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE
from fer_core.progress import progress

SIMILARITY: Final = 0.95
"""Least normalized cross-correlation of a near duplicate; `docs/protocol.md` says how it was chosen."""

MAX_SHIFT: Final = 2
"""Pixels along each axis by which one picture may stand beside the other."""

FREQUENCIES: Final = 8
"""Along each axis, of the cosine transform by which pairs are proposed."""

PROPOSED: Final = 0.75
"""Least correlation of the low frequencies of a pair that is compared pixel by pixel: 99 % of the faces of FER2013 keep
it when they are shifted by two pixels along both axes, and one pair of others in a thousand has it."""

BLOCK: Final = 1024
"""Faces that are compared with all later ones at once: 4 MB a thousand blocks' worth of correlations."""


@dataclass(frozen=True)
class NearDuplicate:
    """Two faces that show one picture.

    Attributes
    ----------
    first, second : int
        Positions, ``first < second``.
    similarity : float
        Their normalized cross-correlation at the best shift; 1 where they differ in brightness and contrast alone.
    mirrored : bool
        Whether they agree when one of them is mirrored, and better than as they are.
    """

    first: int
    second: int
    similarity: float
    mirrored: bool


def find_near_duplicates(images: NDArray[np.uint8], similarity: float = SIMILARITY) -> list[NearDuplicate]:
    """Compare all pairs of faces.

    A pair is proposed where the low frequencies of the two pictures correlate, those that a perceptual hash keeps one
    bit of (C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010), and confirmed by
    the normalized cross-correlation of their pixels (J. P. Lewis, "Fast normalized cross-correlation", 1995), the
    largest over shifts by `MAX_SHIFT` pixels, where they overlap.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 48, 48)
        Gray levels. One of a single gray level has no correlation and is in no pair.
    similarity : float
        Least normalized cross-correlation, above 0 to 1.

    Returns
    -------
    list of NearDuplicate
        By position. Equal images are among them, with similarity 1.
    """
    found = []
    for first, second in _proposals(images):
        straight = _correlations(images, images, first, second)
        mirrored = _correlations(images, images[:, :, ::-1], first, second)
        best = np.maximum(straight, mirrored)
        for at in np.flatnonzero(best >= similarity).tolist():
            is_mirrored = bool(mirrored[at] > straight[at])
            found.append(NearDuplicate(int(first[at]), int(second[at]), float(best[at]), is_mirrored))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def _proposals(images: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield positions, first and second, of pairs whose low frequencies correlate, as they are or mirrored."""
    straight = _low_frequencies(images)
    # Mirroring changes the sign of each odd horizontal frequency and nothing else.
    mirrored = (straight.reshape(-1, FREQUENCIES, FREQUENCIES) * (-1.0) ** np.arange(FREQUENCIES)).astype(np.float32)
    mirrored = mirrored.reshape(straight.shape)
    with progress("compare", len(images)) as advance:
        for start in range(0, len(images), BLOCK):
            block = straight[start : start + BLOCK]
            correlations = np.maximum(block @ straight[start:].T, block @ mirrored[start:].T)
            first, second = np.nonzero(np.triu(correlations >= PROPOSED, k=1))
            yield first + start, second + start
            advance(len(block))


def _low_frequencies(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the lowest coefficients (N, 64) of the cosine transform without the mean, each row of length 1 or 0.

    The basis is orthonormal, so that the product of two rows is the correlation of the two blurred pictures.
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
    # What rounding leaves of a single gray level is no picture.
    lowest = 1e-2
    scaled: NDArray[np.float32] = np.where(length > lowest, coefficients / np.maximum(length, lowest), 0)
    return scaled


@numba.njit(cache=True, nogil=True)
def _correlations(
    images: NDArray[np.uint8], others: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[Any]:
    """Return the largest normalized cross-correlation of each pair over all shifts, from exact integer sums."""
    best = np.zeros(len(first))
    for pair in range(len(first)):
        one, other = images[first[pair]], others[second[pair]]
        for down in range(-MAX_SHIFT, MAX_SHIFT + 1):
            for right in range(-MAX_SHIFT, MAX_SHIFT + 1):
                one_part = one[max(down, 0) : IMAGE_SIZE + min(down, 0), max(right, 0) : IMAGE_SIZE + min(right, 0)]
                other_part = other[
                    max(-down, 0) : IMAGE_SIZE - max(down, 0), max(-right, 0) : IMAGE_SIZE - max(right, 0)
                ]
                best[pair] = max(best[pair], _correlation(one_part, other_part))
    return best


@numba.njit(cache=True, nogil=True)
def _correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the correlation of the pixels of two pictures of one shape, 0 where one has a single gray level."""
    sum_a = sum_b = sum_aa = sum_bb = sum_ab = 0
    for y in range(one.shape[0]):
        a_row, b_row = one[y], other[y]
        # 48 * 255 * 255 fits an int32, of which twice as many go through the processor at once.
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
    return (n * sum_ab - sum_a * sum_b) / np.sqrt(spread) if spread > 0 else 0.0
