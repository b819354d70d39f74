"""`torchrun ... -m fer_train fit ...`: only the first process prints; each process reports its errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fer_train.cli import main
from fer_train.training.distributed import leave_processes

if __name__ == "__main__":
    if int(os.environ.get("RANK", "0")) > 0:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - open until the process ends
    try:
        main(prog_name="fer-train")
    except SystemExit as end:
        leave_processes(end.code)
        raise
