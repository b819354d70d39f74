"""A Ray worker: a model on one device that scores one file after another into parts."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fer_core import DataError, DataWarning, Faces, FerError
from fer_core.io.read_ahead import read_ahead
from fer_infer.cluster.manifest import Part
from fer_infer.cluster.storage import InputFile, join, local_copy, place, sha256
from fer_infer.config import ScoreConfig
from fer_infer.scorer import Scorer
from fer_infer.scoring.concurrent_calls import scored
from fer_infer.scoring.pipeline import batches_for, row_name, write_predictions
from fer_infer.scoring.writers.predictions import prediction_writer
from fer_infer.scoring.writers.rejects import RejectWriter


@dataclass(frozen=True)
class Work:
    """What all workers of a run have in common.

    Attributes
    ----------
    model : str
        ONNX file as the user named it, for error messages.
    model_files : dict of str to bytes
        Contents of the ONNX file and its card by name; workers need no access to the exports folder.
    output : str
        Absolute path or URI of the folder for the parts.
    suffix : {".csv", ".parquet"}
        Format of the parts.
    config : ScoreConfig
        Settings; `threads` is the number of CPUs per worker.
    cpu_reason : str
        Why the worker must use the CPU; empty if it may choose.
    """

    model: str
    model_files: dict[str, bytes]
    output: str
    suffix: str
    config: ScoreConfig
    cpu_reason: str = ""

    def open_scorer(self) -> Scorer:
        """Load the model from temporary copies of its files."""
        with tempfile.TemporaryDirectory(prefix="fer-") as folder:
            for name, content in self.model_files.items():
                (Path(folder) / name).write_bytes(content)
            graph = Path(folder) / Path(self.model).name
            scorer = Scorer(graph, self.config.device, threads=self.config.threads)
        scorer.path = Path(self.model)
        return scorer


class FileScorer:
    """Scores files with one session; Ray Data creates one per actor.

    Parameters
    ----------
    work : ray.ObjectRef of Work
        Fetched with the first file, as is the model, so that their errors are returned like all others.
    """

    def __init__(self, work: Any) -> None:
        self._reference = work
        self._work: Work
        self._scorer: Scorer | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Score the one file in `batch`.

        Returns
        -------
        dict
            `position` of the file; `outcome`, the pickled `Part` or `FerError`; and `notes`, the warnings about the
            file, one per line. Errors are returned, because Ray would log a raised one as a crash.
        """
        position, address, file = (batch[name].item() for name in ("position", "address", "file"))
        outcome: Part | FerError
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            try:
                with local_copy(address) as data:
                    outcome = self.score(position, data, InputFile(**file))
            except FerError as error:
                outcome = error
            except OSError as error:  # such as a full disk for temporary files
                outcome = FerError(f"{file['source']}: cannot be scored: {error.strerror or error}")
        messages = [str(warning.message) for warning in caught if issubclass(warning.category, DataWarning)]
        notes = {message.replace(str(data), file["source"], 1) for message in messages}
        return {"position": [position], "outcome": [pickle.dumps(outcome)], "notes": ["\n".join(sorted(notes))]}

    def score(self, position: int, data: Path, file: InputFile) -> Part:
        """Write the part of a file, of which `data` is a local copy, and the list of its rejected rows, if any."""
        scorer, work = self._open()
        name = f"part-{position:05d}{work.suffix}"
        with tempfile.TemporaryDirectory(prefix="fer-") as folder:
            part = Path(folder) / name

            def read() -> Iterator[Faces]:
                batches = batches_for(scorer, data, work.config, decoders=work.config.threads)
                return _named(batches, file.source)

            with (
                RejectWriter(part, force=False) as rejects,
                read_ahead(lambda: scored(read, scorer, work.config, row_name)) as batches,
                prediction_writer(part)(
                    part, work.config.columns, scorer.card.labels, with_source=True, names=work.config.names
                ) as predictions,
            ):
                counts = write_predictions(batches, predictions, rejects, scorer.card.labels)
            rejects_name = f"rejects-{position:05d}.csv" if rejects.n else None
            return Part(
                **vars(counts),
                input=file,
                name=name,
                sha256=_placed(part, join(work.output, name)),
                rejects_name=rejects_name,
                rejects_sha256=_placed(rejects.path, join(work.output, rejects_name)) if rejects_name else None,
                provider=scorer.provider,
                provider_note=work.cpu_reason or scorer.provider_note,
            )

    def _open(self) -> tuple[Scorer, Work]:
        if self._scorer is None:
            import ray

            self._work = ray.get(self._reference)
            self._scorer = self._work.open_scorer()
        return self._scorer, self._work


def _named(batches: Iterator[Faces], source: str) -> Iterator[Faces]:
    """Yield batches and raise errors that name the user's file, of which a local copy is read."""

    def renamed(error: DataError) -> DataError:
        return DataError(source, error.message, row=error.row, column=error.column)

    try:
        for faces in batches:
            yield replace(faces, source=source, rejected=tuple(map(renamed, faces.rejected)))
    except DataError as error:
        raise renamed(error) from None


def _placed(file: Path, address: str) -> str:
    """Move a finished file to its address; return its sha256."""
    digest = sha256(str(file))
    assert digest is not None  # noqa: S101 - it was written just now
    place(file, address)
    return digest
