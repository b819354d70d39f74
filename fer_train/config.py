"""Every setting of a training run, validated at once and dumped as JSON beside what it made."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from fer_core import ConfigError
from fer_core.outputs.staging import staged
from fer_core.settings import flatten

OPTIMIZERS: Final[dict[str, dict[str, float]]] = {
    "adam": {"lr": 3e-4, "weight_decay": 0.0},
    "adamw": {"lr": 3e-3, "weight_decay": 0.05},
    "sgd": {"lr": 0.02, "weight_decay": 5e-4},
    "muon": {"lr": 1e-2, "weight_decay": 0.05},
}
"""Each with the peak rate and the decay to begin with, where it takes the place of a recipe's own optimizer."""
SCHEDULES: Final = ("constant", "cosine", "one-cycle")
DEVICES: Final = ("auto", "cpu", "cuda")
PRECISIONS: Final = ("auto", "fp32", "bf16")


def _require(ok: bool, name: str, expected: str, found: object) -> None:
    if not ok:
        raise ConfigError(f"{name}: expected {expected}, found {found!r}")


def _require_types(settings: Any) -> None:
    """Raise ConfigError where a plain field of a dataclass is of another type than it says, as in an edited file."""
    plain: dict[str, Any] = {"bool": bool, "int": int, "float": int | float, "str": str}
    plain |= {f"{name} | None": kind | None for name, kind in plain.items()}
    for entry in fields(settings):
        value, kind = getattr(settings, entry.name), plain.get(str(entry.type))
        if kind is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ConfigError(f"{entry.name}: expected {entry.type}, found {value!r:.80}")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How far an image may be changed before the network sees it; zero turns a change off."""

    flip: bool = True
    """Mirror left and right in half of all cases."""
    rotation_degrees: float = 10.0
    """Largest turn to either side."""
    shift: float = 0.1
    """Largest shift along each axis, as a share of the image's side."""
    zoom: float = 0.1
    """Largest magnification or reduction: the scale lies in 1 - zoom to 1 + zoom."""
    brightness: float = 0.1
    """Largest change of the gray level, as a share of 255."""
    contrast: float = 0.1
    """Largest change of the contrast: the factor lies in 1 - contrast to 1 + contrast."""
    erasing: float = 0.0
    """Share of images of which a rectangle is overwritten with noise (Zhong et al. 2020, Random Erasing)."""
    mixup: float = 0.0
    """Largest share of another image that is mixed into one, targets likewise (Zhang et al. 2018, mixup)."""

    def __post_init__(self) -> None:
        _require_types(self)
        _require(0 <= self.rotation_degrees <= 180, "rotation_degrees", "0 to 180", self.rotation_degrees)
        _require(0 <= self.zoom < 1, "zoom", "0 to below 1", self.zoom)
        for name in ("shift", "brightness", "contrast", "erasing"):
            _require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        _require(0 <= self.mixup <= 0.5, "mixup", "0 to 0.5", self.mixup)

    def mild(self) -> AugmentConfig:
        """Return half of every limit, without erasing and mixup."""
        halved = ("rotation_degrees", "shift", "zoom", "brightness", "contrast")
        return replace(self, erasing=0.0, mixup=0.0, **{name: getattr(self, name) / 2 for name in halved})


@dataclass(frozen=True)
class DistillConfig:
    """What a student learns from its teachers beside the labels (Hinton, Vinyals and Dean 2015)."""

    teachers: tuple[str, ...]
    """Runs or exports folders; what they teach is the mean of their probabilities."""
    temperature: float = 2.0
    """By which the logits of student and teachers are divided, beyond the teachers' own fitted temperature."""
    weight: float = 0.7
    """Share of the loss that is the divergence from the teachers; the rest is cross-entropy with the labels."""
    views: int | None = None
    """Epochs whose augmented faces the teachers judge. Later epochs show the same faces again, so that teachers cost
    nothing any more (Shen and Xing 2022, Fast Knowledge Distillation); the mild epochs at the end are judged anew.
    None: every epoch is judged."""

    def __post_init__(self) -> None:
        _require_types(self)
        _require(not isinstance(self.teachers, str), "teachers", "a list of runs or exports folders", self.teachers)
        object.__setattr__(self, "teachers", tuple(self.teachers))  # of a list, which is not equal to what is read back
        texts = all(isinstance(teacher, str) for teacher in self.teachers)
        _require(texts, "teachers", "a list of runs or exports folders", self.teachers)
        _require(len(self.teachers) > 0, "teachers", "one run or exports folder at least", self.teachers)
        _require(0 < self.temperature <= 100, "temperature", "above 0 to 100", self.temperature)
        _require(0 < self.weight <= 1, "weight", "above 0 to 1", self.weight)
        _require(self.views is None or self.views >= 1, "views", "at least 1", self.views)


