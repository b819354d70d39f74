"""The training loop of tutorials: DataLoader, PIL transforms on the CPU, float32, NCHW.

It has the same network, config, weight average and validation after each epoch as `fer_train.training.trainer.fit`, so
that both need about the same number of epochs, and the usual optimizations: one affine resampling per face, persistent
worker processes, pinned memory, overlapping copies. TensorFloat-32 is used where PyTorch uses it by default.
"""

# ruff: noqa: S311 - random changes of faces need no cryptography

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from fer_core import EXPRESSIONS, IMAGE_SIZE, ConfigError, Faces
from fer_train.config import AugmentConfig, FitConfig
from fer_train.data.augment import mixup
from fer_train.data.splits import Splits
from fer_train.models import build_model
from fer_train.optim.optimizer import WeightAverage, learning_rate, make_optimizer
from fer_train.training.initialization import initialize

Loader = DataLoader[Any]

MIDDLE = IMAGE_SIZE / 2
"""Pillow measures from the corner of the first pixel, not from its center."""


@dataclass(frozen=True)
class Epoch:
    """One epoch: time since the start, training rate, and validation accuracy of the averaged weights."""

    number: int
    elapsed_s: float
    faces_per_s: float
    accuracy: float


class PillowFaces(Dataset[tuple[Tensor, int]]):
    """Faces as tensors (1, 48, 48) in 0..255, augmented one at a time."""

    def __init__(self, faces: Faces, limits: AugmentConfig | None) -> None:
        self._images = faces.images
        self._labels = faces.require_labels().tolist()
        self._limits = limits

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self._images[index])
        if self._limits is not None:
            image = _changed(image, self._limits)
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).float()
        pixels = pixels.view(1, IMAGE_SIZE, IMAGE_SIZE)
        if self._limits is not None and random.random() < self._limits.erasing:
            _erase(pixels)
        return pixels, self._labels[index]


def _changed(image: Image.Image, limits: AugmentConfig) -> Image.Image:
    """Flip, rotate, zoom and shift by one affine map, then change brightness and contrast."""
    angle = math.radians(random.uniform(-limits.rotation_degrees, limits.rotation_degrees))
    scale = 1 / (1 + random.uniform(-limits.zoom, limits.zoom))
    mirror = -1 if limits.flip and random.random() < 0.5 else 1
    reach = limits.shift * IMAGE_SIZE
    a, b = mirror * scale * math.cos(angle), -scale * math.sin(angle)
    d, e = mirror * scale * math.sin(angle), scale * math.cos(angle)
    c = MIDDLE - (a + b) * MIDDLE + random.uniform(-reach, reach)
    f = MIDDLE - (d + e) * MIDDLE + random.uniform(-reach, reach)
    image = image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    image = ImageEnhance.Brightness(image).enhance(1 + random.uniform(-limits.brightness, limits.brightness))
    return ImageEnhance.Contrast(image).enhance(1 + random.uniform(-limits.contrast, limits.contrast))


def _erase(pixels: Tensor) -> None:
    """Overwrite a rectangle of 2 to 25% of the area, aspect 1/3 to 3, with noise."""
    area = random.uniform(0.02, 0.25) * IMAGE_SIZE**2
    aspect = math.exp(random.uniform(-1, 1) * math.log(3))
    height, width = (min(IMAGE_SIZE, round(math.sqrt(value))) for value in (area * aspect, area / aspect))
    y, x = random.randint(0, IMAGE_SIZE - height), random.randint(0, IMAGE_SIZE - width)
    pixels[:, y : y + height, x : x + width].uniform_(0, 255)


def train(splits: Splits, config: FitConfig, workers: int) -> Iterator[Epoch]:
    """Train, and yield each epoch after its validation.

    Parameters
    ----------
    splits : Splits
        Training and validation faces.
    config : FitConfig
        Settings; `device` must be cpu or cuda, and `precision` is ignored.
    workers : int
        Number of worker processes that transform faces.

    Raises
    ------
    ConfigError
        If `config` has initial weights or teachers, which this loop does not support.
    """
    if config.initial is not None or config.distill is not None:
        raise ConfigError("the conventional loop supports neither initial weights nor teachers")
    config = replace(config, precision="fp32")
    device = torch.device(config.device)
    torch.manual_seed(config.seed)
    random.seed(config.seed)
    model = build_model(config.architecture, mean=splits.mean, std=splits.std, **config.architecture_arguments)
    model.to(device)
    initialize(model, config, splits.training.images)
    optimizer, average = make_optimizer(model, config), WeightAverage(model, config.ema_decay)
    generator = torch.Generator(device).manual_seed(config.seed)
    validation = _loader(splits.validation, None, 512, workers, shuffle=False)
    step, elapsed_s, limits, loader = 0, 0.0, None, None
    for number in range(config.epochs):
        start = time.perf_counter()
        wanted = config.augment
        if wanted is not None and number >= config.epochs - config.mild_epochs:
            wanted = wanted.mild()
        if loader is None or wanted != limits:  # workers keep a copy of the faces and of the limits
            limits = wanted
            loader = _loader(splits.training, limits, config.batch_size, workers, shuffle=True)
        model.train()
        for images, labels in loader:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config.epochs * len(loader), len(loader), config)
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            loss = _loss(model, images, labels, config, limits, generator)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            average.update(model)
            step += 1
        loss.item()  # waits for the GPU
        train_s = time.perf_counter() - start
        accuracy = _accuracy(average.module, validation, device)
        elapsed_s += time.perf_counter() - start
        yield Epoch(number + 1, elapsed_s, len(splits.training) / train_s, accuracy)


def _loss(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: FitConfig,
    limits: AugmentConfig | None,
    generator: torch.Generator,
) -> Tensor:
    if limits is not None and limits.mixup > 0:
        images, labels = mixup(images, functional.one_hot(labels, len(EXPRESSIONS)).float(), limits.mixup, generator)
    return functional.cross_entropy(model(images), labels, label_smoothing=config.label_smoothing)


def _loader(faces: Faces, limits: AugmentConfig | None, size: int, workers: int, *, shuffle: bool) -> Loader:
    return DataLoader(
        PillowFaces(faces, limits),
        batch_size=size,
        shuffle=shuffle,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
    )


@torch.no_grad()
def _accuracy(model: nn.Module, loader: Loader, device: torch.device) -> float:
    model.eval()
    correct = n = 0
    for images, labels in loader:
        found = model(images.to(device, non_blocking=True)).argmax(1).cpu()
        correct += int((found == labels).sum())
        n += len(labels)
    return correct / n
