"""What is put to the test: a proven network, some faces, and for each the class that its maps explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataError, Faces, read_faces
from fer_core.faces import take_rows
from fer_explain.attribution import resolve_targets
from fer_explain.evaluation.compared_maps import cautions_about
from fer_explain.evaluation.skill import Skill, assess_skill
from fer_explain.verification import VerifiedModel, load_verified
from fer_train.prediction import predict_logits, softmax


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and the faces that its maps are tested on.

    Attributes
    ----------
    proven : VerifiedModel
        The network.
    faces : Faces
        N of them, at least 2.
    targets : ndarray of int64, shape (N,)
        The class of each face whose logit is explained.
    cautions : mapping of str to list of str
        By method, what of the network makes its maps less than exact.
    skill : Skill
        Whether the network is better than chance; if it is not, tests of its maps mean nothing.
    """

    proven: VerifiedModel
    faces: Faces
    targets: NDArray[np.int64]
    cautions: Mapping[str, list[str]]
    skill: Skill

    @property
    def provenance(self) -> dict[str, Any]:
        """What was tested, for a JSON file; a figure without it could be of any network and any faces."""
        return {
            "architecture": self.proven.card.architecture,
            "weights_sha256": self.proven.weights_sha256,
            "data": Path(self.faces.source).name,
            "faces_sha256": self.faces.sha256(),
            "n": len(self.faces),
            "cautions": dict(self.cautions),
            "skill": asdict(self.skill),
        }


def load_subject(
    data: str | Path,
    model: str | Path,
    methods: Sequence[str],
    *,
    count: int,
    rows: tuple[int, ...] | None = None,
    split: str | None = None,
    target: str = "predicted",
    seed: int = 0,
    input_columns: Mapping[str, str] | None = None,
) -> Subject:
    """Load a network and draw faces for it; warn if the network is no better than chance.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.read_faces` takes them.
    model : str or Path
        An exports folder or a run.
    methods : sequence of str
        Whose maps will be tested.
    count : int
        Faces to draw, without regard to their labels; all where there are fewer.
    rows : tuple of int, optional
        Row numbers to take instead of drawing.
    split : str, optional
        The split to take faces of.
    target : str
        ``predicted``, ``true``, or the name of a class.
    seed : int
        Of the draw.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.

    Raises
    ------
    FerError
        If the data, the model or a setting is not what it must be, a method does not suit the network, or there are
        fewer than two faces.
    """
    if count < 2:
        raise ConfigError(f"faces: expected at least 2 to estimate from, found {count}")
    proven = load_verified(model)
    cautions = cautions_about(proven.network, methods)
    faces = read_faces(data, split, roles=("label",), columns=input_columns)
    if rows is not None:
        faces = take_rows(faces, rows)
    elif len(faces) > count:
        faces = faces.take(np.sort(np.random.default_rng(seed).choice(len(faces), count, replace=False)))
    if len(faces) < 2:
        raise DataError(faces.source, f"expected at least 2 faces to estimate from, found {len(faces)}")
    logits = predict_logits(proven.network, faces.images)
    targets = resolve_targets(target, logits, faces, proven.card.labels)
    skill = assess_skill(proven.card, faces, softmax(logits, proven.temperature))
    skill.warn(str(model))
    return Subject(proven, faces, targets, cautions, skill)
