"""Knowledge distillation: a student sees what its teachers see, and learns how sure they are of every class."""

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
    """The mean opinion of several trained networks, calibrated before it is taught.

    Each gives its probabilities at the temperature of its card, and the temperature of their mean is fitted on the
    validation faces first (Guo et al. 2017, section 4.2): networks trained with label smoothing are less sure than they
    are right, and others surer.

    Parameters
    ----------
    config : DistillConfig
        Names the teachers.
    validation : Faces
        Validation faces, labeled.
    labels : sequence of str
        The student's classes, which the teachers must have in the same order.
    device : torch.device
        Where the student is trained.

    Attributes
    ----------
    fitted_temperature : float
        By which their logits are divided so that their probabilities agree best with the labels of `validation`.

    Raises
    ------
    ConfigError
        If a teacher knows other classes.
    ModelError, CardError
        If one cannot be loaded.
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
        self._answers: dict[tuple[int, int], Tensor] = {}
        logits = predict_logits(self.network, validation.images)
        self.fitted_temperature = fit_temperature(logits, validation.require_labels())

    def view(self, epoch: int) -> int | None:
        """Return the epoch whose faces an epoch shows, itself or the one it repeats; None where none is repeated."""
        return None if self.config.views is None else epoch % self.config.views

    def loss(
        self, images: Tensor, logits: Tensor, label_loss: Tensor, repeated: tuple[int, int] | None = None
    ) -> Tensor:
        """Weigh the student's loss on the labels with its divergence from the teachers.

        ``(1 - w) label_loss + w T^2 KL(teachers || student)``, both at temperature T (Hinton, Vinyals and Dean 2015,
        section 2: the factor T^2 keeps the two terms' gradients in proportion).

        Parameters
        ----------
        images : Tensor
            float32 (batch, 1, 48, 48) in 0..255, augmented: the same view that the student was given.
        logits : Tensor
            The student's, (batch, classes).
        label_loss : Tensor
            Scalar.
        repeated : tuple of int, optional
            View and number of a batch that comes again, and whose judgement is therefore kept. A resumed run judges it
            anew, which gives the same.

        Returns
        -------
        Tensor
            Scalar.
        """
        temperature, weight = self.config.temperature, self.config.weight
        taught = None if repeated is None else self._answers.get(repeated)
        if taught is None:
            with torch.no_grad():
                taught = self.network(images).float() / self.fitted_temperature
            if repeated is not None:
                self._answers[repeated] = taught
        divergence = functional.kl_div(
            functional.log_softmax(logits.float() / temperature, dim=1),
            functional.log_softmax(taught / temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - weight) * label_loss + weight * temperature**2 * divergence
