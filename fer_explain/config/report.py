"""Settings of reports."""

from __future__ import annotations

from dataclasses import dataclass

from fer_core.settings import SEED_LIMIT, Settings, setting


@dataclass(frozen=True)
class ReportConfig(Settings):
    """Settings of `fer_explain.write_report`.

    Examples
    --------
    >>> ReportConfig(worst=10).share
    0.2
    """

    worst: int | None = setting(
        None,
        "Show this number of the most confident mistakes instead of the default selection.",
        at_least=1,
        metavar="N",
        default_text="6 mistakes and 12 faces of all classes",
    )
    share: float = setting(
        0.2, "Fraction of the pixels, the most salient ones, that masked faces show.", above=0, at_most=1
    )
    seed: int = setting(
        0,
        "Random seed of attribution methods, control maps and activation maximization.",
        at_least=0,
        at_most=SEED_LIMIT,
    )
