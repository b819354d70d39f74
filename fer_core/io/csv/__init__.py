"""Faces from and to CSV: two decoders of blocks of lines with one contract, and a slow parser of single rows."""
