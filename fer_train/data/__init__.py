"""Splits, augmentation and duplicates of training data."""
