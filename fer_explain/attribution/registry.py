"""The registry of attribution methods: what each needs, what its values mean, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Final

from fer_core import ConfigError
from fer_explain.attribution.gradients import (
    gradient_shap,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from fer_explain.attribution.hooks import deeplift, grad_cam, guided_backprop, guided_grad_cam
from fer_explain.attribution.occlusion import occlusion, random
from fer_explain.attribution.settings import Batch, Found, Settings

_GRADIENT: Final = "a gradient"


@dataclass(frozen=True)
class Method:
    """One entry of the registry.

    Attributes
    ----------
    name : str
        As `--method` takes it.
    paper : str
        Authors, year, title, equation or section.
    needs : str
        What the method asks of the network.
    sign : str
        What the values mean.
    signed : bool
        Whether negative values can occur, and with them a diverging colour scale.
    passes : tuple of int
        Forward and backward passes a face, by the default settings.
    memory : float
        Memory of a pass, relative to that of a forward pass which is kept for a gradient.
    uses : tuple of str
        The `Settings` that it looks at.
    function : callable
        Explains one batch.
    """

    name: str
    paper: str
    needs: str
    sign: str
    signed: bool
    passes: tuple[int, int]
    memory: float
    uses: tuple[str, ...]
    function: Callable[[Batch], Found]

    def points(self, settings: Settings) -> int:
        """Return how many images of one face may pass through the network together."""
        if "window" in self.uses:
            return settings.windows
        return settings.samples if "samples" in self.uses else 1

    def require(self, settings: Settings) -> None:
        """Raise ConfigError where a setting was changed that the method does not look at."""
        usual = Settings(temperature=settings.temperature)  # it is the model's, and goes with `of`
        names = [each.name for each in fields(Settings)]
        self.require_names(name for name in names if getattr(settings, name) != getattr(usual, name))

    def require_names(self, given: Iterable[str]) -> None:
        """Raise ConfigError where one of the settings given is none that the method looks at."""
        for name in given:
            if name not in self.uses and name != "temperature":
                raise ConfigError(f"{name}: expected a setting of {self.name}: {', '.join(self.uses) or 'it has none'}")


_TOWARDS: Final = "positive raises the target's output, negative lowers it"
_SHARES: Final = f"{_TOWARDS}; the values add up to the difference from the baseline's output"

_ALL: Final = (
    Method(
        name="saliency",
        paper="Simonyan, Vedaldi and Zisserman 2013, Deep Inside Convolutional Networks, section 3",
        needs=_GRADIENT,
        sign="absolute: how much the target's logit changes, up or down, when a pixel changes by one gray level",
        signed=False,
        passes=(1, 1),
        memory=1,
        uses=("of",),
        function=saliency,
    ),
    Method(
        name="input-x-gradient",
        paper="Shrikumar, Greenside, Shcherbina and Kundaje 2016, Not Just a Black Box, section 3.2",
        needs=_GRADIENT,
        sign="signed: the gradient times the gray level, so it is relative to a black image; " + _TOWARDS,
        signed=True,
        passes=(1, 1),
        memory=1,
        uses=("of",),
        function=input_x_gradient,
    ),
    Method(
        name="integrated-gradients",
        paper="Sundararajan, Taly and Yan 2017, Axiomatic Attribution for Deep Networks, equation 1",
        needs="a gradient, a baseline",
        sign="signed: " + _SHARES,
        signed=True,
        passes=(34, 32),
        memory=1,
        uses=("of", "samples", "baseline"),
        function=integrated_gradients,
    ),
    Method(
        name="smoothgrad",
        paper="Smilkov, Thorat, Kim, Viégas and Wattenberg 2017, SmoothGrad, section 3",
        needs=_GRADIENT,
        sign="absolute: the saliency that is left when the gradient is averaged over noisy copies of the face",
        signed=False,
        passes=(32, 32),
        memory=1,
        uses=("of", "samples", "noise", "seed"),
        function=smoothgrad,
    ),
    Method(
        name="guided-backprop",
        paper="Springenberg, Dosovitskiy, Brox and Riedmiller 2015, Striving for Simplicity, section 3.4",
        needs="every activation a ReLU module of its own",
        sign="signed: the gradient along paths that raise activations all the way; it depends little on the target",
        signed=True,
        passes=(1, 1),
        memory=1.5,
        uses=("of",),
        function=guided_backprop,
    ),
    Method(
        name="grad-cam",
        paper="Selvaraju et al. 2017, Grad-CAM, equations 1 and 2",
        needs="a convolution",
        sign="at least 0: where the channels that speak for the target are active, as coarse as their layer",
        signed=False,
        passes=(1, 1),
        memory=1,
        uses=("of", "layer"),
        function=grad_cam,
    ),
    Method(
        name="guided-grad-cam",
        paper="Selvaraju et al. 2017, Grad-CAM, section 3.2",
        needs="a convolution, every activation a ReLU module of its own",
        sign="signed: guided backpropagation where Grad-CAM is above 0",
        signed=True,
        passes=(2, 2),
        memory=1.5,
        uses=("of", "layer"),
        function=guided_grad_cam,
    ),
    Method(
        name="deeplift",
        paper="Shrikumar, Greenside and Kundaje 2017, Learning Important Features, section 3.5.1 (rescale rule)",
        needs="every activation a module of its own, a baseline",
        sign="signed: " + _SHARES,
        signed=True,
        passes=(4, 2),
        memory=6,
        uses=("baseline",),
        function=deeplift,
    ),
    Method(
        name="gradient-shap",
        paper="Lundberg and Lee 2017; as expected gradients, Erion et al. 2021, equation 3",
        needs=_GRADIENT,
        sign=f"signed: {_TOWARDS}; the values add up to the difference from the mean output of even gray images",
        signed=True,
        passes=(65, 32),
        memory=1,
        uses=("of", "samples", "seed"),
        function=gradient_shap,
    ),
    Method(
        name="occlusion",
        paper="Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4.2",
        needs="nothing but outputs, a baseline",
        sign="signed: by how much the target's output falls while the pixel is covered, averaged over the squares",
        signed=True,
        passes=(122, 0),
        memory=0.5,
        uses=("of", "baseline", "window", "stride"),
        function=occlusion,
    ),
    Method(
        name="random",
        paper="none: the control that a method must beat",
        needs="nothing",
        sign="0 to 1, drawn by chance; it knows neither network nor face",
        signed=False,
        passes=(0, 0),
        memory=1,
        uses=("seed",),
        function=random,
    ),
)

METHODS: Final[Mapping[str, Method]] = {method.name: method for method in _ALL}
"""Attribution methods by name, in the order of `fer-explain methods`."""


def find_method(name: str) -> Method:
    """Return a method of the registry; raise ConfigError with those that there are where it is none."""
    if name not in METHODS:
        raise ConfigError(f"method: expected one of {', '.join(METHODS)}, found {name!r}")
    return METHODS[name]


def methods_table() -> str:
    """Return the registry as a Markdown table, one line a method."""
    lines = ["| method | paper | needs | values | passes | settings |", "|---|---|---|---|---|---|"]
    for method in METHODS.values():
        forward, backward = method.passes
        settings = ", ".join(method.uses) or "none"
        cells = (method.name, method.paper, method.needs, method.sign, f"{forward} + {backward}", settings)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
