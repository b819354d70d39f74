"""Settings of knowledge distillation."""

from __future__ import annotations

from dataclasses import dataclass

from fer_core.errors import ConfigError
from fer_core.settings import Settings, setting


@dataclass(frozen=True)
class DistillConfig(Settings):
    """Settings of knowledge distillation (Hinton, Vinyals and Dean 2015).

    Examples
    --------
    >>> DistillConfig(["exports/best"], weight=0.5).temperature
    2.0
    """

    teachers: tuple[str, ...] = setting(
        help="Runs or exports folders to learn from; the student learns the mean of their probabilities."
    )
    temperature: float = setting(2.0, "Distillation temperature.", above=0, at_most=100)
    weight: float = setting(
        0.7, "Weight of the distillation loss; the loss on the labels has the rest.", above=0, at_most=1
    )
    teacher_epochs: int | None = setting(
        None,
        "Number of epochs with freshly computed teacher outputs; later epochs repeat their faces and reuse the outputs "
        "(Shen and Xing 2022), except for the mild epochs.",
        at_least=1,
        default_text="all epochs",
    )

    def __post_init__(self) -> None:
        paths = isinstance(self.teachers, list | tuple) and all(isinstance(path, str) for path in self.teachers)
        if not paths or not self.teachers:
            found = f"found {self.teachers!r:.80}"
            raise ConfigError(f"expected one or more runs or exports folders, {found}", parameter="teachers")
        object.__setattr__(self, "teachers", tuple(self.teachers))  # JSON reads it back as a list
        super().__post_init__()
