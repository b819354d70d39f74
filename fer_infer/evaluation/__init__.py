"""Predictions against labels: metrics, calibration, chance, and faces seen in training."""
