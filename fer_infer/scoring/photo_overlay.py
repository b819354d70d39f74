"""Write photos with the predictions drawn in."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core import ConfigError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged
from fer_infer.attribution.maps import SIGNED, AttributionMaps
from fer_infer.config import ScoreConfig
from fer_infer.photos.images import read_photo
from fer_infer.photos.listing import free_name
from fer_infer.photos.map_overlay import overlay_pixels
from fer_infer.photos.overlay import Label, anonymize, draw_labels

if TYPE_CHECKING:
    from fer_infer.scoring.photo_search import PhotoBatch, SearchedPhoto

ENDINGS: Final = (".png", ".jpg", ".jpeg")
RECORD: Final = "overlay.json"
FOLDER: Final = OutputFolder(always=(RECORD,), sometimes=("*.png",))
JPEG_QUALITY: Final = 92


class PhotoOverlay:
    """Writes one picture, or a folder of PNG pictures; EXIF data such as a position are not copied."""

    def __init__(self, stage: Path, target: str, config: ScoreConfig, *, single: bool) -> None:
        self._stage, self._target, self._single = stage, target, single
        self._how, self._signed = config.anonymize, config.method in SIGNED
        self._used: set[str] = set()

    def write(
        self,
        batch: PhotoBatch,
        probabilities: NDArray[np.float32],
        classes: Sequence[str],
        maps: AttributionMaps | None = None,
    ) -> None:
        """Write the photos of a batch that could be read; maps are drawn over the faces."""
        scores = enumerate(probabilities)
        for photo in batch.photos:
            labels, drawn = [], []
            for row in photo.rows:
                if row.face is not None:
                    number, shares = next(scores)
                    if maps is not None:
                        drawn.append((row.face, maps.attributions[number]))
                    best = int(shares.argmax())
                    title = f"{row.number}  {classes[best]} {shares[best]:.0%}"
                    labels.append(Label(row.face.box, title, shares.tolist(), classes))
            if photo.content is not None:
                pixels = read_photo(photo.content, photo.photo.name)  # kept as a file, which is smaller
                covered = anonymize(pixels, photo.boxes, self._how)
                for face, attributions in drawn:
                    covered = overlay_pixels(covered, face, attributions, signed=self._signed)
                self._save(photo, Image.fromarray(draw_labels(covered, labels)))

    def _save(self, photo: SearchedPhoto, image: Image.Image) -> None:
        if self._single:
            is_png = self._target.lower().endswith(".png")
            image.save(self._stage, "PNG" if is_png else "JPEG", quality=JPEG_QUALITY)
            return
        image.save(self._stage / f"{free_name(photo.photo.flat_name(), self._used)}.png")


def open_overlay(
    stack: ExitStack, config: ScoreConfig, inputs: Sequence[str | Path], *, single: bool, force: bool
) -> PhotoOverlay | None:
    """Open the output of `overlay`: a picture for one photo if its name ends so, else a folder; None if there is none.

    Raises
    ------
    ConfigError
        If one picture was asked for, but there are several photos.
    OutputError
        If the output cannot be written.
    """
    if config.overlay is None:
        config.require_nothing_to_cover()
        return None
    target = os.path.expanduser(config.overlay)  # noqa: PTH111 - Path.expanduser raises for an unknown user
    is_picture = target.lower().endswith(ENDINGS)
    if is_picture and not single:
        raise ConfigError(f"expected a folder for several photos, found {config.overlay}", parameter="overlay")
    stage = stack.enter_context(staged(target, force=force, folder=None if is_picture else FOLDER, inputs=inputs))
    if not is_picture:
        (stage / RECORD).write_text(json.dumps({"anonymize": config.anonymize}) + "\n")
    return PhotoOverlay(stage, target, config, single=is_picture)
