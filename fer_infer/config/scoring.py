"""Settings of predictions, evaluations and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fer_core.errors import ConfigError
from fer_core.exports_folder import GRAPH_FILES
from fer_core.fer2013 import split_of
from fer_core.io.crop import DETECT, WHOLE, FacesConfig
from fer_core.settings import Settings, setting, settings_of
from fer_infer.config.maps import ExplainConfig, MapConfig

DEVICES: Final = ("auto", "cpu", "cuda")
COLUMNS: Final = ("id-label", "probabilities", "logits")
"""Columns of a prediction file; `id` and `label` come first in each."""
ANONYMIZE: Final = ("none", "blur", "mask")
TTA_KINDS: Final = ("none", "flip", "flip-shift")
DEFAULT_BATCH_SIZE: Final = 128
"""Enough faces to amortize a call, few enough that the activations fit in a CPU's cache."""
FILM_SETTINGS: Final = ("every_s", "smooth_s", "timeline")
"""Settings that have a meaning for films only."""
MIN_FACE: Final = 24
"""Half the side of the faces that models see; a smaller face would be enlarged more than twice."""


@dataclass(frozen=True)
class RuntimeConfig(Settings):
    """Settings of a model in ONNX Runtime."""

    device: str = setting(
        "auto",
        "Device: auto selects CUDA if a session can use it, else the CPU; cuda fails if it is not available.",
        choices=DEVICES,
    )
    precision: str = setting(
        "auto",
        "Precision of the graph to run: auto selects fp16 on CUDA and int8 on CPU if available.",
        choices=("auto", *GRAPH_FILES),
    )
    batch_size: int = setting(DEFAULT_BATCH_SIZE, "Faces per batch.", at_least=1, metavar="N")
    threads: int | None = setting(
        None, "Number of CPU threads.", at_least=1, metavar="N", default_text="one per physical core"
    )


@dataclass(frozen=True)
class InferenceConfig(RuntimeConfig):
    """Settings of predictions for a data set."""

    tta: str = setting(
        "none",
        "Test-time augmentation, which averages probabilities over augmented copies of each face: flip adds the mirror "
        "image (2 copies), flip-shift also shifts both toward the four corners (10 copies).",
        choices=TTA_KINDS,
    )
    on_error: Literal["fail", "skip"] = setting(
        "fail",
        "For a row that cannot be read: stop, or skip the row and list it in rejects.csv.",
        choices=("fail", "skip"),
    )
    limit: int | None = setting(
        None, "Use at most the first N faces.", at_least=1, metavar="N", default_text="all faces"
    )
    split: str | None = setting(None, "Use only this split, e.g. PublicTest.", metavar="SPLIT", default_text="all rows")
    input_columns: Mapping[str, str] | None = None
    """Column names by role (pixels, label, split or id), for columns that are not recognized by name."""


@dataclass(frozen=True)
class PhotoConfig(FacesConfig):
    """Settings of predictions for photos."""

    min_face: int = setting(
        MIN_FACE,
        "Smallest side of a face in pixels; smaller faces are reported, not scored.",
        at_least=1,
        metavar="PIXELS",
    )
    landmarks: bool = setting(
        False, "Write the landmarks of each face: eyes, nose and corners of the mouth, in pixels."
    )
    quality: bool = setting(
        False, "Write the size of each face in pixels, its blur (variance of the Laplacian) and its roll in degrees."
    )


@dataclass(frozen=True)
class OverlayConfig(Settings):
    """Settings of pictures with the predictions in them."""

    overlay: str | None = setting(
        None,
        "Picture, film (.mp4, without sound) or folder of pictures to write, with boxes and predictions drawn in.",
        metavar="PATH",
        default_text="none",
    )
    anonymize: str = setting("none", "Make the faces found unrecognizable in the overlay.", choices=ANONYMIZE)

    def require_nothing_to_cover(self) -> None:
        """Raise ConfigError if faces are to be made unrecognizable, for an output without an overlay."""
        if self.anonymize != "none":
            raise ConfigError("requires an `overlay`, in which faces are made unrecognizable", parameter="anonymize")


@dataclass(frozen=True)
class FilmConfig(OverlayConfig):
    """Settings of predictions for a film."""

    every_s: float | None = setting(
        None,
        "Score one frame per S seconds.",
        above=0,
        option="--every",
        metavar="S",
        default_text="every frame",
    )
    smooth_s: float = setting(
        0.5,
        "Time constant of the exponential window over which probabilities are smoothed, in seconds; 0 for none.",
        at_least=0,
        option="--smooth",
        metavar="S",
    )
    timeline: str | None = setting(
        None, "PNG to draw the probabilities of each face over time to.", metavar="FILE", default_text="none"
    )


