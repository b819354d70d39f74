"""Networks small enough to explain in milliseconds, with cards, and CSVs of faces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fer_core import EXPRESSIONS, ModelCard
from fer_core.model_card import unfitted_temperature
from fer_train.models import build_model
from fer_train.runs.checkpoint import weights_sha256

CNN = {"widths": [4, 5, 6], "hidden": 12}
DNN = {"widths": [40, 16]}


def make_network(architecture: str, arguments: dict[str, object], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(architecture, mean=128.0, std=64.0, **arguments).eval()


def enliven(network: nn.Module) -> nn.Module:
    """Give fresh weights the size at which activations neither die out nor grow (He et al. 2015, equation 10).

    As PyTorch draws them, a gradient at the face is so small that any two would count as equal.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:  # without biases a ReLU network is linear along each ray from the mean gray
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.bias, -bound, bound)
    return network


def assert_same_maps(found: NDArray[np.float32], expected: Any, share: float = 1e-5) -> None:
    """Hold maps to each other, to within a share of the largest value."""
    expected = np.asarray(expected)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max())


def train(network: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64], steps: int = 80) -> nn.Module:
    """Fit a network to a few faces by gradient descent with momentum, all faces at once."""
    pixels, classes = torch.from_numpy(images).float()[:, None], torch.from_numpy(labels)
    parameters = list(network.parameters())
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(steps):
        gradients = torch.autograd.grad(nn.functional.cross_entropy(network(pixels), classes), parameters)
        for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
            velocity.mul_(0.9).add_(gradient)
            parameter.data.sub_(0.05 * velocity)
    return network


def make_card(network: nn.Module, architecture: str, arguments: dict[str, object]) -> ModelCard:
    return ModelCard(
        architecture=architecture,
        architecture_arguments=arguments,
        labels=EXPRESSIONS,
        input_size=(48, 48),
        standardization={"mean": 128.0, "std": 64.0},
        temperature=unfitted_temperature(),
        precision="fp32",
        weights_sha256=weights_sha256(network.state_dict()),
        training_data={"source": "drawn.csv", "sha256": "0" * 64, "rows": {"Training": 10, "PublicTest": 5}},
        selection="the weights as they were drawn",
        seeds=(0,),
        scores={"PublicTest": {"n": 5, "accuracy": 0.2, "wilson_95": [0.04, 0.62], "tta": "none"}},
        versions={"torch": torch.__version__},
        git_commit="unknown",
    )


def write_csv(path: Path, images: NDArray[np.uint8], labels: Sequence[int] | None, ids: Sequence[str]) -> Path:
    """Write `id,label,feature` rows, or `id,feature` without labels."""
    lines = ["id,feature" if labels is None else "id,label,feature"]
    for i, image in enumerate(images):
        label = "" if labels is None else f"{labels[i]},"
        lines.append(f"{ids[i]},{label}{' '.join(map(str, image.ravel()))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
