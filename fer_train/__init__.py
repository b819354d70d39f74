"""Train classifiers of facial expressions and export them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_train.runs.checkpoint import load_model

__all__ = ["load_model"]

# With AVX2, MKL's products of matrices depend on where in memory they lie, by an ulp and from call to call: the same
# seed would give other weights. MKL reads this when it is first used; a setting of the user's own stays.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

# A thread that waits for the others by spinning takes the core from whoever it waits for: on a busy machine training
# slowed down by a factor of eight. Sleeping costs some 10% on a quiet one. OpenMP reads this when torch is imported.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__getattr__ = attach(__name__, {"load_model": "fer_train.runs.checkpoint"})
