"""Every command that draws works from a notebook, whose matplotlib backend the programs' environment may not have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_explain.cli import main as explain
from fer_infer.cli import main as infer
from fer_train.cli import main as train

NOTEBOOK = "module://matplotlib_inline.backend_inline"
NAME = "高兴 ﷽ $x^"
"""Of the folder, which titles show: not in matplotlib's font, and broken mathematics."""

PROGRAM = """
import shlex, sys
from fer_explain.cli import main as fer_explain
from fer_infer.cli import main as fer_infer
from fer_train.cli import main as fer_train

for line in sys.stdin:
    name, *arguments = shlex.split(line)
    try:
        {"fer-train": fer_train, "fer-infer": fer_infer, "fer-explain": fer_explain}[name](arguments)
    except SystemExit as end:
        if end.code:
            raise
"""

COMMANDS = """
fer-train synthesize faces.csv --faces 200 --seed 1
fer-train audit faces.csv --output audit
fer-train fit faces.csv --output 'RUN' --epochs 1 --architecture course-dnn --architecture-argument widths=[16]
fer-train export 'RUN' --output model
fer-train evaluate faces.csv --model 'RUN' --split PublicTest --output evaluation
fer-infer evaluate faces.csv --model model --split PublicTest --output evaluation2
fer-explain attribute faces.csv --model model --rows 2,3 --output maps.npz
fer-explain maximize --model model --layer 1 --channels 0 --steps 4 --output images
fer-explain filters faces.csv --model model --layer 0 --output filters
fer-explain feature-maps faces.csv --row 2 --model model --layer 0 --output features
fer-explain faithfulness faces.csv --model model --sample-size 4 --methods saliency,random --output faithfulness
fer-explain sanity faces.csv --model model --methods saliency --rows 2,3 --output sanity
fer-explain regions faces.csv --model model --sample-size 20 --methods saliency --output regions
fer-explain report faces.csv --model model --worst 2 --output report
""".replace("RUN", NAME)

DRAWINGS = """
RUN/curves.png RUN/confusion.png RUN/reliability.png evaluation/confusion.png evaluation2/reliability.png
images/sheet.png filters/patches.png filters/weights.png features/sheet.png faithfulness/curves.png
faithfulness/ranking.png sanity/*.png regions/regions.png report/figures/*.png
"""


def test_every_command_that_draws_works_with_the_backend_of_a_notebook(tmp_path: Path) -> None:
    environment = os.environ | {"MPLBACKEND": NOTEBOOK, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=COMMANDS.strip(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "findfont" not in done.stderr
    for pattern in DRAWINGS.split():
        assert list(tmp_path.glob(pattern.replace("RUN", NAME))) != [], pattern


@pytest.mark.parametrize("program", [train, infer, explain])
def test_the_programs_that_draw_are_all_tried(program: object) -> None:
    """A new command belongs into the list above, or into this one."""
    others = {
        "synthesize",
        "architectures",
        "layers",
        "distill",
        "ensemble",
        "score",
        "crop",
        "bench",
        "doctor",
        "methods",
        "preflight",
        "web",
    }
    others.add("ground-truth")  # needs a network that was trained for minutes; draws as faithfulness does
    tried = {line.split()[1] for line in COMMANDS.strip().splitlines()}
    assert set(program.commands) <= tried | others  # type: ignore[attr-defined]
