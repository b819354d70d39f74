"""The training loop and its parts: distillation, initialization, devices, processes and seeds."""
