"""Attribution maps of a whole file as numbers, in memory that does not grow with the file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import ConfigError, DataError, Faces, iter_faces, read_faces
from fer_core.faces import take_rows
from fer_core.io.crop import ALIGNED
from fer_core.io.reader import OnError, no_such_split, threads_for
from fer_core.outputs.array_file import ArrayFile
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.attribution.convergence import deltas_missed, median_of, unfinished_maps
from fer_explain.attribution.explainer import Explainer
from fer_explain.attribution.preflight import Caution
from fer_explain.attribution.registry import find_method
from fer_explain.config import MEMORY_MB, AttributionConfig
from fer_explain.verification import load_verified
from fer_infer.photos.crops import crop_for
from fer_infer.scoring.writers.rejects import RejectWriter

FACES_AT_ONCE: Final = 1024
"""Number of faces that are read, explained and written before the next ones are read."""


@dataclass(frozen=True)
class MapFile:
    """Summary of a file that `attribute` has written.

    Attributes
    ----------
    path : Path
        The `.npz` file.
    faces : int
        Number of explained faces.
    arrays : tuple of str
        Names of the arrays in the file.
    cautions : tuple of Caution
        Properties of the network that make the maps inexact; the file contains their messages.
    missed : float
        Median of the relative convergence deltas, see `missed_shares`; NaN for a method without a defined sum.
    unfinished : int
        Number of maps whose error, `errors` in the file, exceeds the setting at which the method stops.
    rows_left_out : int
        Number of rows that could not be read; they are listed in `OUTPUT.rejects.csv`.
    """

    path: Path
    faces: int
    arrays: tuple[str, ...]
    cautions: tuple[Caution, ...]
    missed: float
    unfinished: int = 0
    rows_left_out: int = 0


def attribute(  # noqa: PLR0913 - options of a public function
    data: str | Path,
    model: str | Path,
    method: str,
    output: str | Path,
    *,
    target: str = "predicted",
    config: AttributionConfig | None = None,
    rows: tuple[int, ...] | None = None,
    split: str | None = None,
    limit: int | None = None,
    memory_mb: float = MEMORY_MB,
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
    faces: str = ALIGNED,
    on_error: OnError = "fail",
) -> MapFile:
    """Explain the faces of a file and write the attribution maps as numbers.

    Memory does not grow with the number of faces, unless `rows` are given. `explain` returns maps instead.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.iter_faces` takes them.
    model : str or Path
        An exports folder or a run.
    method : str
        Name in `fer_explain.METHODS`.
    output : str or Path
        The `.npz` file to write: `attributions` float32 (N, 48, 48), `targets` int64 (N,), `logits` float32
        (N, classes), `rows` int64 (N,), where the method has them `deltas` float32 (N,), `samples` int64 (N,) and
        `errors` float32 (N,), see `fer_explain.attribution.attributions_of`, and as texts `method`, `target`,
        `settings` (JSON), `cautions`, `weights_sha256` and `faces`.
    target : str
        Class whose output is explained: ``predicted``, ``true``, or the name of a class.
    config : AttributionConfig, optional
        Settings of the method.
    rows : tuple of int, optional
        Row numbers of the faces to explain, in this order; all faces by default.
    split : str, optional
        Explain only this split.
    limit : int, optional
        Explain at most the first `limit` faces.
    memory_mb : float
        Memory limit of the passes through the network, in MiB; it affects speed, not the results.
    force : bool
        Replace an existing output.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.
    faces : {"aligned", "detect", "whole"}
        How to take faces from images, see `fer_infer.photos.crops.crop_for`.
    on_error : {"fail", "skip"}
        For a row that cannot be read: stop, or leave it out and list it in `OUTPUT.rejects.csv`.

    Returns
    -------
    MapFile

    Raises
    ------
    FerError
        If data, model, a setting or the output is not as expected, or the method does not suit the network. No output
        is left in this case.

    Examples
    --------
    >>> written = attribute("faces.csv", "exports/compact", "saliency", "maps.npz", limit=4)
    >>> written.faces, np.load(written.path)["attributions"].shape
    (4, (4, 48, 48))
    """
    chosen, crop = find_method(method), crop_for(faces)
    shares, unfinished = list[NDArray[np.float64]](), 0
    with (
        RejectWriter(Path(output), force=force, needed=on_error == "skip") as rejects,
        staged(output, force=force, endings=(".npz",), inputs=(data, model)) as stage,
        ExitStack() as stack,
    ):
        explainer = Explainer.prepare(load_verified(model), chosen, target, config or AttributionConfig(), memory_mb)
        columns = ArrayFile(stage.parent, stack)
        advance = stack.enter_context(progress(chosen.name, None if rows is None else len(rows)))
        roles = ("label",) if target == "true" else ()
        read = _read(data, rows, split=split, roles=roles, columns=input_columns, crop=crop, on_error=on_error)
        for batch in _first(limit, read):
            rejects.write(batch.rejected)
            if not len(batch):
                continue
            arrays = explainer.arrays(batch, advance=advance)
            columns.append(arrays)
            shares.append(deltas_missed(arrays))
            unfinished += int(unfinished_maps(chosen, explainer.config, arrays).sum())
        columns.save(stage, {**explainer.texts(), "faces": faces})
    missed = median_of(np.concatenate(shares))
    return MapFile(Path(output), columns.length, columns.names, explainer.cautions, missed, unfinished, rejects.n)


def _read(data: str | Path, rows: tuple[int, ...] | None, **options: Any) -> Iterator[Faces]:
    """Yield the faces to explain, at least one; `options` are those of `iter_faces`."""
    if rows is not None:
        if not rows:
            raise ConfigError("expected at least one row number, found none", parameter="rows")
        yield take_rows(read_faces(data, **options), rows)
        return
    empty = True
    for faces in iter_faces(data, batch_rows=FACES_AT_ONCE, threads=threads_for(options["crop"]), **options):
        empty = empty and not len(faces)
        yield faces
    if empty and options["split"] is not None:
        raise no_such_split(data, options["split"], columns=options["columns"], crop=options["crop"])
    if empty:
        raise DataError(str(data), "has no faces")


def _first(limit: int | None, batches: Iterator[Faces]) -> Iterator[Faces]:
    """Yield the first faces, at most `limit`."""
    if limit is not None and limit < 1:
        raise ConfigError(f"expected at least 1, found {limit}", parameter="limit")
    left = math.inf if limit is None else limit
    for faces in batches:
        yield faces if len(faces) <= left else faces.take(slice(int(left)))
        left -= len(faces)
        if left <= 0:
            return
