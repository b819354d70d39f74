"""Settings of the libraries below PyTorch, made when the package is imported; a user's own setting stays."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

NAMES = ("MKL_CBWR", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "AUTO,STRICT passive None"),
        ({"OMP_WAIT_POLICY": "active"}, "AUTO,STRICT active None"),
        ({"GOMP_SPINCOUNT": "1000"}, "AUTO,STRICT None 1000"),
        ({"MKL_CBWR": "COMPATIBLE"}, "COMPATIBLE passive None"),
    ],
)
def test_libraries_are_set_up_unless_the_user_has_done_so(own: dict[str, Any], expected: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
    script = f"import os, fer_train; print(*map(os.environ.get, {NAMES}))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=inherited | own, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