@dataclass(frozen=True)
class FitConfig:
    """The recipe of one run. The defaults are the course report's: Adam at 3e-4, constant, with augmentation."""

    model: str = "course-cnn"
    """Name in the registry of `fer_train.models`."""
    model_arguments: dict[str, Any] = field(default_factory=dict)
    """What the model's constructor is called with beside its defaults."""
    drop_conflicts: bool = False
    """Leave out the Training faces whose pixels also stand in Training with another label."""
    drop_leaks: bool = False
    """Leave out the Training faces whose pixels also stand in the validation split."""
    hold_out: float | None = None
    """Fraction of the faces to train on that is drawn as the validation split; None validates on a split of the data
    or on other faces."""
    hold_out_seed: int = 0
    """Random seed of that draw."""
    epochs: int = 100
    """Passes over the Training rows."""
    batch_size: int = 128
    """Faces a step."""
    optimizer: str = "adam"
    """One of adam, adamw, sgd (Nesterov, momentum 0.9), muon (as in `fer_train.optim.muon`)."""
    lr: float = 3e-4
    """Peak learning rate."""
    weight_decay: float = 0.0
    """Of weights with two or more dimensions; biases and normalization are never decayed."""
    schedule: str = "constant"
    """constant; cosine: to zero; one-cycle: linear up over 30 % of the steps, then cosine to zero."""
    lr_warmup_epochs: float = 0.0
    """Epochs of linear warm-up from zero before constant and cosine."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes (Szegedy et al. 2016)."""
    ema_decay: float = 0.999
    """Decay a step of the exponential moving average of the weights; 0 keeps the last weights themselves."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """None trains on the images as they are."""
    mild_epochs: int = 0
    """Last epochs, with half the augmentation and no erasing or mixup: nearer to the faces that will be scored."""
    dirac: bool = False
    """Let convolutions begin by passing their inputs on, all but the first."""
    whitening: bool = False
    """Let the first convolution begin with the directions in which patches of Training faces vary most."""
    initial: str | None = None
    """Run or exports folder whose weights training begins with; None draws fresh ones."""
    distill: DistillConfig | None = None
    """None learns from the labels alone."""
    seed: int = 0
    """Of weights, order, augmentation and dropout."""
    device: str = "auto"
    """auto takes CUDA where there is one."""
    precision: str = "auto"
    """auto is bf16 on a GPU that computes it in hardware, else fp32; the weights are always float32."""
    compile: bool = False
    """Train the network as torch.compile makes it: a slow first step, and other rounding."""

    def __post_init__(self) -> None:
        _require_types(self)
        fraction = self.hold_out is None or 0 < self.hold_out < 1
        _require(fraction, "hold_out", "above 0 and below 1", self.hold_out)
        _require(0 <= self.hold_out_seed < 2**32, "hold_out_seed", "0 to 4,294,967,295", self.hold_out_seed)
        _require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _require(self.batch_size >= 2, "batch_size", "at least 2", self.batch_size)
        _require(0 <= self.seed < 2**32, "seed", "0 to 4,294,967,295", self.seed)
        try:  # JSON makes lists of tuples, and a run goes on by what it reads back
            object.__setattr__(self, "model_arguments", json.loads(json.dumps(self.model_arguments)))
        except (TypeError, ValueError):
            raise ConfigError(
                f"model_arguments: expected what JSON can hold, found {self.model_arguments!r:.200}"
            ) from None
        _require(isinstance(self.model_arguments, dict), "model_arguments", "a table", self.model_arguments)
        own = {"name", "mean", "std"} & set(self.model_arguments)
        _require(not own, "model_arguments", "none of name, mean and std, which are the data's", sorted(own))
        _require(0 < self.lr < math.inf, "lr", "above 0 and finite", self.lr)
        _require(0 <= self.weight_decay < math.inf, "weight_decay", "at least 0 and finite", self.weight_decay)
        epochs = f"0 to the {self.epochs} epochs"
        _require(0 <= self.lr_warmup_epochs <= self.epochs, "lr_warmup_epochs", epochs, self.lr_warmup_epochs)
        _require(0 <= self.mild_epochs <= self.epochs, "mild_epochs", epochs, self.mild_epochs)
        if self.initial is not None:
            for name in ("dirac", "whitening"):
                _require(not getattr(self, name), name, "none beside initial, which gives all weights", True)
        if self.schedule == "one-cycle":
            _require(
                self.lr_warmup_epochs == 0, "lr_warmup_epochs", "0, since one-cycle warms up", self.lr_warmup_epochs
            )
        if self.augment is None:
            _require(self.mild_epochs == 0, "mild_epochs", "0 without augmentation", self.mild_epochs)
        if self.distill is not None and self.distill.views is not None:
            full = self.epochs - self.mild_epochs
            fewer = f"fewer than the {full} epochs before the mild ones, so that one is repeated"
            _require(self.distill.views < full, "views", fewer, self.distill.views)
        _require(0 <= self.label_smoothing < 1, "label_smoothing", "0 to below 1", self.label_smoothing)
        _require(0 <= self.ema_decay < 1, "ema_decay", "0 to below 1", self.ema_decay)
        for name, known in (
            ("optimizer", tuple(OPTIMIZERS)),
            ("schedule", SCHEDULES),
            ("device", DEVICES),
            ("precision", PRECISIONS),
        ):
            _require(getattr(self, name) in known, name, f"one of {', '.join(known)}", getattr(self, name))

    def difference(self, other: FitConfig) -> str:
        """Return the settings in which another recipe is not this one, such as `lr: 0.1 there, 0.2 here`."""
        mine, others = flatten(asdict(self)), flatten(asdict(other))
        names = [name for name in {**mine, **others} if mine.get(name) != others.get(name)]
        return "; ".join(f"{name}: {others.get(name)} there, {mine.get(name)} here" for name in names)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        with staged(path, force=True) as stage:
            stage.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def of(cls, model: str, **options: Any) -> FitConfig:
        """Return the recipe of an architecture, changed by options.

        What of the recipe the options leave no use for is left out, its warm-up and its mild epochs: neither takes
        more than a third of the epochs, one-cycle has no other warm-up, and without augmentation nothing is milder.
        Another optimizer than the recipe's comes with a rate and a decay of its own.

        Parameters
        ----------
        model : str
            In the registry of `fer_train.models`.
        **options
            Fields of this class; `augment` is None or a dict of fields of `AugmentConfig`, and `distill` one of
            fields of `DistillConfig`.
        """
        from fer_train.models import find_architecture  # here, since torch takes a second to import

        recipe = dict(find_architecture(model).recipe)
        augment = recipe.pop("augment", {})
        wanted = options.pop("augment", {})
        changed = None if wanted is None else AugmentConfig(**{**augment, **wanted})
        taught = options.pop("distill", None)
        distill = None if taught is None else DistillConfig(**taught)
        optimizer = options.get("optimizer")
        if optimizer in tuple(OPTIMIZERS) and optimizer != recipe.get("optimizer", cls.optimizer):
            recipe |= OPTIMIZERS[optimizer]
        third = options.get("epochs", recipe.get("epochs", cls.epochs)) // 3
        for name in {"lr_warmup_epochs", "mild_epochs"} & set(recipe):
            recipe[name] = min(recipe[name], third)
        if options.get("schedule") == "one-cycle":
            recipe.pop("lr_warmup_epochs", None)
        if changed is None:
            recipe.pop("mild_epochs", None)
        return cls(model=model, augment=changed, distill=distill, **{**recipe, **options})

    @classmethod
    def load(cls, path: Path) -> FitConfig:
        """Read back what `save` wrote; raise ConfigError naming the file where it is anything else."""
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            augment, distill = table.pop("augment"), table.pop("distill")
            return cls(
                **table,
                augment=None if augment is None else AugmentConfig(**augment),
                distill=None if distill is None else DistillConfig(**distill),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: cannot be read as the settings of a run: {error}") from None
