"""Predictions for a file of any length, in constant memory."""
