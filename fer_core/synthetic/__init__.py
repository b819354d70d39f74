"""Faces drawn from action units, with the mask of each region."""
