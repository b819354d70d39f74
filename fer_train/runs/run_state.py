"""The state of a training run between two epochs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fer_core import ModelError
from fer_core.outputs.staging import staged
from fer_train.optim.optimizer import WeightAverage


@dataclass
class RunState:
    """What a resumed run needs to go on exactly as if it had never stopped.

    Attributes
    ----------
    model : Module
        With the weights of the last step.
    optimizer : Optimizer
    average : WeightAverage
    epoch : int
        Epochs done.
    elapsed_s : float
        Seconds that these took.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    epoch: int = 0
    elapsed_s: float = 0.0

    def save(self, path: Path) -> None:
        """Write all of it to a file, or leave the file as it was."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state,
            "average_step": self.average.step,
            "epoch": self.epoch,
            "elapsed_s": self.elapsed_s,
        }
        content = io.BytesIO()
        torch.save(state, content)
        with staged(path, force=True) as stage:
            stage.write_bytes(content.getbuffer())  # not by torch.save, whose errors do not name a full disk

    def load(self, path: Path, device: torch.device) -> None:
        """Take over what `save` wrote; raise ModelError naming the file where it is anything else."""
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.state = state["average"]
            self.average.step = state["average_step"]
            self.epoch, self.elapsed_s = state["epoch"], state["elapsed_s"]
        except Exception as error:  # of pickle, zip files, tensors and missing keys: no base in common
            raise ModelError(f"{path}: cannot be resumed from: {type(error).__name__}: {error}") from None
