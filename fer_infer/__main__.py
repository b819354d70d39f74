"""`python -m fer_infer ...`: the program `fer-infer`, where its script is not on the PATH."""

from __future__ import annotations

from fer_infer.cli import main

if __name__ == "__main__":
    main(prog_name="fer-infer")
