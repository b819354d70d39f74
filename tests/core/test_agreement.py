"""Agreement between two outputs, against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fer_core.agreement import Agreement

LOGITS = np.array([[0.0, 1.0, -1.0], [3.0, 2.0, 0.0], [5.0, 5.0, 0.0]], np.float32)


def test_equal_outputs_agree() -> None:
    agreement = Agreement.between(LOGITS, LOGITS.copy())
    assert (agreement.n, agreement.max_absolute_difference, agreement.changed.tolist()) == (3, 0.0, [])
    assert agreement.equal_predictions == 1.0


def test_the_largest_difference_and_the_changed_faces_are_found() -> None:
    found = LOGITS + np.array([[0.5, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 0.25, 0.0]], np.float32)
    agreement = Agreement.between(LOGITS, found)
    assert (agreement.max_absolute_difference, agreement.changed.tolist()) == (2.0, [1, 2])
    assert agreement.equal_predictions == pytest.approx(1 / 3)


def test_no_face_is_full_agreement_and_nan_is_none() -> None:
    nothing = np.empty((0, 3), np.float32)
    assert Agreement.between(nothing, nothing).equal_predictions == 1.0
    assert np.isnan(Agreement.between(LOGITS, LOGITS * np.float32("nan")).max_absolute_difference)


def test_outputs_of_different_faces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^expected outputs of one shape, found \(3, 3\) and \(2, 3\)$"):
        Agreement.between(LOGITS, LOGITS[:2])
