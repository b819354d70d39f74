"""Faces from and to files: CSV, Parquet, Arrow, archives and image folders."""
