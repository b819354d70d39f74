"""Loss, accuracy and chance level of a network on its validation faces."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from fer_core import EXPRESSIONS
from fer_infer.evaluation.chance import Chance, class_frequencies_nll, compare_with_chance
from fer_train.training.distributed import share

BATCH_SIZE = 512


@torch.no_grad()
def validate(fabric: Fabric, network: nn.Module, data: tuple[Tensor, Tensor]) -> tuple[float, float, Chance | None]:
    """Return mean cross-entropy, accuracy and a comparison with chance; each process scores its share.

    Parameters
    ----------
    fabric : Fabric
        Device and processes.
    network : torch.nn.Module
        Network to evaluate.
    data : tuple of Tensor
        Images, uint8 (N, 1, 48, 48), and labels, int64 (N,).
    """
    network.eval()
    images, labels = data
    n, classes = len(images), len(EXPRESSIONS)
    by_frequency = torch.from_numpy(class_frequencies_nll(labels.cpu(), classes)).to(images.device)
    local = share(n, fabric)
    totals = torch.zeros(4, dtype=torch.float64, device=images.device)
    batches = zip(torch.split(images[local], BATCH_SIZE), torch.split(labels[local], BATCH_SIZE), strict=True)
    for some, of_some in batches:
        logits = network(some.float().contiguous(memory_format=torch.channels_last))
        losses = functional.cross_entropy(logits, of_some, reduction="none").double()
        excess = losses - by_frequency[of_some]
        correct = (logits.argmax(1) == of_some).sum()
        totals += torch.stack([losses.sum(), correct, excess.sum(), excess.square().sum()])
    fabric.all_reduce(totals, reduce_op="sum")  # in place
    loss, accuracy, mean, square = (totals / n).tolist()
    deviation = max(square - mean**2, 0) ** 0.5
    counts = torch.bincount(labels, minlength=classes).cpu().numpy()
    return loss, accuracy, compare_with_chance(counts, round(accuracy * n), mean, deviation, EXPRESSIONS)
