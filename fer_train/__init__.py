"""Train classifiers of facial expressions and export them.

>>> import fer_train
>>> run = fer_train.fit("faces.csv", "runs/mine", architecture="compact", epochs=1, batch_size=32, device="cpu",
...                     architecture_arguments={"widths": [[4], [8]]})
>>> fer_train.export(run, "exports/mine").changed_predictions
0
>>> network = fer_train.load_model("exports/mine")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fer_core.lazy import attach

if TYPE_CHECKING:
    from fer_train.config import AugmentConfig, DistillConfig, FitConfig
    from fer_train.evaluation import evaluate
    from fer_train.exporting.export import export
    from fer_train.runs.checkpoint import load_model
    from fer_train.runs.ensembling import ensemble
    from fer_train.runs.run import Run
    from fer_train.training.fit import fit

__all__ = [
    "AugmentConfig",
    "DistillConfig",
    "FitConfig",
    "Run",
    "ensemble",
    "evaluate",
    "export",
    "fit",
    "load_model",
]

# With AVX2, the matrix products of MKL depend on the alignment of their factors in memory, by an ulp and from call to
# call: the same seed would give other weights. MKL reads this when it is first used; a setting of the user stays.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

# A thread that spins while it waits for the others takes the core from them: on a busy machine training slowed down by
# a factor of eight. Sleeping costs about 10% on a quiet one. OpenMP reads this when torch is imported.
if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__getattr__ = attach(
    __name__,
    {
        "AugmentConfig": "fer_train.config",
        "DistillConfig": "fer_train.config",
        "FitConfig": "fer_train.config",
        "Run": "fer_train.runs.run",
        "ensemble": "fer_train.runs.ensembling",
        "evaluate": "fer_train.evaluation",
        "export": "fer_train.exporting.export",
        "fit": "fer_train.training.fit",
        "load_model": "fer_train.runs.checkpoint",
    },
)
