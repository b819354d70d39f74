"""The attribution methods: requirements, meaning of the values, and cost of each.

Nothing heavy is imported here, so that a wrong name is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from fer_core.errors import ConfigError
from fer_explain.config import AttributionConfig

if TYPE_CHECKING:
    from fer_explain.attribution.methods.batch import Batch, MethodOutput

_GRADIENT: Final = "a gradient"


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes
    ----------
    name : str
        Name, as `--method` takes it.
    paper : str
        Authors, year, title, equation or section.
    needs : str
        What the network must provide.
    sign : str
        Meaning of the values.
    signed : bool
        Whether values can be negative, so that they need a diverging color scale.
    passes : tuple of int
        Forward and backward passes per face with default settings, without those of samples.
    sample_passes : tuple of int
        Forward and backward passes per sample; none for a method without samples.
    memory : float
        Memory of a pass, relative to that of a forward pass that is kept for a gradient.
    uses : tuple of str
        Settings of `AttributionConfig` that the method uses.
    module : str
        Module of `fer_explain.attribution.methods` that contains the method as a function of the same name.
    """

    name: str
    paper: str
    needs: str
    sign: str
    signed: bool
    passes: tuple[int, int]
    memory: float
    uses: tuple[str, ...]
    module: str
    sample_passes: tuple[int, int] = (0, 0)

    @property
    def function(self) -> Callable[[Batch], MethodOutput]:
        """Function that explains one batch."""
        found: Any = getattr(import_module(f"{__package__}.methods.{self.module}"), self.name.replace("-", "_"))
        return found  # type: ignore[no-any-return] # found by name

    @property
    def fills_batches(self) -> bool:
        """Whether the method divides its own passes into batches that faces share, because a face needs many."""
        return self.sample_passes != (0, 0) or "window" in self.uses

    @property
    def needs_gradient(self) -> bool:
        """Whether the method needs a backward pass."""
        return self.passes[1] + self.sample_passes[1] > 0

    @property
    def uses_network(self) -> bool:
        """Whether the method needs a pass through the network."""
        return self.passes[0] + self.sample_passes[0] > 0

    @property
    def cost(self) -> str:
        """Passes per face in words, such as ``1 + 1``, or ``(1 + 1) per sample``."""
        parts = []
        if self.passes != (0, 0) or self.sample_passes == (0, 0):
            parts.append("{} + {}".format(*self.passes))
        if self.sample_passes != (0, 0):
            parts.append("({} + {}) per sample".format(*self.sample_passes))
        return ", and ".join(parts)

    def bound(self, config: AttributionConfig) -> float | None:
        """Return the relative error at which a map is finished; None for a method without an iteration."""
        if "standard_error" in self.uses:
            return config.standard_error
        return config.tolerance if "tolerance" in self.uses else None

    def require(self, config: AttributionConfig) -> None:
        """Raise ConfigError if a setting that the method does not use differs from its default."""
        names = [each.name for each in fields(config)]
        self.require_names(name for name in names if getattr(config, name) != getattr(AttributionConfig, name))

    def require_names(self, settings: Iterable[str]) -> None:
        """Raise ConfigError if a named setting is not used by the method."""
        for name in settings:
            if name not in self.uses and name != "temperature":  # which comes from the model, not from the user
                used = ", ".join(f"`{own}`" for own in self.uses) or "none"
                raise ConfigError(f"not a setting of {self.name}, which uses {used}", parameter=name)


_TOWARDS: Final = "positive values raise the target's output, negative ones lower it"
_SHARES: Final = f"{_TOWARDS}; they sum to the difference between the outputs for face and baseline"

