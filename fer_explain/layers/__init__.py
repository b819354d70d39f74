"""Layers of a network: structure, receptive fields, activations, filters and feature maps."""
