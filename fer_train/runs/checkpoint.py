"""Weights on disk: safetensors files whose metadata is the model card, and networks rebuilt from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from fer_core import CardError, ConfigError, ModelCard, ModelError
from fer_core.errors import first_line
from fer_core.exports_folder import CARD_FILE, WEIGHTS_FILE
from fer_core.git_lfs import refuse_lfs_pointer
from fer_core.outputs.staging import staged
from fer_train.models import as_json, build_model

AVERAGE_FILE: Final = "ema.safetensors"
"""Averaged weights of a run, which are exported."""


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of the tensors of a state, in hexadecimal.

    The digest covers name, type, shape and little-endian values of each tensor, in the order of names. It does not
    depend on the file, so that a safetensors file can state it in its own metadata.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().cpu().numpy()
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def save_weights(path: Path, state: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write tensors and card to `path` atomically, replacing an existing file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with staged(path, force=True) as stage:
        # written by Python, whose errors name the cause
        stage.write_bytes(save(tensors, metadata=card.to_metadata()))


def load_card(path: Path) -> ModelCard:
    """Read the model card of a weights file, without its tensors.

    Raises
    ------
    ModelError
        If the file is absent or damaged.
    CardError
        If the card is incomplete.

    Examples
    --------
    >>> load_card(Path("exports/compact/weights.safetensors")).architecture
    'compact'
    """
    with _opened(path) as file:
        return ModelCard.from_metadata(file.metadata() or {}, str(path))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    refuse_lfs_pointer(path, ModelError)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors: {error}") from None


def load_weights(path: Path) -> tuple[dict[str, Tensor], ModelCard]:
    """Read tensors and card.

    Raises
    ------
    ModelError
        If the file is absent or damaged, or its tensors do not have the sha256 that the card states.
    CardError
        If the card is incomplete.
    """
    with _opened(path) as file:
        card = ModelCard.from_metadata(file.metadata() or {}, str(path))
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    found = weights_sha256(state)
    if found != card.weights_sha256:
        raise ModelError(f"{path}: expected weights of sha256 {card.weights_sha256:.12}, found {found:.12}")
    return state, card


def weights_path(folder: Path) -> Path:
    """Return the weights file of an exports folder or a run.

    Raises
    ------
    ModelError
        If `folder` is neither of them.
    """
    if folder.is_file():
        raise ModelError(f"{folder}: expected an exports folder or a run, found a file; name its folder")
    for name in (WEIGHTS_FILE, AVERAGE_FILE):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder}: expected an exports folder or a run, found no {WEIGHTS_FILE} or {AVERAGE_FILE}")


def load_model_and_card(path: str | PathLike[str]) -> tuple[nn.Module, ModelCard]:
    """Load a network and its card; parameters and errors are those of `load_model`."""
    folder = Path(path)
    file = weights_path(folder)
    state, card = load_weights(file)
    card_file = folder / CARD_FILE
    if card_file.is_file():
        card.require_equal(ModelCard.load_json(card_file), str(file), str(card_file))
    try:
        model = build_model(card.architecture, **card.standardization, **card.architecture_arguments)
    except (ConfigError, TypeError) as error:  # a TypeError if an argument is given twice
        raise CardError(f"{file}: the model card does not describe a network that can be built: {error}") from None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CardError(f"{file}: the weights do not fit {card.architecture}: {first_line(error)}") from None
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval(), card


def begin_with(model: nn.Module, path: str | Path, architecture: str) -> None:
    """Load the weights of a trained network into a new one, except for the standardization.

    Parameters
    ----------
    model : torch.nn.Module
        Network to change in place.
    path : str or Path
        A run or an exports folder.
    architecture : str
        Architecture of `model`.

    Raises
    ------
    ModelError, CardError
        If the weights cannot be loaded or belong to another architecture or size.
    """
    file = weights_path(Path(path))
    state, card = load_weights(file)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("standardize.")}
    try:
        if card.architecture != architecture:
            raise RuntimeError
        model.load_state_dict(state | own)
    except RuntimeError:
        found = f"{card.architecture} with {as_json(card.architecture_arguments) or 'default arguments'}"
        raise CardError(f"{file}: expected weights of this {architecture}, found weights of {found}") from None


def load_model(path: str | PathLike[str]) -> nn.Module:
    """Load the PyTorch network of an exports folder or a run.

    Parameters
    ----------
    path : str, Path or Run
        Exports folder or run folder.

    Returns
    -------
    torch.nn.Module
        Network in evaluation mode on the CPU. It maps float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes).
        Its weights are in NHWC memory, with which convolutions are up to twice as fast on a CPU.

    Raises
    ------
    ModelError, CardError
        If the weights are absent or damaged, or do not match their card.

    Examples
    --------
    >>> import torch
    >>> network = load_model("exports/compact")
    >>> network(torch.zeros(1, 1, 48, 48)).shape
    torch.Size([1, 7])
    """
    return load_model_and_card(path)[0]
