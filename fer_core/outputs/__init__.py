"""Outputs that are complete or absent: staged, claimed by one writer, and replaced whole."""
