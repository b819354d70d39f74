"""Arrays of any length in one `.npz`, written in memory that does not grow."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray


class ArrayFile:
    """Arrays that grow in temporary files and are then saved as one `.npz`."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.length = 0
        self._folder = folder
        self._stack = stack
        self._columns: dict[str, tuple[IO[bytes], np.dtype[Any], tuple[int, ...]]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._columns)

    def append(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append arrays of equal length to the columns of their names."""
        for name, array in arrays.items():
            if name not in self._columns:
                file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - the stack closes it
                self._stack.enter_context(file)
                self._columns[name] = (file, array.dtype, array.shape[1:])
            array.tofile(self._columns[name][0])
        self.length += len(arrays["rows"])

    def save(self, path: Path, texts: Mapping[str, str]) -> None:
        """Save columns and texts as `np.load` reads them, uncompressed and without loading them."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, (file, dtype, shape) in self._columns.items():
                header = {"descr": dtype_to_descr(dtype), "fortran_order": False, "shape": (self.length, *shape)}
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    write_array_header_1_0(member, header)
                    shutil.copyfileobj(file, member, 1 << 20)
            for name, text in texts.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.save(member, np.array(text))
