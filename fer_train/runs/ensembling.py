"""Combine several runs into one network, evaluated and written as a run that can be exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fer_core import ConfigError, Faces, ModelCard, read_faces
from fer_core.faces import no_row_of_split
from fer_core.io.crop import ALIGNED
from fer_core.io.reader import OnError
from fer_core.model_card import unfitted_temperature
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_infer.evaluation.evaluate import FILES
from fer_infer.evaluation.metrics import evaluate_predictions
from fer_infer.evaluation.seen_in_training import TrainingFaces
from fer_infer.photos.crops import crop_for
from fer_train.data.splits import validation_faces
from fer_train.models import ENSEMBLE
from fer_train.models.ensemble import Ensemble
from fer_train.prediction import predict_logits, softmax
from fer_train.runs.checkpoint import AVERAGE_FILE, load_model_and_card, save_weights, weights_sha256
from fer_train.runs.provenance import accuracy_record, git_commit, library_versions, network_record
from fer_train.runs.run_folder import SAMPLE_FILE, save_end, save_sample

SHARED: Final = ("labels", "standardization")
SHARED_DATA: Final = ("source", "sha256", "rows", "dropped", "held_out", "rows_left_out", "faces")
"""Entries of the card and of its training data in which all members must agree, since they share one card."""

FOLDER: Final = OutputFolder(always=(AVERAGE_FILE,), sometimes=(SAMPLE_FILE, *FILES))
"""Names of the files that are written."""


def ensemble(
    data: str | Path,
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    force: bool = False,
    on_error: OnError = "fail",
    input_columns: Mapping[str, str] | None = None,
    faces: str = ALIGNED,
) -> ModelCard:
    """Combine runs into one network that averages their probabilities, each at the temperature of its card.

    Parameters
    ----------
    data : str or Path
        Faces that include those on which the runs were validated; the ensemble is evaluated on them.
    runs : sequence of str or Path
        Two or more runs or exports folders, trained on the same faces.
    output : str or Path
        Run folder to write, like that of a training but without its metrics and state.
    force : bool
        Replace an existing folder.
    on_error, input_columns
        Parameters `on_error` and `columns` of `fer_core.iter_faces`, for `data`.
    faces : {"aligned", "detect", "whole"}
        How to take faces from images, see `fer_infer.photos.crops.crop_for`.

    Returns
    -------
    ModelCard
        Card with the seeds of all members and the accuracy of the ensemble.

    Raises
    ------
    ConfigError
        If there are fewer than two runs, or two that cannot be combined.
    ModelError, CardError
        If one cannot be loaded.
    DataError
        If the data do not contain the labeled validation faces of the runs.

    Examples
    --------
    >>> card = ensemble("faces.csv", ["exports/best", "exports/compact"], "runs/both")
    >>> [member["architecture"] for member in card.architecture_arguments["members"]]
    ['residual-small', 'compact']
    """
    if len(runs) < 2:
        raise ConfigError(f"expected two or more, found {len(runs)}", parameter="runs")
    crop = crop_for(faces)
    with staged(output, force=force, folder=FOLDER, inputs=(data, *runs)) as stage:
        whole = read_faces(data, on_error=on_error, columns=input_columns, crop=crop)
        model, card, validation = _combine(whole, runs)
        save_weights(stage / AVERAGE_FILE, model.state_dict(), card)
        save_sample(stage, validation)
        known = TrainingFaces.find(data, on_error=on_error, columns=input_columns, crop=crop)
        save_end(stage, validation, known, name=Path(output).name)
    return card


def _combine(data: Faces, runs: Sequence[str | Path]) -> tuple[Ensemble, ModelCard, Faces]:
    """Return the network, its card and the validation faces on which it was evaluated."""
    loaded = [load_model_and_card(run) for run in runs]
    cards = [card for _, card in loaded]
    for run, card in zip(runs, cards, strict=True):
        for key, expected in _shared(cards[0]).items():
            if (found := _shared(card)[key]) != expected:
                raise ConfigError(f"{run}: {key}: expected as in {runs[0]}, {expected!r:.200}, found {found!r:.200}")
    weights = [card.weights_sha256 for card in cards]
    for number, run in enumerate(runs):
        if (first := weights.index(weights[number])) < number:
            raise ConfigError(f"{run}: expected other weights than those of {runs[first]}, found the same")
    temperatures = [float(card.temperature["value"]) for card in cards]
    model = Ensemble([model for model, _ in loaded], temperatures).eval()
    faces = _validation(data, cards[0])
    probabilities = softmax(predict_logits(model, faces.images), 1.0)
    figures = evaluate_predictions(faces.require_labels(), probabilities, cards[0].labels)
    members = [
        {"architecture": card.architecture, "arguments": card.architecture_arguments, "temperature": temperature}
        for card, temperature in zip(cards, temperatures, strict=True)
    ]
    selections = list(dict.fromkeys(card.selection for card in cards))
    card = replace(
        cards[0],
        architecture=ENSEMBLE,
        architecture_arguments={"members": members},
        temperature=unfitted_temperature(),
        weights_sha256=weights_sha256(model.state_dict()),
        training_data={**_shared(cards[0])["training_data"], "members": list(map(network_record, cards))},
        selection=f"mean of the probabilities of {len(cards)} networks: {'; '.join(selections)}",
        seeds=tuple(seed for card in cards for seed in card.seeds),
        scores={cards[0].validation_split: accuracy_record(figures.accuracy, figures.n, figures.chance)},
        versions=library_versions(),
        git_commit=git_commit(),
    )
    return model, card, faces


def _validation(faces: Faces, card: ModelCard) -> Faces:
    """Return the faces on which the members were validated, or raise DataError."""
    found = validation_faces(faces, card)
    if found is None:
        faces.require_labels()
        splits = None if faces.splits is None else set(faces.splits.tolist())
        raise no_row_of_split(faces.source, card.validation_split, splits)
    return found


def _shared(card: ModelCard) -> dict[str, Any]:
    data = {key: card.training_data[key] for key in SHARED_DATA if key in card.training_data}
    return {**{key: getattr(card, key) for key in SHARED}, "training_data": data}
