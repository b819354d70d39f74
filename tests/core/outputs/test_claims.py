"""An output belongs to one run at a time, and to nobody once that run is gone."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fer_core import OutputError
from fer_core.outputs import claims
from fer_core.outputs.claims import HIDDEN, claimed
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import staged

HOLD = """
import sys
from fer_core.outputs.claims import claimed
with claimed(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""
WRITE = """
import sys, time
from pathlib import Path
from fer_core import OutputError
from fer_core.outputs.staging import staged
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.output_folder import OutputFolder
target, force, folder, me = sys.argv[1], sys.argv[2] == "force", sys.argv[3] == "folder", sys.argv[4]
sys.stdin.read()  # all begin when the test closes it
kind = OutputFolder(always=("a", "b"))
try:
    with staged(target, force=force, folder=kind if folder else None) as stage:
        for name in ("a", "b"):
            with (stage / name if folder else stage).open("a") as file:
                file.write(me)
            time.sleep(0.2)
except OutputError as error:
    sys.exit(str(error))
"""


def holder(target: Path) -> subprocess.Popen[str]:
    """A process that holds the claim on `target` until it is killed or its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def require_busy(target: Path, who: str) -> None:
    expected = f"{target}: is being written by another run ({who}); wait for it or choose another output"
    with pytest.raises(OutputError, match=f"^{re.escape(expected)}$"), claimed(target):
        pytest.fail("work was done")


def test_a_claim_of_another_process_is_refused_naming_it_and_free_when_it_ends(tmp_path: Path) -> None:
    with holder(tmp_path / "out") as process:
        require_busy(tmp_path / "out", f"process {process.pid} on {os.uname().nodename}")
        with claimed(tmp_path / "other"):
            pass
        process.communicate()
    with claimed(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_claim_of_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    with holder(tmp_path / "out") as process:
        process.kill()
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    with claimed(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_threads_of_one_process_exclude_each_other_too(tmp_path: Path) -> None:
    errors: list[OutputError] = []

    def second() -> None:
        try:
            with claimed(tmp_path / "out"):
                pass
        except OutputError as error:
            errors.append(error)

    with claimed(tmp_path / "out"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(errors) == 1


def test_a_link_and_what_it_names_are_one_output(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with (
        claimed(tmp_path / "link"),
        pytest.raises(OutputError, match="out: is being written"),
        claimed(tmp_path / "out"),
    ):
        pytest.fail("work was done")


def test_who_waits_gets_the_claim_when_it_is_free(tmp_path: Path) -> None:
    with holder(tmp_path / "out") as process:
        assert process.stdin is not None
        threading.Timer(0.3, process.stdin.close).start()
        with claimed(tmp_path / "out", wait_s=30):
            pass


def test_folders_made_for_a_claim_are_removed_unless_they_are_used(tmp_path: Path) -> None:
    with claimed(tmp_path / "a" / "b" / "out"):
        (tmp_path / "a" / "used").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "used"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_claims_nothing_and_shares_no_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(_: int) -> bool:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(claims, "_try_to_lock", refuse)
    with claimed(tmp_path / "out") as one, claimed(tmp_path / "out") as other:
        assert one != other
        assert list(tmp_path.iterdir()) == []


def test_a_folder_in_a_place_where_nothing_may_be_made_is_claimed_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mount point, say. Root may write everywhere, so the refusal is put into the system's mouth."""
    (tmp_path / "out").mkdir()
    opened = claims._open

    def refuse_beside(path: Path) -> int:
        if path.parent == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(claims, "_open", refuse_beside)
    with claimed(tmp_path / "out"):
        assert [HIDDEN.fullmatch(path.name) is not None for path in (tmp_path / "out").iterdir()] == [True]
        with pytest.raises(OutputError, match="out: is being written by another run"), claimed(tmp_path / "out"):
            pytest.fail("work was done")
    with pytest.raises(OutputError, match="new: cannot be written: Permission denied"), claimed(tmp_path / "new"):
        pytest.fail("work was done")


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("force", ["force", ""])
def test_of_runs_started_together_one_writes_and_the_others_are_refused(tmp_path: Path, kind: str, force: str) -> None:
    for attempt in range(3):
        target = tmp_path / f"out{attempt}"
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", WRITE, str(target), force, kind, str(me)],
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for me in range(3)
        ]
        for run in runs:
            assert run.stdin is not None
            run.stdin.close()
        errors = [run.stderr.read() for run in runs if run.stderr is not None]
        codes = [run.wait() for run in runs]
        for run in runs:
            assert run.stderr is not None
            run.stderr.close()
        winners = [str(me) for me, code in enumerate(codes) if code == 0]
        # one that came late, when the first had ended, may replace what that made
        assert len(winners) == 1 or force
        for error, code in zip(errors, codes, strict=True):
            assert code == 0 or "is being written by another run" in error or "exists already" in error
        parts = {path.read_text() for path in (target.iterdir() if kind == "folder" else [target])}
        assert parts <= {me * (1 if kind == "folder" else 2) for me in winners}
        assert len(parts) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"out0", "out1", "out2"}


# What a killed run left


def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    with staged(tmp_path / "out") as stage:
        stage.write_text("whole")
        left = stage
    (tmp_path / "out").unlink()
    left.write_text("half")
    with staged(tmp_path / "out") as stage:
        assert stage == left
        assert not stage.exists()
        stage.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_a_killed_run_had_moved_aside_comes_back(tmp_path: Path) -> None:
    kind = OutputFolder(always=("a",))
    with staged(tmp_path / "out", folder=kind) as stage:
        (stage / "a").write_text("old")
    (tmp_path / "out").rename(stage.with_suffix(".old"))
    with pytest.raises(OutputError, match="out: exists already"), staged(tmp_path / "out", folder=kind):
        pytest.fail("work was done")
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_a_killed_run_had_replaced_is_removed(tmp_path: Path) -> None:
    kind = OutputFolder(always=("a",))
    for text in ("new", "newer"):
        with staged(tmp_path / "out", folder=kind, force=True) as stage:
            (stage / "a").write_text(text)
        if text == "new":
            stage.with_suffix(".old").mkdir()
            (stage.with_suffix(".old") / "a").write_text("old")
    assert (tmp_path / "out" / "a").read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system in which nothing can be made")
def test_a_folder_in_which_no_file_can_be_made_is_said_to_be_one() -> None:
    message = "/proc/here: cannot be written: no file can be created in its folder"
    with pytest.raises(OutputError, match=message), claimed("/proc/here"):
        pass
