from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fer_train.data.duplicates import disagreeing, first_equal


def test_each_face_names_the_first_with_its_pixels(random_images: NDArray[Any]) -> None:
    images = random_images[[0, 1, 0, 2, 1, 0]]
    assert first_equal(images).tolist() == [0, 1, 0, 3, 1, 0]
    assert first_equal(images[::-1]).tolist() == [0, 1, 2, 0, 1, 0]  # of a view that is not contiguous, too


def test_a_face_is_told_from_one_that_differs_in_the_last_pixel(random_images: NDArray[Any]) -> None:
    images = random_images[[0, 0, 0]]
    images[1, -1, -1] ^= 255
    assert first_equal(images).tolist() == [0, 1, 0]


def test_no_faces_have_no_equals() -> None:
    assert first_equal(np.empty((0, 48, 48), np.uint8)).tolist() == []


@pytest.mark.parametrize("values", [np.array([1, 2, 1, 3, 2, 4]), np.array(list("xyxzyw"))])
def test_a_group_disagrees_where_any_of_its_faces_does(values: NDArray[Any]) -> None:
    group = np.array([0, 1, 0, 3, 1, 0])
    assert disagreeing(group, values).tolist() == [True, False, True, False, False, True]
