"""State of a training run between two epochs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_core import ModelError
from fer_core.outputs.staging import staged
from fer_train.optim.optimizer import WeightAverage


@dataclass
class RunState:
    """State from which a run resumes as if it had never stopped.

    Attributes
    ----------
    model : Module
        Network with the weights of the last step.
    optimizer : Optimizer
    average : WeightAverage
        Moving average of the weights.
    epoch : int
        Number of finished epochs.
    elapsed_s : float
        Seconds that they took.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    epoch: int = 0
    elapsed_s: float = 0.0

    def averaged(self) -> dict[str, Tensor]:
        """Return the averaged weights under the names of the network."""
        return self.average.module.state_dict()

    def save(self, path: Path) -> None:
        """Write the state to a file, or leave the file as it was."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.averaged(),
            "average_steps": self.average.steps,
            "epoch": self.epoch,
            "elapsed_s": self.elapsed_s,
        }
        content = io.BytesIO()
        torch.save(state, content)
        with staged(path, force=True) as stage:
            stage.write_bytes(content.getbuffer())  # not by torch.save, whose errors do not name a full disk

    def load(self, path: Path, device: torch.device) -> None:
        """Restore what `save` wrote; raise ModelError naming the file if it is anything else."""
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.module.load_state_dict(state["average"])
            self.average.steps = state["average_steps"]
            self.epoch, self.elapsed_s = state["epoch"], state["elapsed_s"]
        except Exception as error:  # pickle, zip files, tensors and missing keys have no common base class
            raise ModelError(f"{path}: cannot be resumed from: {type(error).__name__}: {error}") from None
