"""A valid model card."""

from __future__ import annotations

from fer_core import EXPRESSIONS, ModelCard

CARD = ModelCard(
    architecture="course-cnn",
    architecture_arguments={"widths": (48, 96, 192), "dropout": 0.5, "batch_norm": False},
    labels=EXPRESSIONS,
    input_size=(48, 48),
    standardization={"mean": 129.4, "std": 65.1},
    temperature={"value": 1.0, "fitted_on": "none"},
    precision="fp32",
    weights_sha256="0123456789abcdef" * 4,
    training_data={"source": "fer2013.csv", "sha256": "f" * 64, "rows": {"Training": 28709, "PublicTest": 3589}},
    selection="the last epoch; nothing was chosen — «é»",
    seeds=(0, 7),
    scores={"PublicTest": {"n": 3589, "accuracy": 0.66, "wilson_95": [0.64, 0.68], "tta": "none"}},
    versions={"torch": "2.13.0"},
    git_commit="unknown",
)
