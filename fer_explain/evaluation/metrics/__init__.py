"""Metrics of attribution maps, one per file."""
