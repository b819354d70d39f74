"""Weights on disk: safetensors whose metadata is the model card, and the network rebuilt from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from fer_core import CardError, ConfigError, ModelCard, ModelError
from fer_core.errors import first_line
from fer_core.exports_folder import CARD_FILE, WEIGHTS_FILE
from fer_core.git_lfs import refuse_lfs_pointer
from fer_core.outputs.staging import staged
from fer_train.models import as_json, build_model

AVERAGE_FILE: Final = "ema.safetensors"
"""The weights that a run keeps."""


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 of a state's tensors, as hex.

    Over each tensor in the order of their names: name, type, shape and little-endian values. It does not
    depend on the file that holds them, so a safetensors file can carry it in its own metadata.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().cpu().numpy()
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def save_weights(path: Path, state: Mapping[str, Tensor], card: ModelCard) -> None:
    """Write tensors and card to `path`, whole or not at all, replacing what is there."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with staged(path, force=True) as stage:
        # through Python's own file, whose errors are those of the system
        stage.write_bytes(save(tensors, metadata=card.to_metadata()))


def load_weights(path: Path) -> tuple[dict[str, Tensor], ModelCard]:
    """Read tensors and card back.

    Raises
    ------
    ModelError
        If the file is absent or damaged, or its tensors are not those whose sha256 the card states.
    CardError
        If the card is incomplete.
    """
    from safetensors import SafetensorError, safe_open

    refuse_lfs_pointer(path, ModelError)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors: {error}") from None
    card = ModelCard.from_metadata(metadata, str(path))
    found = weights_sha256(state)
    if found != card.weights_sha256:
        raise ModelError(f"{path}: expected weights of sha256 {card.weights_sha256:.12}, found {found:.12}")
    return state, card


def weights_path(folder: Path) -> Path:
    """Return the weights file of an exports folder or of a run.

    Raises
    ------
    ModelError
        If `folder` is neither.
    """
    if folder.is_file():
        raise ModelError(f"{folder}: expected an exports folder or a run, found a file; name the folder that holds it")
    for name in (WEIGHTS_FILE, AVERAGE_FILE):
        if (folder / name).is_file():
            return folder / name
    raise ModelError(f"{folder}: expected an exports folder or a run, found no {WEIGHTS_FILE} or {AVERAGE_FILE}")


def load_model_and_card(path: str | Path) -> tuple[nn.Module, ModelCard]:
    """Rebuild a network and read its card; parameters and errors as for `load_model`."""
    folder = Path(path)
    file = weights_path(folder)
    state, card = load_weights(file)
    beside = folder / CARD_FILE
    if beside.is_file():
        card.require_equal(ModelCard.load_json(beside), str(file), str(beside))
    try:
        model = build_model(card.architecture, **card.standardization, **card.architecture_arguments)
    except (ConfigError, TypeError) as error:  # a TypeError: an argument that is given already
        raise CardError(f"{file}: the model card is of no network that can be built: {error}") from None
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise CardError(f"{file}: the weights are not those of {card.architecture}: {first_line(error)}") from None
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval(), card


def begin_with(model: nn.Module, path: str | Path, architecture: str) -> None:
    """Give a fresh network the weights of a trained one, all but its standardization, which is of its own data.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    path : str or Path
        A run or an exports folder.
    architecture : str
        Of `model`.

    Raises
    ------
    ModelError, CardError
        If the weights cannot be loaded or are of another architecture or size.
    """
    file = weights_path(Path(path))
    state, card = load_weights(file)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("standardize.")}
    try:
        if card.architecture != architecture:
            raise RuntimeError
        model.load_state_dict(state | own)
    except RuntimeError:
        found = f"{card.architecture} of {as_json(card.architecture_arguments) or 'no other arguments'}"
        raise CardError(f"{file}: expected weights of this {architecture}, found those of {found}") from None


def load_model(path: str | Path) -> nn.Module:
    """Rebuild the PyTorch original.

    Parameters
    ----------
    path : str or Path
        An exports folder or a run folder.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, on the CPU; float32 (batch, 1, 48, 48) in 0..255 to logits (batch, classes). Its weights
        lie in NHWC memory, with which convolutions and their gradients are up to twice as fast there.

    Raises
    ------
    ModelError, CardError
        If the weights are absent, damaged, or not the ones of the card.
    """
    return load_model_and_card(path)[0]
