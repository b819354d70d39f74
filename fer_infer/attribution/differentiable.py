"""What an attribution method needs of a model: outputs and gradients at points in the space of images."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""What a method returns: `attributions` (N, 48, 48) and further arrays, e.g. `deltas`, with first axis N."""

DELTAS: Final = "deltas"
"""Name of the convergence deltas (N,): the sum of the attributions minus the difference of outputs it approximates."""
SAMPLES: Final = "samples"
"""Name of the numbers of gradients that each map averages, int64 (N,)."""
ERRORS: Final = "errors"
"""Name of the relative errors (N,) of maps that average gradients, at least 0; infinite if a map is only noise."""


class Differentiable(Protocol):
    """The explained output of a model for N faces, as a function of the pixels."""

    @property
    def images(self) -> NDArray[np.float32]:
        """Faces, (N, 48, 48), in 0..255."""

    @property
    def batch_size(self) -> int:
        """Number of points that may be passed at once."""

    def uniform_outputs(self, level: np.float32) -> NDArray[np.float32]:
        """Return the explained output of each face, (N,), for an image of one gray level."""

    def outputs(self, points: NDArray[np.float32], faces: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the explained outputs (n,) at points (n, 48, 48) that belong to `faces` (n,)."""

    def gradients(self, points: NDArray[np.float32], faces: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the gradients (n, 48, 48) of the explained outputs at points that belong to `faces`."""

    def finish(self, faces: int) -> None:
        """Report that the maps of further faces are complete."""
