"""Splits, augmentation and duplicates of the faces that a run trains on."""
