"""One method, prepared for one model: the steps that `explain` and `attribute` share."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from numpy.typing import NDArray

from fer_core import Faces
from fer_core.terminal.progress import Advance
from fer_explain.attribution.attributions import attributions_of, batch_size_for
from fer_explain.attribution.methods.batch import baseline_of
from fer_explain.attribution.methods.hooks import cam_layer
from fer_explain.attribution.preflight import Caution, require_suited
from fer_explain.attribution.registry import Method
from fer_explain.attribution.targets import resolve_targets
from fer_explain.config import AttributionConfig
from fer_explain.verification import VerifiedModel
from fer_train.prediction import predict_logits


@dataclass(frozen=True, eq=False)
class Explainer:
    """A method with settings that are resolved for a model.

    Attributes
    ----------
    model : VerifiedModel
        The model.
    method : Method
        The method.
    target : str
        ``predicted``, ``true``, or the name of a class.
    config : AttributionConfig
        Settings, with the model's baseline, layer and temperature filled in.
    cautions : tuple of Caution
        Properties of the network that make the maps inexact.
    batch_size : int
        Images that pass through the network together.
    """

    model: VerifiedModel
    method: Method
    target: str
    config: AttributionConfig
    cautions: tuple[Caution, ...]
    batch_size: int

    @classmethod
    def prepare(
        cls, model: VerifiedModel, method: Method, target: str, config: AttributionConfig, memory_mb: float
    ) -> Self:
        """Resolve settings, check that the method suits the network and measure the batch size.

        Raises
        ------
        ConfigError
            If the method does not use a setting that was changed, or `memory_mb` is too small.
        ModelError
            If the method's maps of the network would be wrong.
        """
        resolved = _resolved(model, method, config)
        cautions = require_suited(model.network, method, config)
        return cls(model, method, target, resolved, cautions, batch_size_for(model.network, method, memory_mb))

    def arrays(self, faces: Faces, *, advance: Advance | None = None) -> dict[str, NDArray[Any]]:
        """Explain faces; return the arrays of `attributions_of`, `targets`, `logits` and `rows`."""
        network = self.model.network
        logits = predict_logits(network, faces.images)
        targets = resolve_targets(self.target, logits, faces, self.model.card.labels)
        found = attributions_of(
            network,
            self.method,
            faces.images,
            targets,
            rows=faces.rows,
            config=self.config,
            batch_size=self.batch_size,
            logits=logits,
            advance=advance,
        )
        return {**found, "targets": targets, "logits": logits, "rows": faces.rows}

    def texts(self) -> dict[str, str]:
        """Return how the maps were made: `method`, `target`, `settings`, `cautions` and `weights_sha256`."""
        uses = {*self.method.uses, *(["temperature"] if self.config.of == "probabilities" else [])}
        used = {name: value for name, value in asdict(self.config).items() if name in uses}
        return {
            "method": self.method.name,
            "target": self.target,
            "settings": json.dumps(used),
            "cautions": "\n".join(caution.message for caution in self.cautions),
            "weights_sha256": self.model.weights_sha256,
        }


def _resolved(model: VerifiedModel, method: Method, config: AttributionConfig) -> AttributionConfig:
    """Return settings in which baseline, layer and temperature are those of the model unless they were given."""
    method.require(config)
    if config.of == "probabilities":
        config = replace(config, temperature=model.temperature)
    if "baseline" in method.uses:
        config = replace(config, baseline=baseline_of(model.network, config))
    if "layer" in method.uses:
        config = replace(config, layer=cam_layer(model.network, config.layer).name)
    return config
