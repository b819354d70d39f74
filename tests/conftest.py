"""What holds in every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_core.outputs import staging as output
from fer_core.outputs.output_folder import OutputFolder


@pytest.fixture(autouse=True)
def every_folder_that_is_made_could_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that writes a file which its `OutputFolder` lacks could never replace its own output."""
    put = output._put

    def checked_put(stage: Path, path: Path, folder: OutputFolder | None, target: str | Path) -> None:
        if folder is not None:
            folder.require_ours(stage, target)
        put(stage, path, folder, target)

    monkeypatch.setattr(output, "_put", checked_put)
