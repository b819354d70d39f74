"""What runs on a machine, and how fast."""
