"""The terminal: programs, their options, progress bars and standard streams."""
