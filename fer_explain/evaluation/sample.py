"""Sample: the model and the faces that attribution maps are evaluated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces
from fer_core.faces import take_rows
from fer_core.io.crop import ALIGNED
from fer_explain.attribution.targets import resolve_targets
from fer_explain.config import SampleConfig
from fer_explain.evaluation.compared_maps import cautions_about
from fer_explain.evaluation.skill import Skill, assess_skill
from fer_explain.face_file import FaceFile
from fer_explain.verification import VerifiedModel, load_verified
from fer_train.prediction import predict_logits, softmax


@dataclass(frozen=True, eq=False)
class Sample:
    """A model, and the faces that its attribution maps are evaluated on.

    Attributes
    ----------
    model : VerifiedModel
        The model.
    faces : Faces
        N faces, at least 2.
    targets : ndarray of int64, shape (N,)
        The class of each face whose logit is explained.
    cautions : mapping of str to list of str
        By method, properties of the network that make its maps inexact.
    skill : Skill
        Whether the model is better than chance; if it is not, evaluations of its maps are meaningless.
    taken : {"aligned", "detect", "whole"}
        How the faces were taken from images.
    """

    model: VerifiedModel
    faces: Faces
    targets: NDArray[np.int64]
    cautions: Mapping[str, list[str]]
    skill: Skill
    taken: str = ALIGNED

    @property
    def provenance(self) -> dict[str, Any]:
        """Model and faces of the evaluation, for a JSON file."""
        return {
            "architecture": self.model.card.architecture,
            "weights_sha256": self.model.weights_sha256,
            "data": Path(self.faces.source).name,
            "faces": self.taken,
            "faces_sha256": self.faces.sha256(),
            "n": len(self.faces),
            "cautions": dict(self.cautions),
            "skill": asdict(self.skill),
        }


def load_sample(
    data: str | Path, model: str | Path, methods: Sequence[str], config: SampleConfig, *, seed: int = 0
) -> Sample:
    """Load a model and draw faces for it; warn if the model is not better than chance.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run.
    methods : sequence of str
        Methods to evaluate.
    config : SampleConfig
        Faces to use. They are drawn without regard to their labels; all are used if there are fewer.
    seed : int
        Random seed of the draw.

    Raises
    ------
    FerError
        If data, model or a setting is not as expected, a method does not suit the network, or there are fewer than two
        faces.
    """
    source = FaceFile(data, config.split, config.columns, config.on_error, config.faces)
    verified = load_verified(model)
    cautions = cautions_about(verified.network, methods)
    faces = source.read(limit=None if config.rows else config.limit, roles=("label",))
    faces = _draw(faces, config, seed)
    if len(faces) < 2:
        raise DataError(faces.source, f"expected at least 2 faces for an interval, found {len(faces)}")
    logits = predict_logits(verified.network, faces.images)
    targets = resolve_targets(config.target, logits, faces, verified.card.labels)
    skill = assess_skill(verified.card, faces, softmax(logits, verified.temperature))
    skill.warn(str(model))
    return Sample(verified, faces, targets, cautions, skill, config.faces)


def _draw(faces: Faces, config: SampleConfig, seed: int) -> Faces:
    """Return the faces of the rows that are named, or faces drawn at random."""
    if config.rows is not None:
        return take_rows(faces, config.rows)
    if len(faces) <= config.sample_size:
        return faces
    return faces.take(np.sort(np.random.default_rng(seed).choice(len(faces), config.sample_size, replace=False)))
