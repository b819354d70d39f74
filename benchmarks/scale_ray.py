"""Score the same files with one worker and with two, on a Ray cluster of two CPUs of this machine.

The times include the start of the workers, but not the start of the cluster.
"""

from __future__ import annotations

import logging
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import ray

from benchmarks import EXPORTS
from benchmarks.harness.command import benchmark, count_option, faces_option, repeats_option
from benchmarks.harness.faces import write_faces
from benchmarks.harness.report import Report
from benchmarks.harness.side_by_side import compare
from fer_infer.cluster.engine import score_files

MODEL: Final = EXPORTS / "course-cnn"


@benchmark(count_option("--files", 8, "Number of files."), faces_option(500), repeats_option(3), cuda=False)
def main(report: Report, files: int, faces: int, repeats: int) -> None:
    """Print the table."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "data", str(Path(folder) / "out")
        data.mkdir()
        write_faces(None, faces, Path(folder) / "faces.csv")
        for number in range(files):
            (data / f"{number}.csv").symlink_to(Path(folder) / "faces.csv")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        score = partial(score_files, [str(data)], MODEL, output, device="cpu", force=True)
        try:
            compare(
                report,
                f"{MODEL.name}, fp32, {files} files of {faces:,} faces, one thread per worker (2.00x is perfect)",
                {"2 workers": partial(score, workers=2), "1 worker": partial(score, workers=1)},
                units=files * faces,
                unit="faces",
                repeats=repeats,
                warm_ups=0,  # the start of the workers is part of the work
            )
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
