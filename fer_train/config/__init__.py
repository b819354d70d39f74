"""Settings of training, each declared once with its default, range and help. No torch here."""

from fer_train.config.augment import AugmentConfig
from fer_train.config.distill import DistillConfig
from fer_train.config.fit import FitConfig

__all__ = ["AugmentConfig", "DistillConfig", "FitConfig"]
