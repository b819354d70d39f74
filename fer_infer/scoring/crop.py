"""Cut the faces from photos and write them as a data set that all other commands read."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core import DataError, OutputError
from fer_core.cores import available_cores
from fer_core.fer2013 import EXPRESSIONS
from fer_core.io.archives import COMPRESSION_SUFFIXES, IMAGE_SUFFIXES, TABLE_SUFFIXES, TEXT_SUFFIXES
from fer_core.io.csv_output import CSV_ENDINGS
from fer_core.io.image_folder import list_images
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_core.terminal.progress import progress
from fer_infer.config import CropConfig
from fer_infer.photos.crops import most_prominent
from fer_infer.photos.find import search_ahead
from fer_infer.photos.listing import Photo, free_name, list_photos
from fer_infer.scoring.photo_search import PhotoRow, search_photo
from fer_infer.scoring.photos import BOX_COLUMNS, about_faces, box_cells, detail_columns
from fer_infer.scoring.summary import counted
from fer_infer.scoring.writers.table_writer import Column, TableWriter, open_table

TABLE_ENDINGS: Final = (*CSV_ENDINGS, ".parquet")
OTHER_FILES: Final = IMAGE_SUFFIXES | TABLE_SUFFIXES | COMPRESSION_SUFFIXES | TEXT_SUFFIXES | {".xlsx", ".zip", ".npz"}
"""Endings of files that are not written; a folder of such a name would surprise."""
BOXES: Final = ".boxes.csv"
"""Suffix that turns the name of the output into that of the list of photos and boxes."""
RECORD: Final = "crop.json"
"""How the faces in a folder were cut; readers of faces leave it out."""
FACE: Final = "face"
"""What the rows with a face are counted as, next to the reasons of the others."""
FOLDER: Final = OutputFolder(always=(RECORD,), sometimes=("*.png", "*/*.png", "*/*/*.png"))


class Source(NamedTuple):
    """A photo, and the label and split that its folders state."""

    photo: Photo
    label: int | None = None
    split: str | None = None


@dataclass(frozen=True)
class CropSummary:
    """Summary of cut faces.

    Attributes
    ----------
    photos, faces : int
        Photos, and faces that were written.
    reasons : dict of str to int
        Rows without a face by reason.
    output, boxes : Path
        The faces, and the list of all photos with the boxes of their faces or the reason why there is none.
    """

    photos: int
    faces: int
    reasons: dict[str, int]
    output: Path
    boxes: Path

    def to_text(self) -> str:
        """Return the summary as the lines that a command prints."""
        without = ", ".join(f"{reason} {count:,}" for reason, count in self.reasons.items())
        return "\n".join(
            [
                f"{self.output}: {counted(self.faces, 'face')} of {counted(self.photos, 'photo')}",
                f"{self.boxes}: their boxes" + (f", and the photos without a face: {without}" if without else ""),
            ]
        )


def crop(
    photos: str | Path | Sequence[str | Path], output: str | Path, *, force: bool = False, **settings: object
) -> CropSummary:
    """Cut the faces from photos and write them as a data set of 48x48 faces.

    A folder of label folders, such as `happy` and `sad`, or of split folders that contain them, gives labeled faces:
    the most prominent face of each photo. From other photos, every face is taken.

    Parameters
    ----------
    photos : str, Path or sequence of them
        Photos, folders and patterns, as `fer_infer.photos.listing.list_photos` takes them.
    output : str or Path
        `.csv`, `.csv.gz`, `.csv.zst` or `.parquet` for a table with the columns `emotion` and `Usage` (if known),
        `pixels` and `id`; else a folder of PNG images, in label folders if the labels are known.
    force : bool
        Replace an existing output.
    **settings
        Settings of `fer_infer.config.CropConfig`, e.g. ``faces="whole"``.

    Returns
    -------
    CropSummary
        The file `OUTPUT.boxes.csv` lists every photo, the boxes of its faces, or the reason why it has none.

    Raises
    ------
    DataError
        If there is no photo, or no face in any photo; with ``on_error="fail"``, also for a photo without a face.
    OutputError
        If an output exists and `force` is false, or cannot be written.

    Examples
    --------
    >>> from PIL import Image
    >>> from fer_infer import crop
    >>> Image.new("RGB", (200, 220)).save("portrait.jpg")
    >>> done = crop("portrait.jpg", "faces.parquet", faces="whole")
    >>> done.faces, str(done.boxes)
    (1, 'faces.parquet.boxes.csv')
    """
    config = CropConfig(**settings)  # type: ignore[arg-type]
    target = Path(os.path.expanduser(output))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    boxes = target.with_name(f"{target.name}{BOXES}")
    inputs = [photos] if isinstance(photos, str | os.PathLike) else list(photos)
    is_table = target.name.lower().endswith(TABLE_ENDINGS)
    if not is_table and target.suffix.lower() in OTHER_FILES:
        expected = f"expected the name of a folder, or of a table that ends in {', '.join(TABLE_ENDINGS)}"
        raise OutputError(f"{output}: {expected}")
    with ExitStack() as stack:
        stage = stack.enter_context(staged(target, force=force, folder=None if is_table else FOLDER, inputs=inputs))
        boxes_stage = stack.enter_context(staged(boxes, force=force, inputs=inputs))
        sources = sources_of(inputs)
        about = about_faces(config.faces)
        writer: TableOutput | FolderOutput
        if is_table:
            columns = face_columns(sources)
            writer = TableOutput(stack.enter_context(open_table(stage, columns, name=target, about=about)), columns)
        else:
            writer = FolderOutput(stage, about)
        details = stack.enter_context(open_table(boxes_stage, box_columns(config), name=boxes, about=about))
        reasons = _write(sources, writer, details, config)
        faces = reasons.pop(FACE)
        if not faces:
            raise DataError(os.fspath(inputs[0]), f"has no face in {counted(len(sources), 'photo')}")
    return CropSummary(len(sources), faces, dict(reasons), target, boxes)


def sources_of(inputs: Sequence[str | Path]) -> list[Source]:
    """List photos, with labels and splits if they are in one folder whose subfolders state them."""
    if len(inputs) == 1 and os.path.isdir(root := os.path.expanduser(inputs[0])):  # noqa: PTH111, PTH112 - as above
        try:
            entries = list_images(Path(root))
        except DataError:  # folders that are not labels
            return [Source(photo) for photo in list_photos(inputs)]
        names = [entry.file.relative_to(root).as_posix() for entry in entries]
        photos = [Photo(str(entry.file), name) for entry, name in zip(entries, names, strict=True)]
        return [Source(photo, entry.label, entry.split) for photo, entry in zip(photos, entries, strict=True)]
    return [Source(photo) for photo in list_photos(inputs)]


def _write(
    sources: Sequence[Source], writer: TableOutput | FolderOutput, boxes: TableWriter, config: CropConfig
) -> Counter[str]:
    """Write the faces of photos and their boxes; return the number of faces, and of rows without one by reason."""
    counts = Counter({FACE: 0})
    find = partial(search_photo, faces=config.faces, min_face=config.min_face, on_error=config.on_error)
    searched = search_ahead(find, [source.photo for source in sources], config.threads or available_cores())
    with progress("crop", len(sources), "photos") as advance:
        for source, (_, rows, _, _) in zip(sources, searched, strict=True):
            for row in _taken(source, rows, config):
                name = None if row.face is None else writer.write(source, row, row.face.image)
                counts[row.reason.partition(":")[0] or FACE] += 1
                boxes.write([[row.file, row.number, name, *box_cells(row.face, config), row.reason or None]])
            advance(1)
    return counts


def _taken(source: Source, rows: list[PhotoRow], config: CropConfig) -> list[PhotoRow]:
    """Return the rows of a photo, or of a labeled photo with faces, only that of its most prominent face."""
    found = [row for row in rows if row.face is not None]
    if config.on_error == "fail" and not found:
        raise DataError(source.photo.name, rows[0].reason)
    if source.label is None or not found:
        return rows
    main = most_prominent([row.face for row in found if row.face is not None])
    return [row for row in found if row.face is main]


def box_columns(config: CropConfig) -> list[Column]:
    """Return the columns of the list of boxes."""
    first = (Column("file", "text"), Column("face", "integer"), Column("id", "text"))
    return [*first, *BOX_COLUMNS, Column("detection", "number"), *detail_columns(config), Column("reason", "text")]


class TableOutput:
    """Writes faces into a table; ids are `FILE#FACE`."""

    def __init__(self, table: TableWriter, columns: Sequence[Column]) -> None:
        self._table = table
        self._names = [column.name for column in columns]

    def write(self, source: Source, row: PhotoRow, image: NDArray[np.uint8]) -> str:
        """Write a face; return its id."""
        cells = {
            "emotion": source.label,
            "pixels": image.tobytes(),
            "Usage": source.split,
            "id": f"{row.file}#{row.number}",
        }
        self._table.write([[cells[name] for name in self._names]])
        return str(cells["id"])


def face_columns(sources: Sequence[Source]) -> list[Column]:
    """Return the columns of a table of faces; it has labels and splits if any photo has."""
    labeled = any(source.label is not None for source in sources)
    split = any(source.split is not None for source in sources)
    return [
        *([Column("emotion", "integer")] if labeled else []),
        Column("pixels", "pixels"),
        *([Column("Usage", "text")] if split else []),
        Column("id", "text"),
    ]


class FolderOutput:
    """Writes faces as PNG images into a folder, `SPLIT/LABEL/NAME.png`, `LABEL/NAME.png` or `NAME.png`."""

    def __init__(self, stage: Path, about: Mapping[str, str]) -> None:
        self._stage = stage
        self._used: set[str] = set()
        (stage / RECORD).write_text(json.dumps(about, indent=2) + "\n")

    def write(self, source: Source, row: PhotoRow, image: NDArray[np.uint8]) -> str:
        """Write a face; return the path of its image in the folder."""
        from PIL import Image

        label = None if source.label is None else EXPRESSIONS[source.label]
        folder = PurePosixPath(*[part for part in (source.split, label) if part is not None])
        # files of several folders can have the same name
        path = f"{free_name(str(folder / f'{source.photo.flat_name()}-{row.number}'), self._used)}.png"
        file = self._stage / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
        return path
