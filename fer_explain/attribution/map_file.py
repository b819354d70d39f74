"""The maps of a whole file of faces as numbers, however many they are."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, Faces, iter_faces, read_faces
from fer_core.faces import take_rows
from fer_core.io.reader import no_such_split
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_explain.attribution import (
    Method,
    Settings,
    attributions_of,
    baseline_of,
    batch_size_for,
    cam_layer,
    find_method,
    missed_shares,
    resolve_targets,
)
from fer_explain.attribution.preflight import Finding, require_suited
from fer_explain.attribution.settings import DELTAS
from fer_explain.verification import Proven, load_proven
from fer_train.prediction import predict_logits

FACES_AT_ONCE: Final = 1024
"""Faces that are read, explained and written before the next ones are read."""
MEMORY_MB: Final = 512.0


@dataclass(frozen=True)
class MapFile:
    """What `attribute` has written.

    Attributes
    ----------
    path : Path
        The `.npz`.
    faces : int
        How many it explains.
    cautions : tuple of Finding
        What of the network makes the method less than exact; the file has their text too.
    missed : float
        Median of `missed_shares`: by how much maps miss the sum that the method promises; NaN where it promises none.
    """

    path: Path
    faces: int
    cautions: tuple[Finding, ...]
    missed: float


def attribute(
    data: str | Path,
    model: str | Path,
    method: str,
    output: str | Path,
    *,
    target: str = "predicted",
    settings: Settings | None = None,
    rows: tuple[int, ...] | None = None,
    split: str | None = None,
    memory_mb: float = MEMORY_MB,
    force: bool = False,
    input_columns: Mapping[str, str] | None = None,
) -> MapFile:
    """Explain the faces of a file, in memory that does not grow with the file, and keep the maps as numbers.

    Parameters
    ----------
    data : str or Path
        Faces, as `fer_core.iter_faces` takes them.
    model : str or Path
        An exports folder or a run.
    method : str
        Name in `fer_explain.attribution.METHODS`.
    output : str or Path
        The `.npz` to write: `attributions` float32 (N, 48, 48), `targets` int64 (N,), `logits` float32
        (N, classes), `rows` int64 (N,), the method's own extras such as `deltas` float32 (N,), and as texts `method`,
        `target`, `settings` (JSON, what the method looked at), `cautions` and `weights_sha256`.
    target : str
        ``predicted``, ``true``, or the name of a class.
    settings : Settings, optional
        How the method goes about it.
    rows : tuple of int, optional
        Row numbers to explain, in the order wanted; the file is then read whole. All rows without it.
    split : str, optional
        The split to explain.
    memory_mb : float
        What the passes through the network may use, in MiB; see `batch_size_for`. It changes speed, not the results.
    force : bool
        Replace an existing output.
    input_columns : mapping of str to str, optional
        Role to column name of `data`, as `columns` of `fer_core.iter_faces`.

    Returns
    -------
    MapFile

    Raises
    ------
    FerError
        If the data, the model, a setting or the output is not what it must be, or the method does not suit the
        network; nothing is then written.
    """
    chosen = find_method(method)
    with staged(output, force=force, endings=(".npz",), inputs=(data, model)) as stage, ExitStack() as stack:
        proven = load_proven(model)
        asked = settings or Settings()
        settings = _resolved(proven, chosen, asked)
        cautions = require_suited(proven.network, chosen, asked)
        batch_size = batch_size_for(proven.network, chosen, memory_mb)
        columns = _Columns(stage.parent, stack)
        shares: list[NDArray[np.float64]] = []
        advance = stack.enter_context(progress(chosen.name, None if rows is None else len(rows)))
        for faces in _read(data, split, rows, roles=("label",) * (target == "true"), columns=input_columns):
            logits = predict_logits(proven.network, faces.images)
            targets = resolve_targets(target, logits, faces, proven.card.labels)
            found = attributions_of(
                proven.network,
                chosen,
                faces.images,
                targets,
                rows=faces.rows,
                settings=settings,
                batch_size=batch_size,
                advance=advance,
            )
            columns.append({**found, "targets": targets, "logits": logits, "rows": faces.rows})
            if DELTAS in found:
                shares.append(missed_shares(found["attributions"], found[DELTAS]))
        uses = {*chosen.uses, *(["temperature"] if settings.of == "probabilities" else [])}
        used = {name: value for name, value in asdict(settings).items() if name in uses}
        texts = {
            "method": chosen.name,
            "target": target,
            "settings": json.dumps(used),
            "cautions": "\n".join(finding.message for finding in cautions),
            "weights_sha256": proven.weights_sha256,
        }
        columns.save(stage, texts)
    missed = np.concatenate(shares) if shares else np.array([np.nan])
    median = float(np.nanmedian(missed)) if np.isfinite(missed).any() else math.nan
    return MapFile(Path(output), columns.length, cautions, median)


def _resolved(proven: Proven, method: Method, settings: Settings) -> Settings:
    """Return settings in which a baseline and a layer that were left open have become those of the network."""
    method.require(settings)
    if settings.of == "probabilities":
        settings = replace(settings, temperature=proven.temperature)
    if "baseline" in method.uses:
        settings = replace(settings, baseline=baseline_of(proven.network, settings))
    if "layer" in method.uses:
        settings = replace(settings, layer=cam_layer(proven.network, settings.layer).name)
    return settings


def _read(data: str | Path, split: str | None, rows: tuple[int, ...] | None, **options: Any) -> Iterator[Faces]:
    """Yield the faces to explain, which are at least one; `options` are roles and columns."""
    if rows is not None:
        yield take_rows(read_faces(data, split, **options), rows)
        return
    empty = True
    for faces in iter_faces(data, batch_rows=FACES_AT_ONCE, split=split, **options):
        if len(faces):
            empty = False
            yield faces
    if empty:
        raise (
            DataError(str(data), "has no faces")
            if split is None
            else no_such_split(data, split, columns=options["columns"])
        )


class _Columns:
    """Arrays that grow on disk, and become the members of one `.npz`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.length = 0
        self._folder = folder
        self._stack = stack
        self._columns: dict[str, tuple[IO[bytes], np.dtype[Any], tuple[int, ...]]] = {}

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Add arrays of one length to the columns of their names."""
        for name, array in arrays.items():
            if name not in self._columns:
                file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - the stack closes it
                self._stack.enter_context(file)
                self._columns[name] = (file, array.dtype, array.shape[1:])
            self._columns[name][0].write(np.ascontiguousarray(array).data)
        self.length += len(arrays["rows"])

    def save(self, path: Path, texts: Mapping[str, str]) -> None:
        """Write columns and texts as `numpy.load` reads them, uncompressed."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, (file, dtype, shape) in self._columns.items():
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (self.length, *shape),
                }
                file.seek(0)
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(file, member, 1 << 20)
            for name, text in texts.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                    np.lib.format.write_array(member, np.array(text))
