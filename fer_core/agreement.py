"""Agreement between two outputs for the same faces, such as those of PyTorch and ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Agreement:
    """Differences between two sets of logits for the same N faces.

    Attributes
    ----------
    n : int
        Number of faces.
    max_absolute_difference : float
        Largest absolute difference of a logit; 0 without faces, NaN if a logit is NaN.
    changed : ndarray of int64, shape (K,)
        Positions of the faces whose predicted class differs.
    """

    n: int
    max_absolute_difference: float
    changed: NDArray[np.int64]

    @classmethod
    def between(cls, expected: NDArray[np.float32], found: NDArray[np.float32]) -> Self:
        """Compare two outputs.

        Parameters
        ----------
        expected, found : ndarray of float32, shape (N, classes)
            Logits of the same faces.

        Examples
        --------
        >>> expected = np.array([[0.0, 1.0], [3.0, 2.0]], np.float32)
        >>> Agreement.between(expected, expected + np.array([[0.5, 0.0], [-2.0, 0.0]], np.float32))
        Agreement(n=2, max_absolute_difference=2.0, changed=array([1]))
        """
        if expected.shape != found.shape:
            raise ValueError(f"expected outputs of one shape, found {expected.shape} and {found.shape}")
        changed = np.flatnonzero(expected.argmax(axis=1) != found.argmax(axis=1))
        return cls(len(expected), float(np.abs(expected - found).max(initial=0.0)), changed)

    @property
    def equal_predictions(self) -> float:
        """Fraction of the faces with the same predicted class; 1 without faces."""
        return 1 - len(self.changed) / self.n if self.n else 1.0
