"""The data set of drawn faces."""

from __future__ import annotations

import numpy as np
import pytest

from fer_core import ConfigError
from fer_core.synthetic.data_set import synthesize


def test_drawn_data_are_split_80_10_10_and_follow_the_seed() -> None:
    first, again, other = synthesize(57, 1), synthesize(57, 1), synthesize(57, 2)
    assert first.splits is not None
    assert first.splits.tolist() == ["Training"] * 47 + ["PublicTest"] * 5 + ["PrivateTest"] * 5
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)


def test_fewer_than_ten_faces_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^rows: expected at least 10, found 9$"):
        synthesize(9, 1)
