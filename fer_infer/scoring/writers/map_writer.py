"""Write attribution maps in batches, as `.npz` or Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fer_core import IMAGE_SIZE
from fer_core.extras import needed_from
from fer_core.outputs.array_file import ArrayFile
from fer_core.outputs.staging import staged
from fer_core.settings import settings_of
from fer_infer.attribution.maps import SIGNED, AttributionMaps, attributions_of
from fer_infer.config import MapConfig, ScoreConfig
from fer_infer.saliency import SaliencyModel
from fer_infer.scorer import Scorer
from fer_infer.scoring.concurrent_calls import B
from fer_infer.scoring.explained import Result
from fer_infer.scoring.summary import counted

ENDINGS: Final = (".npz", ".parquet")


class MapWriter:
    """Writes the output of `explain`, in memory that does not grow.

    An `.npz` contains `attributions` float32 (N, 48, 48), `targets` int64 (N,), `logits` float32 (N, classes), `rows`
    int64 (N,), where the method has them `deltas`, `samples` and `errors` (N,), and as texts `method`, `target`,
    `settings` (JSON), `weights_sha256` and `faces`. A Parquet file has the same as columns and metadata, with maps as
    lists of 2304 values.

    Parameters
    ----------
    stage : Path
        File to write.
    target : str
        Its final name.
    config : ScoreConfig
        Settings.
    stack : ExitStack
        Closes temporary files.
    """

    def __init__(self, stage: Path, target: str, config: ScoreConfig, stack: ExitStack) -> None:
        self.target = target
        self.signed = config.method in SIGNED
        self._config = config
        self._faces = self._unfinished = 0
        self._stage = stage
        if Path(target).suffix.lower() == ".parquet":
            with needed_from("parquet"):
                self._file: ArrayFile | _ParquetFile = stack.enter_context(_parquet_file(stage))
        else:
            self._file = ArrayFile(stage.parent, stack)

    def write(self, maps: AttributionMaps) -> None:
        """Write the maps of further faces."""
        self._faces += len(maps.rows)
        limit = self._config.error_limit
        if maps.errors is not None and limit is not None:
            self._unfinished += int(np.count_nonzero(~(maps.errors <= limit)))
        names = ("attributions", "targets", "logits", "rows", "deltas", "samples", "errors")
        arrays = {name: getattr(maps, name) for name in names}
        self._file.append({name: values for name, values in arrays.items() if values is not None})

    def close(self, model: SaliencyModel) -> None:
        """Complete the file of the maps of `model`."""
        if not self._faces:
            nothing = attributions_of(model, np.empty((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8), config=self._config)
            self.write(nothing)
        texts = {
            "method": self._config.method,
            "target": self._config.target,
            "settings": json.dumps({name: getattr(self._config, name) for name in settings_of(MapConfig)}),
            "weights_sha256": model.card.weights_sha256,
            "faces": self._config.faces,
        }
        self._file.save(self._stage, texts)

    def to_text(self) -> str:
        """Return what was written, as a line."""
        text = f"{self.target}: {counted(self._faces, 'map')} by {self._config.method}"
        limit = self._config.error_limit
        if self._unfinished and limit is not None:
            text += f", {self._unfinished:,} of them with errors above {100 * limit:g}%"
        return text


def open_maps(stack: ExitStack, config: ScoreConfig, inputs: Sequence[str | Path], *, force: bool) -> MapWriter | None:
    """Open the output of `explain`, which appears when `stack` ends; None if there is none.

    Raises
    ------
    OutputError
        If the output cannot be written.
    FerError
        If Parquet is requested and `pyarrow` is not installed.
    """
    if config.explain is None:
        return None
    target = os.path.expanduser(config.explain)  # noqa: PTH111 - Path.expanduser raises for an unknown user
    stage = stack.enter_context(staged(target, force=force, endings=ENDINGS, inputs=inputs))
    return MapWriter(stage, target, config, stack)


def with_maps_written(
    batches: Iterable[Result[B]], writer: MapWriter | None, model: Scorer | SaliencyModel
) -> Iterator[Result[B]]:
    """Yield batches, write their maps if there is a writer, and complete its file at the end."""
    for result in batches:
        maps = result[-1]
        if writer is not None and maps is not None:
            writer.write(maps)
        yield result
    if writer is not None and isinstance(model, SaliencyModel):
        writer.close(model)


class _ParquetFile:
    """Arrays as columns of a Parquet file; the first of several dimensions are rows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parquet: Any = None

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append arrays of equal length as a row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: _column(pa, values) for name, values in arrays.items()}
        batch = pa.record_batch(list(columns.values()), names=list(columns))
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._path, batch.schema)
        self._parquet.write_batch(batch)

    def save(self, path: Path, texts: Mapping[str, str]) -> None:
        """Complete the file, with texts as its metadata."""
        self._parquet.add_key_value_metadata(dict(texts))
        self._parquet.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        if self._parquet is not None:
            with suppress(Exception):  # of a full disk, which the first error names
                self._parquet.close()


@contextmanager
def _parquet_file(path: Path) -> Iterator[_ParquetFile]:
    import pyarrow  # noqa: F401 - a missing package is reported before the model is loaded

    file = _ParquetFile(path)
    try:
        yield file
    except BaseException:
        file.abandon()
        raise


def _column(pa: Any, values: NDArray[Any]) -> Any:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), int(np.prod(values.shape[1:])))
