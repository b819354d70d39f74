"""Comparison of a graph of lower precision with float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core import Faces
from fer_core.agreement import Agreement
from fer_train.runs.provenance import accuracy_record


@dataclass(frozen=True)
class PrecisionComparison:
    """A graph of lower precision compared with float32 on the same faces.

    Attributes
    ----------
    source, split : str
        Name of the data and of the split; the split is empty if the faces are from several.
    provider : str
        Provider that ran the graph of lower precision.
    accuracy, fp32_accuracy : float or None
        Accuracies in both precisions; None without labels.
    agreement : Agreement
        Agreement of the logits.
    """

    source: str
    split: str
    provider: str
    accuracy: float | None
    fp32_accuracy: float | None
    agreement: Agreement

    @classmethod
    def of(
        cls, faces: Faces, provider: str, logits: NDArray[np.float32], fp32_logits: NDArray[np.float32]
    ) -> PrecisionComparison:
        """Compare the logits, float32 (N, classes), of at least one face."""
        splits = [] if faces.splits is None else np.unique(faces.splits).tolist()

        def accuracy(predicted: NDArray[np.int64]) -> float | None:
            return None if faces.labels is None else float(np.mean(predicted == faces.labels))

        return cls(
            source=Path(faces.source).name,
            split=splits[0] if len(splits) == 1 else "",
            provider=provider,
            accuracy=accuracy(logits.argmax(axis=1)),
            fp32_accuracy=accuracy(fp32_logits.argmax(axis=1)),
            agreement=Agreement.between(fp32_logits, logits),
        )

    def record(self) -> dict[str, Any]:
        """Return the comparison as `parity.json` states it."""
        return {
            "source": self.source,
            "split": self.split,
            "n": self.agreement.n,
            "provider": self.provider,
            "accuracy": self.accuracy,
            "fp32_accuracy": self.fp32_accuracy,
            **self._agreement_record(),
        }

    def scores(self) -> dict[str, Any]:
        """Return the `scores` of a model card; empty unless the faces are labeled and from one split."""
        if self.accuracy is None or not self.split:
            return {}
        score = accuracy_record(self.accuracy, self.agreement.n)
        return {self.split: {**score, "fp32_accuracy": self.fp32_accuracy, **self._agreement_record()}}

    def to_text(self) -> str:
        """Return the comparison in one line."""
        agreement = self.agreement
        text = f"{agreement.equal_predictions:.2%} of {agreement.n:,} predictions agree with float32"
        text += f", max |d logit| {agreement.max_absolute_difference:.2g}"
        if self.accuracy is not None:
            text += f"; accuracy {self.accuracy:.2%}, float32 {self.fp32_accuracy:.2%}"
        return text

    def _agreement_record(self) -> dict[str, float]:
        return {
            "equal_predictions": self.agreement.equal_predictions,
            "max_absolute_difference": self.agreement.max_absolute_difference,
        }
