"""Published class counts of FER2013."""

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
    """Compare class counts with the published ones, if the numbers of rows are those of FER2013.

    Parameters
    ----------
    counts : mapping
        Counts by split, then by label. Those of "all", of a file without splits, are compared with Training if the
        number of faces is the same, and otherwise not: the two test splits have equally many faces.

    Returns
    -------
    dict or None
        Excess over the published counts by split and label; empty if all agree, None if a split is not of FER2013 or
        has another size.
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
