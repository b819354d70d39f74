"""Duplicates, conflicting labels, leaks and blank faces of a data set."""
