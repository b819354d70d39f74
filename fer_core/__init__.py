"""What training, scoring and explaining agree on: labels, faces, their files, the model card. No torch here."""

from fer_core.errors import CardError, ConfigError, DataError, DeviceError, FerError, ModelError, OutputError
from fer_core.expressions import EXPRESSIONS, IMAGE_SIZE, PIXELS, USAGES
from fer_core.faces import Faces
from fer_core.model_card import ModelCard
from fer_core.reader import iter_faces, read_faces

__all__ = [
    "EXPRESSIONS",
    "IMAGE_SIZE",
    "PIXELS",
    "USAGES",
    "CardError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "Faces",
    "FerError",
    "ModelCard",
    "ModelError",
    "OutputError",
    "iter_faces",
    "read_faces",
]
