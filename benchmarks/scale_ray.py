"""One worker against two on the same files, on a Ray cluster of two CPUs of this machine.

python benchmarks/scale_ray.py [FILES [ROWS]]    default: 8 files of 500 drawn faces
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import ray
from _side_by_side import compare

from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_infer.cluster.engine import score_files

MODEL = Path(__file__).resolve().parent.parent / "exports" / "course-cnn"
DRAWN = 200


def main() -> None:
    """Print the table; the time includes the start of the workers, but not that of the cluster."""
    files, rows = (*map(int, sys.argv[1:]), *(8, 500)[len(sys.argv) - 1 :])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "data", str(Path(folder) / "out")
        write_csv(synthesize(DRAWN, 0).take(np.arange(rows) % DRAWN), data / "0.csv")
        for n in range(1, files):
            (data / f"{n}.csv").symlink_to("0.csv")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            compare(
                f"{MODEL.name}, fp32, {files} files of {rows:,} faces, one thread a worker (2.0x is perfect)",
                {
                    f"{n} worker{'s' * (n > 1)}": lambda n=n: score_files(
                        [str(data)], MODEL, output, device="cpu", workers=n, force=True
                    )
                    for n in (2, 1)
                },
                units=files * rows,
                unit="faces",
                repeats=2,
            )
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
