from __future__ import annotations

from fer_core import EXPRESSIONS
from fer_train.audit.published_counts import CLASS_COUNTS, published_differences


def test_the_published_counts_add_up_to_the_whole_data_set() -> None:
    assert {split: sum(counts.values()) for split, counts in CLASS_COUNTS.items()} == {
        "Training": 28709,
        "PublicTest": 3589,
        "PrivateTest": 3589,
    }
    totals = [sum(counts[label] for counts in CLASS_COUNTS.values()) for label in EXPRESSIONS]
    assert totals == [4953, 547, 5121, 8989, 6077, 4002, 6198]  # Goodfellow et al. 2013


def test_equal_counts_have_no_differences_also_of_some_splits_alone() -> None:
    assert published_differences(CLASS_COUNTS) == {}
    assert published_differences({"PublicTest": CLASS_COUNTS["PublicTest"]}) == {}


def test_a_changed_label_is_told_by_split_and_label() -> None:
    changed = {**CLASS_COUNTS["Training"], "sad": 4829, "fear": 4098}
    counts = {"Training": changed, "PublicTest": CLASS_COUNTS["PublicTest"]}
    assert published_differences(counts) == {"Training": {"fear": 1, "sad": -1}}


def test_a_file_without_splits_is_compared_where_its_rows_name_the_split() -> None:
    assert published_differences({"all": CLASS_COUNTS["Training"]}) == {}
    assert published_differences({"all": CLASS_COUNTS["PrivateTest"]}) is None


def test_other_data_are_not_compared() -> None:
    counts = {"Training": {**CLASS_COUNTS["Training"], "sad": 1}}
    assert published_differences(counts) is None
    assert published_differences({"validation": CLASS_COUNTS["PublicTest"]}) is None
    assert published_differences({}) is None
