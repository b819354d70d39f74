"""Knowledge distillation: a student learns the class probabilities of its teachers on the same images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_core import ConfigError, Faces
from fer_train.config import DistillConfig
from fer_train.models.ensemble import Ensemble
from fer_train.prediction import predict_logits
from fer_train.runs.checkpoint import load_model_and_card
from fer_train.temperature import fit_temperature


class Teachers:
    """Mean of the probabilities of several trained networks, calibrated before distillation.

    Each teacher has the temperature of its card, and the temperature of their mean is fitted on the validation faces
    (Guo et al. 2017, section 4.2): networks trained with label smoothing are underconfident, others overconfident.

    Parameters
    ----------
    config : DistillConfig
        Settings, with the paths of the teachers.
    validation : Faces
        Labeled validation faces.
    labels : sequence of str
        Classes of the student, which the teachers must have in the same order.
    device : torch.device
        Device of the student.

    Attributes
    ----------
    fitted_temperature : float
        Divisor of their logits that maximizes the likelihood of the labels of `validation`.

    Raises
    ------
    ConfigError
        If a teacher has other classes.
    ModelError, CardError
        If a teacher cannot be loaded.
    """

    def __init__(self, config: DistillConfig, validation: Faces, labels: tuple[str, ...], device: torch.device) -> None:
        self.config = config
        models: list[nn.Module] = []
        temperatures: list[float] = []
        for path in config.teachers:
            model, card = load_model_and_card(path)
            if card.labels != labels:
                raise ConfigError(f"{path}: expected a teacher of {', '.join(labels)}, found {', '.join(card.labels)}")
            models.append(model)
            temperatures.append(float(card.temperature["value"]))
        self.network = Ensemble(models, temperatures).eval().requires_grad_(False).to(device)
        self._logits_of: dict[tuple[int, int], Tensor] = {}
        logits = predict_logits(self.network, validation.images)
        self.fitted_temperature = fit_temperature(logits, validation.require_labels())

    def view(self, epoch: int) -> int | None:
        """Return the number of the epoch that an epoch repeats, or its own; None if no epoch is repeated."""
        return None if self.config.teacher_epochs is None else epoch % self.config.teacher_epochs

    def loss(self, images: Tensor, logits: Tensor, label_loss: Tensor, key: tuple[int, int] | None = None) -> Tensor:
        """Return the weighted sum of the loss on the labels and the divergence from the teachers.

        The loss is ``(1 - w) label_loss + w T^2 KL(teachers || student)``, with the divergence at temperature T. The
        factor T^2 keeps the gradients of the two terms in proportion (Hinton, Vinyals and Dean 2015, section 2).

        Parameters
        ----------
        images : Tensor
            float32 (batch, 1, 48, 48) in 0..255, augmented, as the student received them.
        logits : Tensor
            Logits of the student, (batch, classes).
        label_loss : Tensor
            Scalar loss on the labels.
        key : tuple of int, optional
            View and number of a batch that later epochs repeat; the teachers' logits are stored under it. A resumed
            run computes the same logits again.

        Returns
        -------
        Tensor
            Scalar loss.
        """
        temperature, weight = self.config.temperature, self.config.weight
        teacher_logits = None if key is None else self._logits_of.get(key)
        if teacher_logits is None:
            with torch.no_grad():
                teacher_logits = self.network(images).float() / self.fitted_temperature
            if key is not None:
                self._logits_of[key] = teacher_logits
        divergence = functional.kl_div(
            functional.log_softmax(logits.float() / temperature, dim=1),
            functional.log_softmax(teacher_logits / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - weight) * label_loss + weight * temperature**2 * divergence
