from __future__ import annotations

from typing import Any

import numpy as np

from fer_core.synthetic.drawn_faces import draw_faces
from fer_train.audit.blank_faces import FLAT_SHARE, flat_shares


def slow_flat_share(image: Any) -> Any:
    flat = 0
    for y in range(1, 47):
        for x in range(1, 47):
            around = image[y - 1 : y + 2, x - 1 : x + 2].astype(int)
            flat += around.max() - around.min() <= 2
    return flat / 46**2


def test_flat_shares_agree_with_a_loop_over_pixels() -> None:
    rng = np.random.default_rng(0)
    images = np.stack([rng.integers(100, 100 + spread, (48, 48), dtype=np.uint8) for spread in (1, 3, 4, 5, 156)])
    images[3, 10:40, 10:40] = 7
    np.testing.assert_allclose(flat_shares(images), [slow_flat_share(image) for image in images], rtol=1e-12)
    assert flat_shares(images)[0] == 1


def test_a_border_between_black_and_white_is_not_flat() -> None:
    image = np.zeros((1, 48, 48), np.uint8)
    image[:, :, 24:] = 255
    assert flat_shares(image)[0] == 44 / 46


def test_text_on_paper_is_faceless_and_drawn_faces_are_not() -> None:
    paper = np.full((1, 48, 48), 255, np.uint8)
    paper[:, 5:45:8, 8:40:2] = 60
    assert flat_shares(paper)[0] >= FLAT_SHARE
    assert flat_shares(draw_faces(40, seed=0).images).max() < FLAT_SHARE


def test_more_faces_than_a_block_are_all_measured() -> None:
    images = np.zeros((1030, 48, 48), np.uint8)
    images[1029] = np.random.default_rng(0).integers(0, 256, (48, 48))
    assert flat_shares(images)[[0, 1023, 1024, 1029]].tolist() == [1, 1, 1, 0]
