"""Attribution methods of a report, and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from torch import nn

from fer_core import ModelError
from fer_explain.attribution import AttributionConfig, Method, find_method
from fer_explain.attribution.preflight import find_cautions

DEFAULT_METHODS: Final = ("saliency", "integrated-gradients", "grad-cam", "occlusion", "smoothgrad")
REPORT_SETTINGS: Final[dict[str, Any]] = {
    "tolerance": 0.05,
    "standard_error": 1.0,
    "max_samples": 128,
    "window": 12,
    "stride": 6,
}
"""Settings that differ from those of `fer-explain attribute`: a report computes many maps, with larger errors and
about two fifths of the occlusions per map."""


@dataclass(frozen=True)
class ChosenMethods:
    """The methods of a report; the first one is used for masked faces and mean maps.

    Attributes
    ----------
    methods : tuple of Method
        At least one.
    cautions : mapping of str to tuple of str
        Method name -> reasons why its maps are only approximate for this network.
    left_out : mapping of str to str
        Name of a default method -> reason why its maps would be wrong for this network.
    """

    methods: tuple[Method, ...]
    cautions: dict[str, tuple[str, ...]]
    left_out: dict[str, str]


def choose_methods(network: nn.Module, names: Sequence[str] | None) -> ChosenMethods:
    """Choose the methods of a report.

    Parameters
    ----------
    network : torch.nn.Module
        The explained network.
    names : sequence of str or None
        Method names. Default: those of `DEFAULT_METHODS` that suit the network.

    Raises
    ------
    ConfigError
        If there is no such method.
    ModelError
        If the maps of a named method, or of all default methods, would be wrong for the network.
    """
    methods = [find_method(name) for name in dict.fromkeys(names or DEFAULT_METHODS)]
    findings = find_cautions(network, methods=tuple(method.name for method in methods))
    refused = {name: each.message for each in findings if each.verdict == "refused" for name in each.methods}
    suitable = tuple(method for method in methods if method.name not in refused)
    if not suitable or (names and len(suitable) < len(methods)):
        name = next(method.name for method in methods if method.name in refused)
        raise ModelError(f"{name}: {refused[name]}")
    cautions = {
        method.name: tuple(e.message for e in findings if e.verdict == "approximate" and method.name in e.methods)
        for method in suitable
    }
    left_out = {method.name: refused[method.name] for method in methods if method.name in refused}
    return ChosenMethods(suitable, cautions, left_out)


def settings_of(method: Method, seed: int) -> AttributionConfig:
    """Return the settings of a method in a report."""
    changed = {**REPORT_SETTINGS, "seed": seed}
    return replace(AttributionConfig(), **{name: value for name, value in changed.items() if name in method.uses})
