"""Settings of one training run, each declared once with its default, range and help."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from fer_core.errors import ConfigError
from fer_core.io.crop import FacesConfig
from fer_core.outputs.staging import staged
from fer_core.settings import SEED_LIMIT, flatten, setting
from fer_train.config.adaptations import ADAPTATIONS, OPTIMIZERS
from fer_train.config.augment import AugmentConfig
from fer_train.config.distill import DistillConfig
from fer_train.models.registry import ARCHITECTURES, find_architecture

INPUT: Final = ("validation", "on_error", "input_columns")
"""Settings that say how the data are read; the faces they give are compared by checksums instead."""


def _by_optimizer(name: str) -> str:
    defaults = {optimizer: f"{values[name]:g}" for optimizer, values in OPTIMIZERS.items()}
    first = defaults.pop("adam")
    return f"{first}; {', '.join(f'{value} for {optimizer}' for optimizer, value in defaults.items())}"


@dataclass(frozen=True)
class FitConfig(FacesConfig):
    """Settings of one training run; the defaults are those of the course networks: Adam at a constant rate of 3e-4.

    Examples
    --------
    >>> FitConfig(epochs=0)
    Traceback (most recent call last):
        ...
    fer_core.errors.ConfigError: epochs: expected at least 1, found 0
    >>> print(FitConfig(lr=0.1).difference(FitConfig(lr=0.2)))
    lr: 0.2 there, 0.1 here
    """

    architecture: str = setting("course-cnn", "Network to train.", choices=tuple(ARCHITECTURES))
    architecture_arguments: dict[str, Any] = setting(
        factory=dict, help="Arguments of the architecture that differ from its defaults."
    )
    initial: str | None = setting(
        None, "Run or exports folder whose weights training starts from.", metavar="RUN", default_text="random weights"
    )
    dirac: bool = setting(False, "Initialize convolutions as identities (Dirac).")
    whitening: bool = setting(False, "Initialize the first convolution with whitening filters.")
    validation: str | None = setting(
        None,
        "Split of DATA to validate on, e.g. test, or another file or folder; write ./test for a path that is named "
        "like a split.",
        metavar="SPLIT|DATA",
        default_text="PublicTest, else validation",
    )
    hold_out: float | None = setting(
        None,
        "Validate on this fraction of the Training rows (of all rows if DATA has no splits), stratified by label and "
        "drawn with --seed; with --seeds, with seed 0.",
        above=0,
        below=1,
        metavar="FRACTION",
    )
    hold_out_seed: int = setting(0, "Random seed of the hold-out split.", at_least=0, at_most=SEED_LIMIT)
    drop_conflicts: bool = setting(False, "Leave out identical Training faces with different labels.")
    drop_leaks: bool = setting(False, "Leave out Training faces that are also in the validation split.")
    on_error: str = setting(
        "fail",
        "For a row that cannot be read: stop, or skip the row and list it in rejects.csv.",
        choices=("fail", "skip"),
    )
    input_columns: dict[str, str] = setting(factory=dict, help="Role to column name, for columns without a known name.")
    epochs: int = setting(100, "Number of passes over the Training rows.", at_least=1)
    batch_size: int = setting(128, "Batch size.", at_least=2)
    optimizer: str = setting("adam", "Optimizer; sgd is Nesterov with momentum 0.9.", choices=tuple(OPTIMIZERS))
    lr: float = setting(3e-4, "Peak learning rate.", above=0, default_text=_by_optimizer("lr"))
    weight_decay: float = setting(
        0.0,
        "Weight decay; biases and norm parameters are excluded.",
        at_least=0,
        default_text=_by_optimizer("weight_decay"),
    )
    schedule: str = setting(
        "constant",
        "Learning-rate schedule; one-cycle rises for 30% of the steps, then falls to zero along a cosine.",
        choices=("constant", "cosine", "one-cycle"),
    )
    lr_warmup_epochs: float = setting(
        0.0, "Epochs of linear warm-up, for the schedules constant and cosine.", at_least=0
    )
    label_smoothing: float = setting(0.0, "Label-smoothing factor (Szegedy et al. 2016).", at_least=0, below=1)
    ema_decay: float = setting(
        0.999,
        "Decay per step of the exponential moving average of the weights; 0 turns averaging off.",
        at_least=0,
        below=1,
        option="--ema",
    )
    augment: AugmentConfig | None = setting(factory=AugmentConfig, help="Augmentation; None trains without it.")
    mild_epochs: int = setting(
        0, "Number of epochs at the end with half the augmentation and without erasing and mixup.", at_least=0
    )
    distill: DistillConfig | None = setting(None, "Distillation; None trains on the labels only.")
    seed: int = setting(
        0, "Random seed of initial weights, order of faces, augmentation and dropout.", at_least=0, at_most=SEED_LIMIT
    )
    device: str = setting("auto", "Device; auto selects CUDA if available.", choices=("auto", "cpu", "cuda"))
    precision: str = setting(
        "auto",
        "Precision of the arithmetic; auto selects bf16 on GPUs that support it. Weights are always float32.",
        choices=("auto", "fp32", "bf16"),
    )
    compile: bool = setting(False, "Compile the model with torch.compile (slower on CPUs).")

    def __post_init__(self) -> None:
        object.__setattr__(self, "architecture_arguments", _json_table(self.architecture_arguments))
        super().__post_init__()
        for rule in RULES:
            rule(self)

    def difference(self, other: FitConfig) -> str:
        """Return the settings in which another config differs, e.g. ``lr: 0.2 there, 0.1 here``."""
        mine, others = flatten(asdict(self)), flatten(asdict(other))
        names = [name for name in {**mine, **others} if mine.get(name) != others.get(name)]
        return "; ".join(f"{name}: {others.get(name)} there, {mine.get(name)} here" for name in names)

    def save(self, path: Path) -> None:
        """Write the config as JSON."""
        with staged(path, force=True) as stage:
            stage.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def of(cls, architecture: str = "course-cnn", **options: Any) -> FitConfig:
        """Return the default config of an architecture, changed by options.

        Defaults adapt to the options, see `fer_train.config.adaptations.ADAPTATIONS`.

        Parameters
        ----------
        architecture : str
            Key of `fer_train.models.ARCHITECTURES`.
        **options
            Fields of this class. `augment` may be None or a dict of fields of `AugmentConfig`, and `distill` a dict of
            fields of `DistillConfig`.

        Examples
        --------
        >>> FitConfig.of("compact", epochs=30, optimizer="adamw").lr
        0.003
        """
        cls.require(options)  # before the defaults adapt to them
        defaults = {entry.name: entry.default for entry in fields(cls) if entry.default is not MISSING}
        defaults |= find_architecture(architecture).config
        for adapt in ADAPTATIONS:
            defaults = adapt(defaults, options)
        augment = _augmentation(defaults, options)
        settings = {**defaults, **options, "architecture": architecture, "augment": augment}
        if isinstance(settings.get("distill"), Mapping):
            settings["distill"] = DistillConfig(**settings["distill"])
        return cls(**settings)

    @classmethod
    def load(cls, path: Path) -> FitConfig:
        """Read what `save` wrote; raise ConfigError naming the file if it is anything else."""
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            augment, distill = table.pop("augment"), table.pop("distill")
            return cls(
                **table,
                augment=None if augment is None else AugmentConfig(**augment),
                distill=None if distill is None else DistillConfig(**distill),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: cannot be read as the config of a run: {error}") from None


def _json_table(arguments: Any) -> dict[str, Any]:
    """Return arguments as a run reads them back from JSON, with lists for tuples."""
    try:
        table = json.loads(json.dumps(arguments))
    except (TypeError, ValueError):
        expected = f"expected values that JSON can hold, found {arguments!r:.200}"
        raise ConfigError(expected, parameter="architecture_arguments") from None
    if not isinstance(table, dict):
        raise ConfigError(f"expected a dict, found {arguments!r:.80}", parameter="architecture_arguments")
    return table


def _augmentation(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> AugmentConfig | None:
    changes = options.get("augment", {})
    if changes is None or isinstance(changes, AugmentConfig):
        return changes
    if not isinstance(changes, Mapping):
        raise ConfigError(
            f"expected None, AugmentConfig or a dict of its fields, found {changes!r:.80}", parameter="augment"
        )
    return AugmentConfig(**{**defaults.get("augment", {}), **changes})


def require_own_arguments(config: FitConfig) -> None:
    """Refuse architecture arguments that the data determine."""
    if reserved := {"name", "mean", "std"} & set(config.architecture_arguments):
        expected = f"expected neither name, mean nor std, found {', '.join(sorted(reserved))}"
        raise ConfigError(expected, parameter="architecture_arguments")


def require_warmup_within_epochs(config: FitConfig) -> None:
    """Refuse a warm-up that is longer than training."""
    if config.lr_warmup_epochs > config.epochs:
        expected = f"expected at most the {config.epochs} epochs, found {config.lr_warmup_epochs}"
        raise ConfigError(expected, parameter="lr_warmup_epochs")


def require_mild_epochs_within_epochs(config: FitConfig) -> None:
    """Refuse more mild epochs than epochs."""
    if config.mild_epochs > config.epochs:
        expected = f"expected at most the {config.epochs} epochs, found {config.mild_epochs}"
        raise ConfigError(expected, parameter="mild_epochs")


def require_augmentation_for_mild_epochs(config: FitConfig) -> None:
    """Refuse mild epochs without augmentation."""
    if config.augment is None and config.mild_epochs:
        raise ConfigError(f"expected 0 without augmentation, found {config.mild_epochs}", parameter="mild_epochs")


def require_no_warmup_with_one_cycle(config: FitConfig) -> None:
    """Refuse a second warm-up with one-cycle, which has one."""
    if config.schedule == "one-cycle" and config.lr_warmup_epochs:
        expected = f"expected 0, since one-cycle has a warm-up, found {config.lr_warmup_epochs}"
        raise ConfigError(expected, parameter="lr_warmup_epochs")


def require_one_initialization(config: FitConfig) -> None:
    """Refuse an initialization that `initial` would overwrite."""
    for name in ("dirac", "whitening"):
        if config.initial is not None and getattr(config, name):
            raise ConfigError("cannot be combined with `initial`, which sets all weights", parameter=name)


def require_one_validation(config: FitConfig) -> None:
    """Refuse two sources of validation faces."""
    if config.hold_out is not None and config.validation is not None:
        raise ConfigError("cannot be combined with `validation`", parameter="hold_out")


def require_teacher_epochs_that_repeat(config: FitConfig) -> None:
    """Refuse a number of `teacher_epochs` of which no epoch would repeat one."""
    if config.distill is None or config.distill.teacher_epochs is None:
        return
    full = config.epochs - config.mild_epochs
    if config.distill.teacher_epochs >= full:
        expected = f"expected fewer than the {full} epochs before the mild ones, found {config.distill.teacher_epochs}"
        raise ConfigError(expected, parameter="teacher_epochs")


RULES: Final[tuple[Callable[[FitConfig], None], ...]] = (
    require_own_arguments,
    require_warmup_within_epochs,
    require_mild_epochs_within_epochs,
    require_augmentation_for_mild_epochs,
    require_no_warmup_with_one_cycle,
    require_one_initialization,
    require_one_validation,
    require_teacher_epochs_that_repeat,
)
"""Rules across settings; each raises ConfigError."""
