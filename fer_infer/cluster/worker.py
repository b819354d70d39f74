"""One worker: the model on one device, scoring one file after the other into parts."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_core import DataError, Faces, FerError
from fer_core.io.read_ahead import read_ahead
from fer_core.io.reader import OnError
from fer_infer.cluster.manifest import Part
from fer_infer.cluster.storage import InputFile, join, local_copy, place, sha256
from fer_infer.scorer import Scorer
from fer_infer.scoring.pipeline import Scored, scored
from fer_infer.scoring.predictions import prediction_writer
from fer_infer.scoring.rejects import RejectWriter


@dataclass(frozen=True)
class Work:
    """What every worker is told.

    Attributes
    ----------
    model : str
        The ONNX file as its user named it, for errors.
    model_files : dict of str to bytes
        It and the card beside it, by name: a worker needs no access to the exports folder.
    output : str
        Absolute path or URI of the folder for the parts.
    suffix : {".csv", ".parquet"}
        The form of the parts.
    columns, device, threads, batch_size, tta, on_error, input_columns
        As for `fer_infer.score`.
    cpu_reason : str
        Why it is not CUDA, where the worker was not to try.
    """

    model: str
    model_files: dict[str, bytes]
    output: str
    suffix: str
    columns: str
    device: str
    threads: int
    batch_size: int
    tta: str
    on_error: OnError
    input_columns: Mapping[str, str] = field(default_factory=dict)
    cpu_reason: str = ""

    def open_scorer(self) -> Scorer:
        """Load the model from a copy of its files, which is not needed any longer then."""
        with tempfile.TemporaryDirectory(prefix="fer-") as folder:
            for name, content in self.model_files.items():
                (Path(folder) / name).write_bytes(content)
            scorer = Scorer(Path(folder) / Path(self.model).name, self.device, threads=self.threads)
        scorer.path = Path(self.model)
        return scorer


class FileScorer:
    """Scores files with one session; Ray Data makes one in each of its actors.

    Parameters
    ----------
    work : ray.ObjectRef of Work
        Fetched when the first file comes, like the model, so that what is wrong with them is told as any other error.
    """

    def __init__(self, work: Any) -> None:
        self._reference = work
        self._work: Work
        self._scorer: Scorer | None = None

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Score the one file of `batch`; return its position and, pickled, its `Part` or the `FerError` that it met.

        An error is returned and not raised, since it is the user's to mend: Ray would log it as a crash.
        """
        position, address, file = (batch[name].item() for name in ("position", "address", "file"))
        outcome: Part | FerError
        try:
            outcome = self.score(position, address, InputFile(**file))
        except FerError as error:
            outcome = error
        except OSError as error:  # as a full disk, where the copies are made
            outcome = FerError(f"{file['source']}: cannot be scored: {error.strerror or error}")
        return {"position": [position], "outcome": [pickle.dumps(outcome)]}

    def score(self, position: int, address: str, file: InputFile) -> Part:
        """Write the part of the file at `address`, and the list of its rejected rows where there are any."""
        scorer, work = self._open()
        name = f"part-{position:05d}{work.suffix}"
        counts = np.zeros(len(scorer.card.labels), np.int64)
        with tempfile.TemporaryDirectory(prefix="fer-") as folder, local_copy(address) as data:
            part = Path(folder) / name

            def read() -> Iterator[Scored]:
                settings = (work.batch_size, work.tta, work.on_error)
                columns = work.input_columns
                return scored(data, scorer, *settings, decoders=work.threads, source=file.source, columns=columns)

            with (
                RejectWriter(part, force=False) as rejects,
                read_ahead(read) as batches,
                prediction_writer(part)(part, work.columns, scorer.card.labels, with_source=True) as predictions,
            ):
                try:
                    for faces, logits, probabilities in batches:
                        named = _named(faces, file.source)
                        labels = logits.argmax(axis=1)
                        predictions.write(named, labels, logits, probabilities)
                        rejects.write(named.rejected)
                        counts += np.bincount(labels, minlength=len(counts))
                except DataError as error:
                    raise _renamed(error, file.source) from None
            rejects_name = f"rejects-{position:05d}.csv" if rejects.n else None
            return Part(
                input=file,
                name=name,
                sha256=_placed(part, join(work.output, name)),
                rows=int(counts.sum()),
                rejected=rejects.n,
                rejects_name=rejects_name,
                rejects_sha256=_placed(rejects.path, join(work.output, rejects_name)) if rejects_name else None,
                label_counts=dict(zip(scorer.card.labels, counts.tolist(), strict=True)),
                provider=scorer.provider,
                provider_note=work.cpu_reason or scorer.provider_note,
            )

    def _open(self) -> tuple[Scorer, Work]:
        if self._scorer is None:
            import ray

            self._work = ray.get(self._reference)
            self._scorer = self._work.open_scorer()
        return self._scorer, self._work


def _named(faces: Faces, source: str) -> Faces:
    """Return `faces` as coming from `source`, of which a local copy was read."""
    return replace(faces, source=source, rejected=tuple(_renamed(error, source) for error in faces.rejected))


def _renamed(error: DataError, source: str) -> DataError:
    return DataError(source, error.message, row=error.row, column=error.column)


def _placed(file: Path, address: str) -> str:
    """Put a finished file in its place; return its sha256."""
    digest = sha256(str(file))
    assert digest is not None  # noqa: S101 - it was written just now
    place(file, address)
    return digest
