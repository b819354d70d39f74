"""The npm packages of the checks and tests are pinned, and those of the page are the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from visits import ROOT

from fer_infer.web import runtime


def test_versions_are_exact_and_no_registry_is_named() -> None:
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    assert package["private"]
    assert all(version[0].isdigit() for version in package["devDependencies"].values())
    lock = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert "resolved" not in lock
    assert "//" not in "".join(line for line in lock.splitlines() if '"integrity"' not in line and '"url"' not in line)


def test_the_runtime_of_the_page_is_that_of_the_lock_file() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))
    entry = lock["packages"][f"node_modules/{runtime.PACKAGE}"]
    assert (entry["version"], entry["integrity"]) == (runtime.VERSION, runtime.INTEGRITY)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_without_npm_the_scripts_of_the_page_are_not_checked(tmp_path: Path) -> None:
    (tmp_path / "dirname").symlink_to(str(shutil.which("dirname")))
    script = [str(shutil.which("bash")), str(ROOT / "scripts" / "check_page.sh")]
    done = subprocess.run(script, capture_output=True, text=True, env=os.environ | {"PATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The scripts of the page are not checked: npm is not installed\n"