@dataclass(frozen=True)
class CropConfig(PhotoConfig):
    """Settings of `fer_infer.crop`."""

    faces: str = setting(
        DETECT,
        "How to take faces from photos: detect finds them and aligns each to 48x48, whole resizes each whole picture.",
        choices=(DETECT, WHOLE),
    )
    on_error: Literal["fail", "skip"] = setting(
        "skip", "For a photo without a face: stop, or list it in OUTPUT.boxes.csv.", choices=("fail", "skip")
    )
    threads: int | None = setting(None, "Number of CPU threads.", at_least=1, metavar="N", default_text="one per core")


@dataclass(frozen=True)
class ScoreConfig(InferenceConfig, PhotoConfig, FilmConfig, ExplainConfig):
    """Settings of `fer_infer.score`."""

    columns: str = setting(
        "id-label",
        "Columns to write: `id,label`; with probabilities or logits, also one column per class.",
        choices=COLUMNS,
        default_text="id-label; probabilities for photos",
    )
    names: bool = setting(False, "Write the name of the predicted class as `label`, instead of its number.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.explain is None:
            self._require_defaults((*settings_of(MapConfig), "target"), "requires `explain`")
        elif self.precision not in ("auto", "fp32"):
            why = f"expected fp32, the precision that `explain` needs, found {self.precision}"
            raise ConfigError(why, parameter="precision")
        elif self.tta != "none":
            raise ConfigError(f"expected none with `explain`, found {self.tta}", parameter="tta")

    @classmethod
    def of_photos(cls, settings: Mapping[str, Any]) -> ScoreConfig:
        """Return the settings for photos, whose defaults differ in `columns` and `on_error`.

        Raises
        ------
        ConfigError
            If a setting has no meaning for photos.
        """
        config = cls(**{"columns": "probabilities", "on_error": "skip", **settings})
        if config.split is not None:
            raise ConfigError(f"expected none, as photos have no splits, found {config.split!r}", parameter="split")
        if config.input_columns:
            raise ConfigError("expected none, as photos have no columns", parameter="input_columns")
        return config

    def require_for_data_sets(self) -> None:
        """Raise ConfigError if a setting has a meaning for photos only."""
        names = ("min_face", "landmarks", "quality", "overlay", "anonymize", *FILM_SETTINGS)
        self._require_defaults(names, "requires photos or a film: `faces='detect'`")

    def require_for_photos(self) -> None:
        """Raise ConfigError if a setting has a meaning for films only, or for faces that are found only."""
        self._require_defaults(FILM_SETTINGS, "requires a film")
        if self.faces != DETECT:
            self._require_defaults(("min_face", "landmarks"), f"requires `faces={DETECT!r}`")

    def _require_defaults(self, names: Sequence[str], problem: str) -> None:
        for name in names:
            if getattr(self, name) != getattr(ScoreConfig, name):  # the default, an attribute of the class
                raise ConfigError(problem, parameter=name)


@dataclass(frozen=True)
class EvaluationConfig(InferenceConfig, FacesConfig):
    """Settings of `fer_infer.evaluate`."""

    @property
    def split_name(self) -> str:
        """Canonical name of the split, however it is spelled; empty for all rows."""
        return "" if self.split is None else split_of(self.split) or self.split


@dataclass(frozen=True)
class SiteConfig(Settings):
    """Settings of `fer_infer.write_site`."""

    runtime: str | Path | None = setting(
        None,
        "Unpacked npm package onnxruntime-web, or its .tgz file.",
        metavar="PATH",
        default_text="downloaded by npm on first use, into the user's cache",
    )


@dataclass(frozen=True)
class BenchmarkConfig(RuntimeConfig):
    """Settings of `fer-infer bench`."""

    rows: int = setting(1000, "Use at most the first N faces.", at_least=1, option="--limit", metavar="N")
    repeats: int = setting(5, "Timed repetitions per stage, after a first call.", at_least=1, metavar="N")


def require(name: str, value: Any) -> None:
    """Raise ConfigError unless a value is allowed for the setting of this name of `ScoreConfig`."""
    settings_of(ScoreConfig)[name].require(name, value)
