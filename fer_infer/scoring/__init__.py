"""Score files of any length in constant memory."""
