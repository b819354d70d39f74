"""Choose and stream the table in a zip or tar archive."""

from __future__ import annotations

import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, Final, cast

from fer_core.errors import DataError, listed, shorten
from fer_core.io.file_types import TAR, ZIP

TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".parquet", ".pq", ".arrow", ".feather"})
COMPRESSION_SUFFIXES: Final = frozenset({".gz", ".zst", ".xz", ".bz2"})
IMAGE_SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"}
)
TEXT_SUFFIXES: Final = frozenset({".md", ".rst", ".bib", ".pdf", ".html", ".json", ".yml", ".yaml", ".py", ".ipynb"})
TEXT_NAMES: Final = ("readme", "license", "licence", "copying", "notice", "citation")
SYSTEM_NAMES: Final = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
"""Files and folders of operating systems, in lower case, in addition to names that begin with a dot."""

_AES: Final = 99
_OTHER_METHODS: Final = {1: "shrink", 6: "implode", 9: "deflate64", 93: "zstandard", 95: "xz", 98: "PPMd"}
_DAMAGED: Final = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)


def is_clutter(name: str) -> bool:
    """Return whether a path contains a hidden name, or a file or folder of an operating system."""
    return any(_is_hidden(part) or part.lower() in SYSTEM_NAMES for part in PurePosixPath(name).parts)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and not name.startswith("..")


def is_text_about_data(name: str) -> bool:
    """Return whether a file describes data rather than containing it, such as a readme or a license."""
    path = PurePosixPath(name)
    return path.suffix.lower() in TEXT_SUFFIXES or path.name.lower().startswith(TEXT_NAMES)


def choose_member(names: Sequence[str], source: str, kind: str) -> str:
    """Return the name of the only member that can be a table of faces.

    Parameters
    ----------
    names : sequence of str
        Regular files in the archive.
    source : str
        Name of the archive in errors.
    kind : str
        `ZIP` or `TAR`, the type in errors.

    Raises
    ------
    DataError
        If there is not exactly one such member. The message lists the members and explains how to name one.
    """
    if office := _office_type(names):
        raise DataError(source, f"expected a CSV, Parquet or Arrow file, found {office}")
    files = [name for name in names if not is_clutter(name)]
    others = [name for name in files if not is_text_about_data(name)]
    tables = [name for name in others if _table_suffix(name) in TABLE_SUFFIXES]
    images = [name for name in others if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
    if not tables and images:
        raise DataError(source, f"is {kind} of {len(images):,} images; unpack it and name the folder")
    chosen = tables or others
    if not chosen:
        raise DataError(source, f"is {kind} without a CSV, Parquet or Arrow file; found {_quoted(files)}")
    if len(chosen) > 1:
        example = f"{source}/{chosen[-1]}"
        raise DataError(source, f"is {kind} of several files, found {_quoted(chosen)}; name one, such as {example}")
    return chosen[0]


def find_member(names: Sequence[str], wanted: str, source: str) -> str:
    """Return the member that the user named, by its full path or, if it is unique, by its file name.

    Raises
    ------
    DataError
        If there is no such member, or more than one.
    """
    matching = [name for name in names if PurePosixPath(name) == PurePosixPath(wanted)]
    matching = matching or [name for name in names if PurePosixPath(name).name == wanted and not is_clutter(name)]
    if len(matching) != 1:
        files = [name for name in names if not is_clutter(name)]
        problem = f"contains {len(matching)} files {wanted!r}" if matching else f"contains no file {wanted!r}"
        raise DataError(source, f"{problem}; found {_quoted(files)}")
    return matching[0]


@contextmanager
def open_zip_member(file: IO[bytes], wanted: str | None, source: str) -> Iterator[io.BufferedReader]:
    """Open a member of a zip archive.

    Parameters
    ----------
    file : binary file
        Archive, seekable.
    wanted : str, optional
        Member to open; by default the only table.
    source : str
        Name of the archive in errors.

    Raises
    ------
    DataError
        If the archive is damaged, or the member cannot be chosen or read.
    """
    with _damage_named(source, "zip"), zipfile.ZipFile(file) as archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        name = choose_member(names, source, ZIP) if wanted is None else find_member(names, wanted, source)
        require_safe(name, source)
        entry = archive.getinfo(name)
        if entry.flag_bits & 1 or entry.compress_type == _AES:
            raise DataError(source, f"member {shorten(name, 80)} is encrypted; unpack it with its password first")
        try:
            member = archive.open(entry)
        except NotImplementedError:
            method = _OTHER_METHODS.get(entry.compress_type, f"method {entry.compress_type}")
            expected = "expected a member that is stored or compressed by deflate, bzip2 or lzma"
            raise DataError(source, f"{expected}, found {method} in {shorten(name, 80)}; unpack it first") from None
        with member:
            yield io.BufferedReader(cast(Any, member))


def choose_tar_member(stream: IO[bytes], wanted: str | None, source: str) -> str:
    """Read a tar archive to its end and return the name of the member to open; parameters as in `open_zip_member`."""
    names: list[str] = []
    with _damage_named(source, "tar"), tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined] # otherwise all headers would stay in memory
            if entry.isfile():
                names.append(entry.name)
    name = choose_member(names, source, TAR) if wanted is None else find_member(names, wanted, source)
    require_safe(name, source)
    return name


@contextmanager
def open_tar_member(stream: IO[bytes], name: str, source: str) -> Iterator[io.BufferedReader]:
    """Open the member that `choose_tar_member` returned."""
    with _damage_named(source, "tar"), tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        while (entry := archive.next()) is not None:
            if entry.name == name and entry.isfile():
                yield io.BufferedReader(cast(Any, _Whole(archive.extractfile(entry), entry.size)))
                return
            archive.members.clear()  # type: ignore[attr-defined]
        raise EOFError(f"it no longer contains {name}")


def require_safe(name: str, source: str) -> None:
    """Raise DataError for a member whose path leads outside the archive, which is an attack or damage."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(source, f"expected members with paths inside the archive, found {shorten(name, 80)}")


class _Header(tarfile.TarInfo):
    """A header that must be intact: `tarfile` treats a damaged header and a truncated archive as the normal end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined] # typeshed lacks it
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"bad header: {error}") from None


class _Whole(io.RawIOBase):
    """A member of a tar archive that must be complete: `tarfile` reads a truncated one as a shorter file."""

    def __init__(self, member: Any, size: int) -> None:
        self._member = member
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n: int = self._member.readinto(buffer) if self._left else 0
        if n == 0 and self._left:
            raise EOFError("it ends within a member")
        self._left -= n
        return n


@contextmanager
def _damage_named(source: str, kind: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise DataError(source, f"the {kind} archive is damaged or cut short ({error})") from None
    except RuntimeError as error:  # `zipfile` reports an encrypted member like this
        if "encrypted" not in str(error) and "password" not in str(error):
            raise
        raise DataError(source, f"the {kind} archive is encrypted; unpack it with its password first") from None


def _table_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return (
        PurePosixPath(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSION_SUFFIXES else path.suffix.lower()
    )


def _office_type(names: Sequence[str]) -> str | None:
    """Recognize other formats that are zip archives, such as Excel workbooks."""
    if "[Content_Types].xml" in names:
        return "an Excel workbook" if any(name.startswith("xl/") for name in names) else "an Office document"
    if "mimetype" in names and "content.xml" in names:
        return "an OpenDocument file"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays (.npz)"
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "a PyTorch checkpoint"
    return None


def _quoted(names: Sequence[str]) -> str:
    return listed([shorten(name, 80) for name in names])
