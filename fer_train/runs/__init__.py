"""Run folders: state, checkpoints, curves, provenance, and ensembles of runs."""
