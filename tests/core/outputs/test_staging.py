"""An output appears whole or not at all, and what stood there before survives until then."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_core import OutputError
from fer_core.outputs.output_folder import OutputFolder
from fer_core.outputs.staging import scratch_folder, staged

FOLDER = OutputFolder(always=(), sometimes=("a", "*.txt", "x", "link", "faces.csv", "inner/a", "inner/*.txt"))


def names(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def kind(folder: bool) -> OutputFolder | None:
    return FOLDER if folder else None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def write(
    target: Path, text: str = "new", *, folder: bool = False, force: bool = False, error: BaseException | None = None
) -> None:
    """Make `target`, or the file `a` in it; raise `error` at the end."""
    with staged(target, folder=kind(folder), force=force) as stage:
        (stage / "a" if folder else stage).write_text(text)
        if error is not None:
            raise error


# Whole or not at all


def test_a_file_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "out.csv"
    with staged(target) as stage:
        assert not stage.exists()
        assert stage.parent == target.parent
        stage.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(tmp_path) == ["deep", "deep/er", "deep/er/out.csv"]


def test_a_dash_is_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        OutputError, match=r"^-: expected the name of an output; nothing is written to standard output$"
    ):
        write(Path("-"))
    assert names(tmp_path) == []


def test_a_folder_appears_at_the_end_and_not_before(tmp_path: Path) -> None:
    with staged(tmp_path / "run", folder=FOLDER) as stage:
        assert names(stage) == []
        (stage / "inner").mkdir()
        (stage / "inner" / "a.txt").write_text("a")
        assert not (tmp_path / "run").exists()
    assert names(tmp_path) == ["run", "run/inner", "run/inner/a.txt"]


@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt(), SystemExit(3), OSError("unrelated")])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_after_an_error_nothing_is_left_and_the_error_is_itself(
    tmp_path: Path, error: BaseException, folder: bool
) -> None:
    with pytest.raises(type(error)) as failure:
        write(tmp_path / "out", "half", folder=kind(folder), error=error)
    assert failure.value is error
    assert names(tmp_path) == []


def test_an_error_before_anything_is_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), staged(tmp_path / "out"):
        raise ValueError("early")
    assert names(tmp_path) == []


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_after_an_error_no_folder_around_is_left_but_those_in_use(tmp_path: Path, folder: bool) -> None:
    (tmp_path / "old").mkdir()

    def work() -> None:
        with staged(tmp_path / "old" / "a" / "b" / "out", folder=kind(folder)):
            (tmp_path / "old" / "a" / "other").touch()
            raise ValueError("early")

    with pytest.raises(ValueError, match="early"):
        work()
    assert names(tmp_path) == ["old", "old/a", "old/a/other"]


def test_a_second_output_of_one_name_is_refused_before_any_work_while_the_first_is_made(tmp_path: Path) -> None:
    with staged(tmp_path / "out", force=True) as one:
        with pytest.raises(OutputError, match=r"out: is being written by another run \(process \d+ on "):
            write(tmp_path / "out", "other", force=True)
        one.write_text("one")
    assert (tmp_path / "out").read_text() == "one"
    write(tmp_path / "out", "other", force=True)
    assert names(tmp_path) == ["out"]


# What is there already


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_an_existing_target_is_refused_before_any_work(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "out"
    target.mkdir() if folder else target.write_text("old")
    with pytest.raises(OutputError) as failure, staged(target, folder=kind(folder)):
        pytest.fail("work was done")
    assert str(failure.value) == f"{target}: exists already; `force=True` replaces it"
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").touch()
    write(tmp_path / "out", folder=True, force=True)
    assert names(tmp_path) == ["out", "out/a"]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_target_that_appears_meanwhile_is_not_replaced(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "out"

    def late() -> None:
        with staged(target, folder=kind(folder)) as stage:
            (stage / "a" if folder else stage).write_text("ours")
            (target / "theirs").mkdir(parents=True) if folder else target.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        late()
    assert names(tmp_path) == (["out", "out/theirs"] if folder else ["out"])
    assert folder or target.read_text() == "theirs"


def test_force_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    with staged(tmp_path / "out", force=True) as stage:
        stage.write_text("new")
        assert (tmp_path / "out").read_text() == "old"
    assert (tmp_path / "out").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_force_replaces_a_folder_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    with staged(tmp_path / "out", force=True, folder=FOLDER) as stage:
        (stage / "new.txt").write_text("new")
        assert (tmp_path / "out" / "old.txt").read_text() == "old"
    assert names(tmp_path) == ["out", "out/new.txt"]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_what_was_there_survives_an_error(tmp_path: Path, folder: bool) -> None:
    old = tmp_path / "out" / "old.txt" if folder else tmp_path / "out"
    old.parent.mkdir(exist_ok=True)
    old.write_text("old")
    before = names(tmp_path)
    with pytest.raises(ValueError, match="ours"):
        write(tmp_path / "out", folder=kind(folder), force=True, error=ValueError("ours"))
    assert names(tmp_path) == before
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full disk", "Ctrl-C"]
)
def test_an_old_folder_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        write(tmp_path / "out", folder=True, force=True)
    assert names(tmp_path) == ["out", "out/old.txt"]


@pytest.mark.parametrize("force", [False, True])
def test_a_target_of_another_kind_is_refused(tmp_path: Path, force: bool) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, folder, message in (
        ("folder", False, "expected a file, found a directory"),
        ("file", True, "expected a directory, found a file"),
        ("pipe", False, "expected a file, found neither a file nor a directory"),
    ):
        with pytest.raises(OutputError) as failure, staged(tmp_path / name, force=force, folder=kind(folder)):
            pytest.fail("work was done")
        assert str(failure.value) == f"{tmp_path / name}: {message}"
    assert names(tmp_path) == ["file", "folder", "pipe"]


@pytest.mark.parametrize("target", [".", "..", "", "/", "../here"])
def test_the_working_folder_and_those_around_it_are_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "precious.txt").touch()
    monkeypatch.chdir(tmp_path / "here")
    with (
        pytest.raises(OutputError, match="contains the current working directory and cannot be replaced"),
        staged(target, force=True, folder=FOLDER),
    ):
        pytest.fail("work was done")
    assert names(tmp_path) == ["here", "here/precious.txt"]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path, folder: bool) -> None:
    (tmp_path / "there").mkdir()
    real = tmp_path / "there" / "real"
    real.mkdir() if folder else real.touch()
    (tmp_path / "link").symlink_to(real)
    with staged(tmp_path / "link", force=True, folder=kind(folder)) as stage:
        (stage / "a" if folder else stage).write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (real / "a" if folder else real).read_text() == "new"


# Work of others


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("foreign", ["thesis.tex", "chapters/thesis.tex", "inner/deep/thesis.tex", ".git/config"])
def test_a_folder_with_somebodys_file_is_never_replaced(tmp_path: Path, foreign: str, force: bool) -> None:
    write(tmp_path / "out", folder=True)
    (tmp_path / "out" / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / foreign).write_text("years of work")
    expected = f"contains {foreign}, which does not belong to such an output and would be lost; move it or choose"
    with (
        pytest.raises(OutputError, match=expected if force else "exists already; `force=True` replaces it"),
        staged(tmp_path / "out", folder=FOLDER, force=force),
    ):
        pytest.fail("work was done")
    assert (tmp_path / "out" / foreign).read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_folder_of_fitting_names_without_those_of_every_output_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my project")
    kind = OutputFolder(always=("model.onnx",), sometimes=("README.md",))
    expected = r"mine: contains README\.md but no model\.onnx, so it is not an output of this kind"
    with pytest.raises(OutputError, match=expected), staged(tmp_path / "mine", folder=kind, force=True):
        pytest.fail("work was done")
    assert (tmp_path / "mine" / "README.md").read_text() == "my project"


def test_a_link_in_a_folder_is_foreign_where_a_folder_is_meant_and_what_it_names_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_text("theirs")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "inner").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="out: contains inner, "), staged(tmp_path / "out", folder=FOLDER, force=True):
        pytest.fail("work was done")
    assert (tmp_path / "elsewhere" / "a").read_text() == "theirs"


def test_an_empty_folder_of_somebody_is_work_too(tmp_path: Path) -> None:
    (tmp_path / "out" / "plan").mkdir(parents=True)
    with pytest.raises(OutputError, match="out: contains plan, "), staged(tmp_path / "out", folder=FOLDER, force=True):
        pytest.fail("work was done")
    assert names(tmp_path) == ["out", "out/plan"]


def test_what_somebody_puts_into_a_folder_while_it_is_made_anew_survives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the very last moment: after the folder was looked through, just before it is moved aside."""
    write(tmp_path / "out", "old", folder=True)
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name == "out":
            (self / "thesis.tex").write_text("years of work")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError, match=r"out: contains thesis\.tex, "):
        write(tmp_path / "out", "new", folder=True, force=True)
    assert names(tmp_path) == ["out", "out/a", "out/thesis.tex"]
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_a_mount_point_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "out")
    with (
        pytest.raises(OutputError, match="out: is a mount point, which cannot be replaced; name a folder in it"),
        staged(tmp_path / "out", folder=FOLDER, force=True),
    ):
        pytest.fail("work was done")


