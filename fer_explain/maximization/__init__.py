"""Activation maximization: images that a channel, neuron, class or direction responds to most."""
