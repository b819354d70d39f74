"""Errors and warnings of the toolkit; a command prints any of them as one line.

    Exception
    └── FerError            base class: the user can fix it
        ├── DataError       a file of faces: names the file, the row and the column
        ├── CardError       a model card
        ├── ModelError      a model file
        ├── DeviceError     a device that is not available
        ├── OutputError     an output that exists already or cannot be written
        └── ConfigError     a setting outside its range (also a ValueError)
    UserWarning
    └── FerWarning
        ├── DataWarning     columns or rows that a reader left out
        ├── TrainingWarning a network that does not learn
        └── CacheWarning    compiled code that could not be reused

Messages name parameters as Python writes them, in backticks: "out.csv exists; `force=True` replaces it". A command
with such an option prints that as ``--force``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

THREADLESS: Final = ("can't start new thread", "pthread_create", "Resource temporarily unavailable")
"""Texts of errors that are raised if a process may not start another thread."""


class FerError(Exception):
    """Base class for errors the user can fix, in the input or the environment.

    Examples
    --------
    >>> from fer_core import FerError, read_faces
    >>> try:
    ...     faces = read_faces("missing.csv")
    ... except FerError as error:
    ...     print(error)
    missing.csv: cannot be read: No such file or directory
    """


class DataError(FerError):
    """Faces that cannot be read.

    Parameters
    ----------
    source : str
        Name of the file or folder, as the user gave it; `-` is standard input.
    message : str
        Expected and found values.
    row : int, optional
        Row number; the header is row 1.
    column : str, optional
        Name of the column.

    Examples
    --------
    >>> print(DataError("test.csv", "expected 2304 integers in 0..255, found 2303", row=1042, column="feature"))
    test.csv row 1042, column 'feature': expected 2304 integers in 0..255, found 2303
    """

    def __init__(self, source: str, message: str, *, row: int | None = None, column: str | None = None) -> None:
        self.source = source
        self.message = message
        self.row = row
        self.column = column
        where = source
        if row is not None:
            where += f" row {row}"
        if column is not None:
            where += f", column {column!r}"
        super().__init__(f"{where}: {message}")

    def __reduce__(self) -> tuple[Callable[..., DataError], tuple[str, str]]:
        """Rebuild from the parts; by default an exception pickles only its formatted message."""
        return partial(type(self), row=self.row, column=self.column), (self.source, self.message)


class CardError(FerError):
    """A model card with a missing, unknown or contradicting entry.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from pathlib import Path
    >>> from fer_core import ModelCard
    >>> card = ModelCard.load_json(Path("exports/compact/card.json"))
    >>> replace(card, seeds=())
    Traceback (most recent call last):
        ...
    fer_core.errors.CardError: seeds: expected one or more integers, found ()
    """


class ModelError(FerError):
    """A model file that is missing, damaged, or not the one its card describes.

    Examples
    --------
    >>> print(ModelError("model.onnx: cannot be loaded by ONNX Runtime: Protobuf parsing failed"))
    model.onnx: cannot be loaded by ONNX Runtime: Protobuf parsing failed
    """


class DeviceError(FerError):
    """A requested device that is not available.

    Examples
    --------
    >>> print(DeviceError("CUDA was requested but is not available: no NVIDIA driver"))
    CUDA was requested but is not available: no NVIDIA driver
    """


class OutputError(FerError):
    """An output that already exists, or that cannot be written.

    Examples
    --------
    >>> from fer_core import read_faces
    >>> from fer_core.io.csv.writer import write_csv
    >>> write_csv(read_faces("faces.csv"), "faces.csv")
    Traceback (most recent call last):
        ...
    fer_core.errors.OutputError: faces.csv: exists already; `force=True` replaces it
    """


class FerWarning(UserWarning):
    """Base class for warnings; a command prints each one as one line.

    Examples
    --------
    >>> import warnings
    >>> from fer_core import FerWarning, read_faces
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", FerWarning)
    ...     faces = read_faces("faces.csv")
    """


class DataWarning(FerWarning):
    """Data that a reader ignored without an error, such as unknown columns.

    Examples
    --------
    >>> from pathlib import Path
    >>> import warnings
    >>> from fer_core import read_faces
    >>> text = Path("faces.csv").read_text().replace("Usage", "fold", 1)
    >>> _ = Path("renamed.csv").write_text(text)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     faces = read_faces("renamed.csv")
    >>> print(caught[0].message)
    renamed.csv: columns left out: 'fold'
    """


class TrainingWarning(FerWarning):
    """A network that does not learn, such as one with dead layers.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", TrainingWarning)  # stop a training that fails
    """


class CacheWarning(FerWarning):
    """Compiled code that could not be loaded from the cache; results are the same without it."""


class ConfigError(FerError, ValueError):
    """A setting or parameter outside its range.

    Parameters
    ----------
    message : str
        Expected and found values.
    parameter : str, optional
        Name of the parameter; a command spells it as its option.

    Examples
    --------
    >>> print(ConfigError("expected at least 1, found 0", parameter="epochs"))
    epochs: expected at least 1, found 0
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        self.message = message
        self.parameter = parameter
        super().__init__(message if parameter is None else f"{parameter}: {message}")

    def __reduce__(self) -> tuple[Callable[..., ConfigError], tuple[str]]:
        """Rebuild from the parts."""
        return partial(type(self), parameter=self.parameter), (self.message,)


NO_THREADS: Final = (
    "no more threads can be started; `threads=1` or OMP_NUM_THREADS=1 needs the fewest (ulimit -u shows the limit)"
)


def lacks_threads(error: BaseException) -> bool:
    """Return whether an error of Python, ONNX Runtime or the system is caused by a lack of threads or processes."""
    if isinstance(error, OSError):
        return error.errno == errno.EAGAIN and error.filename is None
    return isinstance(error, Exception) and any(words in str(error) for words in THREADLESS)


def lacks_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether an error is caused by a lack of memory, including those of PyTorch on the CPU and on a GPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without its full stop, or the name of its class if it has none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__).rstrip(".")


def shorten(text: str, length: int = 40) -> str:
    """Return a text in quotes, cut after `length` characters."""
    return repr(text if len(text) <= length else text[:length] + "...")


def listed(items: Sequence[str], most: int = 8) -> str:
    """Return the first `most` items, separated by commas, and the number of the others."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more or "none"