# Names


@pytest.mark.parametrize("name", ["thesis.tex", "Makefile", "p.json", "p.csv.xz", "p.csv.gz.bak", ".csv.zip"])
@pytest.mark.parametrize("force", [False, True])
def test_a_name_that_ends_otherwise_is_no_output_and_what_bears_it_is_safe(
    tmp_path: Path, name: str, force: bool
) -> None:
    (tmp_path / name).write_text("years of work")
    expected = f"{name}: expected the name of an output to end in .csv, .csv.gz or .parquet$"
    with (
        pytest.raises(OutputError, match=expected),
        staged(tmp_path / name, force=force, endings=(".csv", ".csv.gz", ".parquet")),
    ):
        pytest.fail("work was done")
    assert (tmp_path / name).read_text() == "years of work"


@pytest.mark.parametrize("name", ["p.csv", "p.CSV", "a.b.csv.gz", ".parquet"])
def test_a_name_may_be_of_either_case(tmp_path: Path, name: str) -> None:
    with staged(tmp_path / name, endings=(".csv", ".csv.gz", ".parquet")) as stage:
        stage.write_text("made")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_longest_name_of_the_file_system_is_an_output(tmp_path: Path, folder: bool, letter: str) -> None:
    name = letter * (255 // len(letter.encode()))
    for force in (False, True):
        write(tmp_path / name, folder=folder, force=force)
    assert names(tmp_path) == ([name, f"{name}/a"] if folder else [name])


# Permissions


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)], indirect=["umask"])
def test_a_file_that_its_writer_kept_to_itself_can_be_read_as_any_new_file(
    tmp_path: Path, umask: int, expected: int
) -> None:
    with staged(tmp_path / "out") as stage:
        os.close(os.open(stage, os.O_CREAT | os.O_WRONLY, 0o600))
    assert mode(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("umask", "file", "folder"),
    [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700)],
    indirect=["umask"],
)
def test_so_can_a_folder_and_all_in_it(tmp_path: Path, umask: int, file: int, folder: int) -> None:
    with staged(tmp_path / "out", folder=FOLDER) as stage:
        (stage / "inner").mkdir(mode=0o700)
        os.close(os.open(stage / "inner" / "a", os.O_CREAT | os.O_WRONLY, 0o600))
        (stage / "link").symlink_to("nowhere")
    assert [mode(tmp_path / "out" / name) for name in ("", "inner", "inner/a")] == [folder, folder, file]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_mount_that_refuses_to_change_permissions_loses_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", "some file")

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(Path, "chmod", refuse)
    write(tmp_path / "out", folder=folder)
    assert (tmp_path / "out" / "a" if folder else tmp_path / "out").read_text() == "new"


