"""Names of the methods that can be evaluated: those of the registry, and controls that ignore the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fer_core.errors import ConfigError
from fer_explain.attribution.registry import METHODS

CENTER: Final = "center"
CONTROLS: Final = ("random", CENTER)
"""Controls that every method is compared with: noise, and a bell over the center of the image, where faces are."""


def parse_methods(text: str) -> tuple[str, ...]:
    """Parse comma-separated names of methods.

    Raises
    ------
    ConfigError
        If a name is unknown, or occurs twice.

    Examples
    --------
    >>> parse_methods("saliency,grad-cam")
    ('saliency', 'grad-cam')
    """
    names = tuple(name.strip() for name in text.split(","))
    require_methods(names)
    return names


def require_methods(names: Sequence[str]) -> None:
    """Raise ConfigError unless every name is a method or a control, and occurs once."""
    known = (*METHODS, CENTER)
    for name in names:
        if name not in known:
            raise ConfigError(f"expected one of {', '.join(known)}, found {name!r}", parameter="methods")
    if len(set(names)) < len(names):
        raise ConfigError(f"expected each method once, found {','.join(names)}", parameter="methods")


def with_controls(methods: Sequence[str]) -> tuple[str, ...]:
    """Return the methods followed by the controls that are not among them."""
    return (*methods, *(control for control in CONTROLS if control not in methods))
