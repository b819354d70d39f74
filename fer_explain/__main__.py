"""`python -m fer_explain ...`: the program `fer-explain`, where its script is not on the PATH."""

from __future__ import annotations

from fer_explain.cli import main

if __name__ == "__main__":
    main(prog_name="fer-explain")