# Errors of the system


def test_an_output_that_cannot_be_made_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target, reason in (
        (tmp_path / "file" / "out", "File exists|Not a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(OutputError, match=rf": cannot be written: ({reason})$") as failure, staged(target):
            pytest.fail("work was done")
        assert str(failure.value).startswith(f"{target}: ")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_an_error_of_the_output_names_the_target(tmp_path: Path, folder: bool) -> None:
    with pytest.raises(OutputError) as failure, staged(tmp_path / "out", folder=kind(folder)) as stage:
        (stage / "missing" / "a").write_text("a")
    reason = "No such file or directory"
    assert str(failure.value) == f"{tmp_path}/out: cannot be written: {reason}"
    assert names(tmp_path) == []


def test_a_full_disk_names_the_target(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"out: cannot be written: No space left on device$"),
        staged(tmp_path / "out"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line_whichever_library_reports_it(tmp_path: Path, code: int) -> None:
    def report(kind: int) -> None:
        if kind == 0:
            raise ValueError(f"Error while serializing: I/O error: {os.strerror(code)} (os error {code})")
        try:
            raise OSError(code, os.strerror(code))
        except OSError as error:
            if kind == 1:
                raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0") from error
            raise RuntimeError("unexpected pos 64 vs 0") from None

    for kind in range(3):
        expected = rf"out: cannot be written: {os.strerror(code)}$"
        with pytest.raises(OutputError, match=expected), staged(tmp_path / "out", folder=FOLDER):
            report(kind)
    assert names(tmp_path) == []


def test_a_full_disk_of_another_file_is_not_blamed_on_the_target(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cache"), staged(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/cache")


def test_an_error_of_an_output_in_a_folder_names_it_by_its_place_in_the_target(tmp_path: Path) -> None:
    def work() -> None:
        with staged(tmp_path / "out", folder=FOLDER) as stage, staged(stage / "a"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=f"^{tmp_path}/out/a: cannot be written: No space left on device$"):
        work()
    assert names(tmp_path) == []


def test_temporary_files_without_room_name_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(OutputError, match=f"^{tmp_path}: temporary files cannot be written: No space left on device; "),
        staged(tmp_path / "out"),
        scratch_folder(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="unrelated"), scratch_folder():
        raise OSError("unrelated")
    assert names(tmp_path) == []


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"out: cannot be written: No such file or directory$"),
        staged(tmp_path / "out"),
    ):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("relative", [False, True])
def test_an_error_of_another_file_is_not_blamed_on_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path() if relative else tmp_path
    with pytest.raises(FileNotFoundError, match=r"input\.csv"), staged(folder / "out.csv"):
        (folder / "input.csv").read_text()
    with pytest.raises(BrokenPipeError), staged(folder / "out.csv"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert names(tmp_path) == []


@pytest.mark.parametrize("folder", [False, True])
def test_what_an_output_is_made_from_is_never_replaced(tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "there"
    (target if folder else tmp_path).mkdir(exist_ok=True)
    data = target / "faces.csv" if folder else target
    data.write_text("faces")
    link = tmp_path / "link"
    link.symlink_to(data)
    for one in (data, link):
        with (
            pytest.raises(OutputError, match=r"there: would overwrite the input .*; choose another output$"),
            staged(target, force=True, folder=kind(folder), inputs=(None, "-", one)),
        ):
            pytest.fail("the body ran")
    assert data.read_text() == "faces"
    with staged(tmp_path / "other", folder=kind(folder), inputs=(data,)) as stage:
        (stage / "x" if folder else stage).write_text("made")
    assert names(tmp_path / "other") == (["x"] if folder else [])


def test_what_is_read_in_a_folder_is_never_replaced(tmp_path: Path) -> None:
    for name in ("model.onnx", "card.json", "a.PNG"):
        part = tmp_path / "read" / name
        part.parent.mkdir(exist_ok=True)
        part.write_text("as it was")
        with (
            pytest.raises(
                OutputError, match=rf"{name}: would overwrite a file of the input .*/read; choose another output$"
            ),
            staged(part, force=True, inputs=(tmp_path / "read",)),
        ):
            pytest.fail("the body ran")
        assert part.read_text() == "as it was"
    for _ in range(2):
        with staged(tmp_path / "read" / "out.csv", force=True, inputs=(tmp_path / "read",)) as stage:
            stage.write_text("made")


def test_links_that_lead_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match="a: cannot be written: "), staged(tmp_path / "a"):
        pytest.fail("the body ran")
