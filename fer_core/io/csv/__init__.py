"""Faces from and to CSV: blocks of lines, two decoders of the same contract, and the slow reading of single rows."""