_ALL: Final = (
    Method(
        name="saliency",
        paper="Simonyan, Vedaldi and Zisserman 2013, Deep Inside Convolutional Networks, section 3",
        needs=_GRADIENT,
        sign="absolute: change of the target's logit, up or down, per gray level of the pixel",
        signed=False,
        passes=(1, 1),
        memory=1,
        uses=("of",),
        module="gradients",
    ),
    Method(
        name="input-x-gradient",
        paper="Shrikumar, Greenside, Shcherbina and Kundaje 2016, Not Just a Black Box, section 3.2",
        needs=_GRADIENT,
        sign="signed: gradient times gray level, relative to a black image; " + _TOWARDS,
        signed=True,
        passes=(1, 1),
        memory=1,
        uses=("of",),
        module="gradients",
    ),
    Method(
        name="integrated-gradients",
        paper="Sundararajan, Taly and Yan 2017, Axiomatic Attribution for Deep Networks, equation 1",
        needs="a gradient, a baseline",
        sign="signed: " + _SHARES,
        signed=True,
        passes=(1, 0),
        sample_passes=(1, 1),
        memory=1,
        uses=("of", "samples", "max_samples", "tolerance", "baseline"),
        module="path_integral",
    ),
    Method(
        name="smoothgrad",
        paper="Smilkov, Thorat, Kim, Viégas and Wattenberg 2017, SmoothGrad, section 3",
        needs=_GRADIENT,
        sign="absolute: magnitude of the gradient averaged over noisy copies of the face",
        signed=False,
        passes=(0, 0),
        sample_passes=(1, 1),
        memory=1,
        uses=("of", "samples", "max_samples", "standard_error", "noise", "seed"),
        module="sampling",
    ),
    Method(
        name="guided-backprop",
        paper="Springenberg, Dosovitskiy, Brox and Riedmiller 2015, Striving for Simplicity, section 3.4",
        needs="a separate ReLU module for each activation",
        sign="signed: gradient along paths of positive gradients; it depends little on the target",
        signed=True,
        passes=(1, 1),
        memory=1.5,
        uses=("of",),
        module="hooks",
    ),
    Method(
        name="grad-cam",
        paper="Selvaraju et al. 2017, Grad-CAM, equations 1 and 2",
        needs="a convolution",
        sign="at least 0: where channels that raise the target's output are active, at the resolution of their layer",
        signed=False,
        passes=(1, 1),
        memory=1,
        uses=("of", "layer"),
        module="hooks",
    ),
    Method(
        name="guided-grad-cam",
        paper="Selvaraju et al. 2017, Grad-CAM, section 3.2",
        needs="a convolution, a separate ReLU module for each activation",
        sign="signed: guided backpropagation times Grad-CAM",
        signed=True,
        passes=(2, 2),
        memory=1.5,
        uses=("of", "layer"),
        module="hooks",
    ),
    Method(
        name="deeplift",
        paper="Shrikumar, Greenside and Kundaje 2017, Learning Important Features, section 3.5.1 (rescale rule)",
        needs="a separate module for each activation, a baseline",
        sign="signed: " + _SHARES,
        signed=True,
        passes=(4, 2),
        memory=6,
        uses=("baseline",),
        module="hooks",
    ),
    Method(
        name="gradient-shap",
        paper="Lundberg and Lee 2017; as expected gradients, Erion et al. 2021, equation 3",
        needs=_GRADIENT,
        sign=f"signed: {_TOWARDS}; they sum to the difference from the mean output for uniform gray images",
        signed=True,
        passes=(1, 0),
        sample_passes=(2, 1),
        memory=1,
        uses=("of", "samples", "max_samples", "standard_error", "seed"),
        module="sampling",
    ),
    Method(
        name="occlusion",
        paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4.2",
        needs="outputs, a baseline",
        sign="signed: drop of the target's output while the pixel is covered, averaged over the squares",
        signed=True,
        passes=(122, 0),
        memory=0.5,
        uses=("of", "baseline", "window", "stride"),
        module="occlusion",
    ),
    Method(
        name="random",
        paper="none: the control for all other methods",
        needs="nothing",
        sign="0 to 1, random; independent of network and face",
        signed=False,
        passes=(0, 0),
        memory=1,
        uses=("seed",),
        module="occlusion",
    ),
)

METHODS: Final[Mapping[str, Method]] = {method.name: method for method in _ALL}
"""Attribution methods by name, in the order of `fer-explain methods`."""


def find_method(name: str) -> Method:
    """Return a method of the registry.

    Raises
    ------
    ConfigError
        If there is no such method; it lists those there are.

    Examples
    --------
    >>> find_method("grad-cam").uses
    ('of', 'layer')
    """
    if name not in METHODS:
        raise ConfigError(f"expected one of {', '.join(METHODS)}, found {name!r}", parameter="method")
    return METHODS[name]


def table_rows() -> list[tuple[str, str, str, str, str, str]]:
    """Return name, paper, requirements, meaning of the values, passes and settings of each method."""
    return [
        (
            method.name,
            method.paper,
            method.needs,
            method.sign,
            method.cost,
            ", ".join(method.uses) or "none",
        )
        for method in METHODS.values()
    ]


def methods_table() -> str:
    """Return the methods as a Markdown table for the documentation."""
    lines = ["| method | paper | needs | values | passes | settings |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in table_rows())])
