"""Count the images that pass forward and backward through a network."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook


class PassCounter:
    """Count the passes through networks of one class while the context is entered, copies of the network included.

    Parameters
    ----------
    network : torch.nn.Module
        A network of the class.

    Attributes
    ----------
    forward, backward : int
        Number of images that were passed forward and backward.
    """

    def __init__(self, network: nn.Module) -> None:
        self.forward = 0
        self.backward = 0
        self._kind = type(network)

    def __enter__(self) -> Self:
        self._handle = register_module_forward_hook(self._count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.remove()

    def _count(self, module: nn.Module, _: Any, output: Any) -> None:
        if type(module) is not self._kind:
            return
        self.forward += len(output)
        if output.requires_grad:
            output.register_hook(self._count_backward)

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += len(gradient)
