from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from fer_core import ConfigError
from fer_core.synthetic.drawn_faces import draw_faces
from fer_train.audit import near_duplicates
from fer_train.audit.near_duplicates import MAX_SHIFT, SIMILARITY, NearDuplicates, find_near_duplicates


def picture(seed: Any) -> Any:
    """A smooth picture of its own, 60x60, from which shifted faces are cut: noise at a tenth of the size, blown up."""
    coarse = np.random.default_rng(seed).uniform(20, 235, (8, 8))
    at = np.linspace(0, 6.99, 60)
    low, share = at.astype(int), (at % 1)[:, None]
    rows = coarse[low] * (1 - share) + coarse[low + 1] * share
    return (rows[:, low] * (1 - share.T) + rows[:, low + 1] * share.T).astype(np.uint8)


def cut(seed: Any, down: int = 0, right: int = 0) -> Any:
    return picture(seed)[6 + down : 54 + down, 6 + right : 54 + right]


def slow_correlation(one: Any, other: Any) -> Any:
    """Pearson's correlation of the overlapping pixels at the best shift, by NumPy in double precision."""
    best = 0.0
    for down in range(-MAX_SHIFT, MAX_SHIFT + 1):
        for right in range(-MAX_SHIFT, MAX_SHIFT + 1):
            mine = one[max(down, 0) : 48 + min(down, 0), max(right, 0) : 48 + min(right, 0)].ravel()
            theirs = other[max(-down, 0) : 48 - max(down, 0), max(-right, 0) : 48 - max(right, 0)].ravel()
            if mine.std() > 0 and theirs.std() > 0:
                best = max(best, np.corrcoef(mine, theirs)[0, 1])
    return best


def slow_pairs(images: Any) -> Any:
    found = {}
    for first, second in combinations(range(len(images)), 2):
        straight = slow_correlation(images[first], images[second])
        mirrored = slow_correlation(images[first], images[second][:, ::-1])
        if max(straight, mirrored) >= SIMILARITY:
            found[first, second] = (max(straight, mirrored), mirrored > straight)
    return found


def as_table(pairs: Any) -> Any:
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.similarity.tolist(), pairs.mirrored.tolist())
    return {
        (first, second): (similarity, mirrored) for first, second, similarity, mirrored in zip(*columns, strict=True)
    }


def test_pairs_agree_with_a_slow_comparison_of_all() -> None:
    rng = np.random.default_rng(0)
    images = [cut(seed, *rng.integers(-1, 2, 2)) for seed in range(10) for _ in range(2)]
    images += [cut(3)[:, ::-1], cut(4, 1)[:, ::-1], *rng.integers(0, 256, (4, 48, 48), dtype=np.uint8)]
    images = np.stack([np.clip(image + rng.normal(0, 3, (48, 48)), 0, 255).astype(np.uint8) for image in images])
    found, expected = as_table(find_near_duplicates(images)), slow_pairs(images)
    assert len(expected) >= 12
    assert found.keys() == expected.keys()
    for pair, (similarity, mirrored) in expected.items():
        assert found[pair][0] == pytest.approx(similarity, rel=1e-12)
        assert found[pair][1] == mirrored


CHANGES = {
    "shifted by two pixels": lambda face: cut(7, 2, -2),
    "darker and of less contrast": lambda face: (face * 0.4 + 10).astype(np.uint8),
    "mirrored": lambda face: face[:, ::-1],
    "noisy": lambda face: np.clip(face + np.random.default_rng(1).normal(0, 8, (48, 48)), 0, 255).astype(np.uint8),
    "with a black corner": lambda face: np.where(np.add.outer(np.arange(48), np.arange(48)) < 4, 0, face).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_picture_is_found_again(change: str) -> None:
    face = cut(7)
    pairs = find_near_duplicates(np.stack([cut(8), face, cut(9), CHANGES[change](face)]))
    assert list(as_table(pairs)) == [(1, 3)]
    assert pairs.mirrored.tolist() == [change == "mirrored"]


def test_other_pictures_blank_ones_and_negatives_are_no_duplicates() -> None:
    blank = np.full((48, 48), 9, np.uint8)
    assert len(find_near_duplicates(np.stack([cut(1), cut(2), blank, blank, 255 - cut(1)]))) == 0


def test_drawn_faces_are_all_different() -> None:
    assert len(find_near_duplicates(draw_faces(60, seed=0).images)) == 0


def test_equal_pictures_correlate_fully_and_stand_once_also_if_they_are_symmetric() -> None:
    symmetric = np.minimum(cut(5), cut(5)[:, ::-1])
    pairs = find_near_duplicates(np.stack([symmetric, symmetric]))
    assert as_table(pairs) == {(0, 1): (pytest.approx(1), False)}


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.stack([cut(seed % 7, seed % 3 - 1) for seed in range(23)])
    whole = as_table(find_near_duplicates(images))
    monkeypatch.setattr(near_duplicates, "BLOCK", 4)
    assert as_table(find_near_duplicates(images)) == whole
    assert list(whole) == sorted(whole)
    assert len(whole) >= 23


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_faces_make_no_pair(n: int) -> None:
    assert len(find_near_duplicates(np.zeros((n, 48, 48), np.uint8))) == 0


@pytest.mark.parametrize("similarity", [0.5, 1.01, float("nan")])
def test_a_similarity_that_the_proposals_do_not_serve_is_refused(similarity: float) -> None:
    with pytest.raises(ConfigError, match=r"similarity: expected 0\.95 to 1, found"):
        find_near_duplicates(np.zeros((2, 48, 48), np.uint8), similarity)


def test_a_stricter_similarity_keeps_the_more_similar_pairs() -> None:
    images = np.stack([cut(seed % 5, seed % 3 - 1) for seed in range(15)])
    images[::2] ^= np.random.default_rng(0).integers(0, 16, images[::2].shape, dtype=np.uint8)
    strict = as_table(find_near_duplicates(images, 0.995))
    loose = as_table(find_near_duplicates(images))
    assert strict == {pair: found for pair, found in loose.items() if found[0] >= 0.995}
    assert 0 < len(strict) < len(loose)


def test_components_link_over_others_and_name_their_first_face() -> None:
    first, second = np.array([0, 2, 4]), np.array([4, 5, 6])
    pairs = NearDuplicates(first, second, np.ones(3), np.zeros(3, np.bool_))
    assert pairs.components(8).tolist() == [0, 1, 2, 3, 0, 2, 0, 7]


def test_an_error_in_a_block_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken block")

    monkeypatch.setattr(near_duplicates, "_correlations", fail)
    with pytest.raises(RuntimeError, match="broken block"):
        find_near_duplicates(np.stack([cut(1), cut(1)]))
