"""Scoring of many files on a Ray cluster, resumable part by part."""
