"""Settings that are declared once: type, default, range and help. Validation and command-line options follow.

A class of settings is a frozen dataclass that derives from `Settings` and declares each field by `setting`:

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class WalkConfig(Settings):
...     steps: int = setting(64, "Number of steps.", at_least=1)
...     speed: float = setting(1.5, "Speed in m/s.", above=0)
>>> WalkConfig(steps=0)
Traceback (most recent call last):
    ...
fer_core.errors.ConfigError: steps: expected at least 1, found 0
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from types import NoneType
from typing import Any, Final, Self, get_args, get_type_hints

from fer_core.errors import ConfigError

SEED_LIMIT: Final = 2**32 - 1
"""Largest random seed that NumPy and PyTorch both accept."""


@dataclass(frozen=True)
class Setting:
    """Declaration of one setting.

    Attributes
    ----------
    help : str
        One or two sentences, shown by ``--help`` and in the documentation.
    above, at_least, below, at_most : float, optional
        Limits of a number; `above` and `below` are exclusive.
    choices : sequence of str, optional
        Allowed texts.
    default_text : str, optional
        Text of the default in the documentation, if the value itself does not explain it.
    option : str, optional
        Spelling on the command line; by default derived from the name of the field.
    metavar : str, optional
        Placeholder of the value in ``--help``.
    """

    help: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    choices: Sequence[str] | None = None
    default_text: str | None = None
    option: str | None = None
    metavar: str | None = None

    def range_text(self) -> str:
        """Return the allowed values in words, such as ``0 to below 1``; empty if any value is allowed."""
        if self.choices is not None:
            return f"one of {', '.join(self.choices)}"
        low = "" if self.at_least is None else f"{self.at_least:,}"
        low = low if self.above is None else f"above {self.above:,}"
        if self.at_most is not None:
            return f"{low} to {self.at_most:,}" if low else f"at most {self.at_most:,}"
        if self.below is not None:
            joint = "and" if self.above is not None else "to"
            return f"{low} {joint} below {self.below:,}" if low else f"below {self.below:,}"
        return f"at least {low}" if self.at_least is not None else low

    def allows(self, value: Any) -> bool:
        """Return whether a value of the right type lies in the range."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def require(self, name: str, value: Any) -> None:
        """Raise ConfigError naming the setting unless the value lies in the range."""
        if not self.allows(value):
            expected = self.range_text() or "a finite number"
            unlimited = self.at_most is None and self.below is None and "finite" not in expected
            if unlimited and isinstance(value, float) and not math.isfinite(value):
                expected += " and finite"
            raise ConfigError(f"expected {expected}, found {value!r}", parameter=name)


def setting(
    default: Any = MISSING,
    help: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    **limits: Any,
) -> Any:
    """Declare a field of a class of `Settings`.

    Parameters
    ----------
    default : object
        Default value.
    help : str
        Sentence for the command line and the documentation.
    factory : callable, optional
        Function that creates the default, for mutable values such as a dict.
    **limits
        Fields of `Setting`.
    """
    metadata = {"setting": Setting(help, **limits)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


class Settings:
    """Base class of dataclasses whose fields are declared by `setting`; construction checks types and ranges."""

    def __new__(cls, *_values: Any, **named: Any) -> Self:
        """Raise TypeError for an unknown name, and suggest the setting that is meant."""
        for name in sorted(named.keys() - {entry.name for entry in fields(cls)}):  # type: ignore[arg-type]
            raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {name!r}{_suggestion(cls, name)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.require({name: getattr(self, name) for name in settings_of(type(self))})

    @classmethod
    def require(cls, values: Mapping[str, Any]) -> None:
        """Raise ConfigError unless each value has the type and lies in the range of the setting of its name."""
        kinds = types_of(cls)
        for name, declared in settings_of(cls).items():
            if name not in values:
                continue
            value = values[name]
            if not _is_of(value, kinds[name]):
                kind = getattr(kinds[name], "__name__", str(kinds[name]))
                raise ConfigError(f"expected {kind}, found {value!r:.80}", parameter=name)
            if value is not None:
                declared.require(name, value)

    def __init_subclass__(cls) -> None:
        """Append a description of each setting to the class's docstring."""
        super().__init_subclass__()
        own = {name: entry for name, entry in vars(cls).items() if isinstance(entry, Field)}
        for name, entry in own.items():
            entry.type = cls.__annotations__[name]
        inherited = {name: entry for base in cls.__mro__ for name, entry in _declared(base).items()}
        lines = [
            f"{name} : {_documented(entry)}\n    {entry.metadata['setting'].help}"
            for name, entry in {**inherited, **own}.items()
            if "setting" in entry.metadata
        ]
        if lines:
            cls.__doc__ = _with_parameters(inspect.cleandoc(cls.__doc__ or ""), "\n".join(lines))


def _with_parameters(text: str, parameters: str) -> str:
    """Insert the section Parameters into a docstring, before its examples."""
    before, heading, examples = text.partition("\n\nExamples\n--------\n")
    return f"{before}\n\nParameters\n----------\n{parameters}{heading}{examples}"


def _suggestion(config: type, name: str) -> str:
    """Return the setting that a wrong name resembles; its spelling on the command line counts as its name."""
    spelled = {
        (declared.option or own).strip("-").replace("-", "_"): own for own, declared in settings_of(config).items()
    }
    names = {**{own: own for own in spelled.values()}, **spelled}
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else ""


def settings_of(config: type) -> Mapping[str, Setting]:
    """Return the declared settings of a class by name, in order."""
    return {entry.name: entry.metadata["setting"] for entry in fields(config) if "setting" in entry.metadata}


def types_of(config: type) -> Mapping[str, Any]:
    """Return the type of each field of a class."""
    return get_type_hints(config)


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one table: ``{"augment": {"zoom": 0.1}}`` becomes ``{"augment.zoom": 0.1}``."""
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def default_text(config: type, name: str) -> str:
    """Return the default of a setting as text; empty if there is none."""
    entry = next(entry for entry in fields(config) if entry.name == name)
    declared: Setting = entry.metadata["setting"]
    if declared.default_text is not None:
        return declared.default_text
    return _value_text(entry.default)


def _value_text(value: Any) -> str:
    if value is MISSING or value is None or value is False:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _declared(base: type) -> Mapping[str, Field[Any]]:
    fields_of: Mapping[str, Field[Any]] = getattr(base, "__dataclass_fields__", {})
    return fields_of


def _documented(entry: Field[Any]) -> str:
    declared: Setting = entry.metadata["setting"]
    default = _value_text(entry.default) if declared.default_text is None else declared.default_text
    parts = [
        getattr(entry.type, "__name__", str(entry.type)),
        declared.range_text(),
        f"default {default}" if default else "",
    ]
    return ", ".join(part for part in parts if part)


def _is_of(value: Any, kind: Any) -> bool:
    """Return whether a value has a plain type such as int; true for all other types, which are not checked."""
    allowed = get_args(kind) if NoneType in get_args(kind) else (kind,)
    if not all(plain in (bool, int, float, str, NoneType) for plain in allowed):
        return True
    if isinstance(value, bool):
        return bool in allowed
    return isinstance(value, allowed) or (float in allowed and isinstance(value, int))
