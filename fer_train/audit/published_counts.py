"""What is published about FER2013: how many faces of each label its splits have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fer_core import EXPRESSIONS

CLASS_COUNTS: Final[Mapping[str, Mapping[str, int]]] = {
    split: dict(zip(EXPRESSIONS, counts, strict=True))
    for split, counts in {
        "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
        "PublicTest": (467, 56, 496, 895, 653, 415, 607),
        "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
    }.items()
}
"""By split, then by label. Over all splits they add up to the counts of Goodfellow et al., "Challenges in
representation learning: a report on three machine learning contests", 2013, section 3.1."""


def published_differences(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]] | None:
    """Compare class counts with those published, where the numbers of rows say that the file is FER2013.

    Parameters
    ----------
    counts : mapping
        By split, then by label. The counts under "all", of a file without splits, are taken for Training if they are
        as many, and are not compared otherwise: the two test splits cannot be told by their number.

    Returns
    -------
    dict or None
        For each split that differs, by label, how many more there are than published; empty where all agree. None
        where a split is not of FER2013 or not as large.
    """
    named = {"Training" if split == "all" else split: of_split for split, of_split in counts.items()}
    if not named or any(
        split not in CLASS_COUNTS or sum(of_split.values()) != sum(CLASS_COUNTS[split].values())
        for split, of_split in named.items()
    ):
        return None
    more = {
        split: {
            label: n - CLASS_COUNTS[split][label] for label, n in of_split.items() if n != CLASS_COUNTS[split][label]
        }
        for split, of_split in named.items()
    }
    return {split: labels for split, labels in more.items() if labels}
