"""File formats, recognized by their first bytes."""

from __future__ import annotations

from typing import Final

from fer_core.git_lfs import LFS_MAGIC

HEAD_BYTES: Final = 512
"""Number of bytes needed to recognize a format; the checksum of a tar header covers all of them."""

GZIP: Final = "gzip"
ZSTD: Final = "zstandard"
XZ: Final = "xz"
BZIP2: Final = "bzip2"
ZIP: Final = "a zip archive"
TAR: Final = "a tar archive"
PARQUET: Final = "Parquet"
ARROW_FILE: Final = "an Arrow IPC file"
ARROW_STREAM: Final = "an Arrow IPC stream"
PNG: Final = "a PNG image"
JPEG: Final = "a JPEG image"
GIF: Final = "a GIF image"
TIFF: Final = "a TIFF image"
WEBP: Final = "a WebP image"
BMP: Final = "a BMP image"
HEIF: Final = "an HEIF or AVIF image"
FILM: Final = "a film"
LFS_POINTER: Final = "a Git LFS pointer"

COMPRESSIONS: Final = frozenset({GZIP, ZSTD, XZ, BZIP2})
ARCHIVES: Final = frozenset({ZIP, TAR})
TABLES: Final = frozenset({PARQUET, ARROW_FILE, ARROW_STREAM})
IMAGES: Final = frozenset({PNG, JPEG})
"""Types of the images that are read as faces of 48x48 pixels."""
PICTURES: Final = IMAGES | {GIF, TIFF, WEBP, BMP, HEIF}
"""Types of the images from which faces can be cut."""

_HEIF_BRANDS: Final = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
"""Major brands of pictures in the container of ISO/IEC 14496-12, which also holds films."""

_AVIF_BRANDS: Final = (b"avif", b"avis")

_TS_PACKET: Final = 188
"""Bytes of a packet of an MPEG transport stream, each of which begins with G (ISO/IEC 13818-1)."""

PARQUET_MAGIC: Final = b"PAR1"
_ZSTD_SKIPPABLE_MAGIC: Final = b"\x2a\x4d\x18"
"""Bytes 2 to 4 of a frame without data (RFC 8878, section 3.1.2); pzstd writes one first."""

_MAGICS: Final = (
    (b"\x1f\x8b", GZIP),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\xfd7zXZ\x00", XZ),
    *((b"BZh%d" % level, BZIP2) for level in range(1, 10)),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),  # without members
    (PARQUET_MAGIC, PARQUET),
    (b"ARROW1\x00\x00", ARROW_FILE),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (LFS_MAGIC, LFS_POINTER),
    # Formats that cannot be read; errors name them.
    (b"FEA1", "a Feather file of version 1"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"%PDF-", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook or another old Office document"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 file"),
    (b"Obj\x01", "an Avro file"),
)


def file_type(head: bytes) -> str | None:
    """Recognize a format.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` bytes of a file, or the whole file if it is shorter.

    Returns
    -------
    str or None
        Name of the format as used in error messages, such as "an HDF5 file"; None for plain text and unknown formats.
    """
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    if head[1:4] == _ZSTD_SKIPPABLE_MAGIC and head[:1] in b"PQRSTUVWXYZ[\\]^_":
        return ZSTD
    if head.startswith(b"\xff\xff\xff\xff") and 0 < int.from_bytes(head[4:8], "little", signed=True) < 1 << 28:
        return ARROW_STREAM  # a continuation marker and the length of the schema message
    if _is_tar_header(head):
        return TAR
    if (picture := _picture_type(head)) is not None:
        return picture
    if _is_film(head):
        return FILM
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return "an HTML page" if text.startswith((b"<!doctype html", b"<html")) else None


def is_avif(content: bytes) -> bool:
    """Return whether the major brand of a file or a compatible one is AVIF (ISO/IEC 14496-12, section 4.3)."""
    end = min(int.from_bytes(content[:4], "big"), HEAD_BYTES)
    return any(content[place : place + 4] in _AVIF_BRANDS for place in range(8, end, 4))


def _picture_type(head: bytes) -> str | None:
    """Recognize the pictures whose first bytes also begin other files."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(b"BM") and head[6:10] == bytes(4):  # after the size, four reserved bytes
        return BMP
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return HEIF
    return None


def _is_film(head: bytes) -> bool:
    """Return whether a file is MP4 or QuickTime, Matroska or WebM, AVI, Flash Video, or an MPEG stream."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return True
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return True
    if head.startswith(b"G") and len(head) > 2 * _TS_PACKET:
        return head[_TS_PACKET] == head[2 * _TS_PACKET] == head[0]
    return head.startswith((b"\x1aE\xdf\xa3", b"FLV\x01", b"\x00\x00\x01\xba"))


def _is_tar_header(head: bytes) -> bool:
    """Return whether a block begins a tar archive: its checksum is right (POSIX.1-1988, also before `ustar`)."""
    if len(head) < HEAD_BYTES or not head[0]:
        return False
    written = head[148:156].strip(b" \x00")
    if not written or any(byte not in b"01234567" for byte in written):
        return False
    return int(written, 8) == sum(head[:148]) + 8 * ord(" ") + sum(head[156:HEAD_BYTES])
