"""Faces from Parquet and Arrow tables, and from folders of their shards."""
