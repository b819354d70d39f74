"""Work is done and exit codes are right whatever the standard streams are."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from fer_core.errors import NO_THREADS
from fer_core.terminal.console import is_terminal, say, standard_streams
from fer_core.terminal.program import Program
from fer_core.terminal.progress import progress

PROGRAM = """
import os, sys, warnings, click
from contextlib import suppress
from pathlib import Path
from fer_core import DataWarning, FerError
from fer_core.outputs.staging import staged
from fer_core.terminal.program import Program
from fer_core.terminal.progress import progress
import fer_core.terminal.progress
fer_core.terminal.progress.PLAIN_INTERVAL_S = 0.0

@click.group(name="fer-test", cls=Program)
def main():
    pass

@main.command()
@click.option("--output")
@click.option("--fail", is_flag=True)
def work(output, fail):
    with staged(output) as stage, stage.open("w") as file, progress("work", 2) as advance:
        with suppress(OSError):
            os.write(2, b"a native library writes to descriptor 2")
        warnings.warn("left out", DataWarning)
        advance(1)
        file.write("whole")
        if fail:
            raise FerError("wrong")
    click.echo(f"{output}: 1 row")
    click.echo("a note", err=True)

main()
"""


def shell(redirection: str, output: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = f'exec "$0" -c "$1" work --output "$2" {" ".join(options)} {redirection}'
    return subprocess.run(
        ["bash", "-c", command, sys.executable, PROGRAM, str(output)],
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("redirection", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/null 2>&1"])
def test_work_is_done_without_standard_streams(tmp_path: Path, redirection: str) -> None:
    done = shell(redirection, tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").read_text() == "whole"  # and nothing of what descriptor 2 was sent
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]


@pytest.mark.parametrize("redirection", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_an_error_is_exit_code_1_without_standard_streams(tmp_path: Path, redirection: str) -> None:
    assert shell(redirection, tmp_path / "out.csv", "--fail").returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_a_standard_error_whose_reader_has_gone_stops_nothing(tmp_path: Path) -> None:
    done = shell("2> >(exec 0<&-)", tmp_path / "out.csv")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/out.csv: 1 row\n".encode())


def test_a_full_standard_output_is_an_error_that_names_it(tmp_path: Path) -> None:
    done = shell(">/dev/full", tmp_path / "out.csv")
    assert done.returncode == 1
    assert done.stderr.endswith(b"fer-test: standard output: cannot be written: No space left on device\n")
    assert (tmp_path / "out.csv").read_text() == "whole"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "cp437:strict"])
def test_a_name_that_the_encoding_of_the_output_lacks_is_escaped(tmp_path: Path, encoding: str) -> None:
    done = shell("", tmp_path / "脸.csv", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "脸.csv").read_text() == "whole"
    assert done.stdout.decode("ascii", "replace").endswith("\\u8138.csv: 1 row\n") or "脸" in done.stdout.decode()


def test_what_an_encoding_has_is_not_escaped(tmp_path: Path) -> None:
    done = shell("", tmp_path / "10€ 脸.csv", PYTHONIOENCODING="cp1252")
    assert done.stdout.decode("cp1252") == f"{tmp_path}/10€ \\u8138.csv: 1 row\n"


class Logger:
    """What some programs put in place of a stream: it takes text, and that is all."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


class Closed(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.close()


@pytest.mark.parametrize("stream", [lambda: None, Logger, Closed], ids=["none", "logger", "closed"])
def test_progress_of_a_library_call_needs_no_stream(monkeypatch: pytest.MonkeyPatch, stream: Callable[[], Any]) -> None:
    monkeypatch.setattr("fer_core.terminal.progress.PLAIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(sys, "stderr", found := stream())
    with progress("score", 10) as advance:
        advance(5)
    say("a note")
    assert not is_terminal(found)
    if isinstance(found, Logger):
        assert found.text.startswith("score: 5 of 10 faces")
        assert found.text.endswith("a note\n")


@pytest.mark.parametrize("stream", [lambda: None, Logger, Closed], ids=["none", "logger", "closed"])
def test_a_program_may_print_to_any_stream_and_leaves_it_in_its_place(
    monkeypatch: pytest.MonkeyPatch, stream: Callable[[], Any]
) -> None:
    output, error = stream(), stream()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", error)
    with standard_streams():
        click.echo("done")
        click.echo("a note", err=True)
    assert (sys.stdout, sys.stderr) == (output, error)
    if isinstance(output, Logger):
        assert (output.text, error.text) == ("done\n", "a note\n")


# Home folders, signals and threads


def invoke(command: Callable[..., object], *arguments: str) -> int:
    @click.group(name="fer-test", cls=Program)
    def main() -> None:
        """Test."""

    options = [click.argument("data", default=""), click.option("--output"), click.option("--key", multiple=True)]
    for option in options:
        command = option(command)
    main.command(name="work")(command)
    with pytest.raises(SystemExit) as end:
        main.main(["work", *arguments], prog_name="fer-test")
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "data", "output", "key"),
    [
        (["~/faces.csv", "--output=~/out"], "/home/me/faces.csv", "/home/me/out", ()),
        (["~", "--output", "~/out"], "/home/me", "/home/me/out", ()),
        (["./~/faces.csv", "--output=./~out"], "./~/faces.csv", "./~out", ()),
        (["--output=~nobody-of-this-name/out"], "", "~nobody-of-this-name/out", ()),
        (["--key", "a=~/x", "--output=a~/out", "b=~"], "b=~", "a~/out", ("a=~/x",)),
    ],
)
def test_a_leading_tilde_is_the_home_folder_as_in_a_shell(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], data: str, output: str, key: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found: dict[str, object] = {}
    assert invoke(lambda **given: found.update(given), *arguments) == 0
    assert found == {"data": data, "output": output, "key": key}


def test_the_home_of_another_user_is_known() -> None:
    found: dict[str, object] = {}
    assert invoke(lambda **given: found.update(given), "--output=~root/out") == 0
    assert found["output"] == os.path.expanduser("~root/out") != "~root/out"  # noqa: PTH111


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("can't start new thread"),
        RuntimeError("pthread_create failed, error code: 11 error msg: Resource temporarily unavailable"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    ],
)
def test_a_lack_of_threads_is_one_line_with_a_remedy(capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    def command(**_: object) -> None:
        raise error

    assert invoke(command) == 1
    assert capsys.readouterr().err == f"fer-test: {NO_THREADS}\n"
    assert "`threads=1`" in NO_THREADS


SLEEP = """
import click, sys, time
from fer_core.outputs.staging import staged
from fer_core.terminal.program import Program
@click.group(name="fer-test", cls=Program)
def main(): pass
@main.command()
@click.argument("output")
def work(output):
    with staged(output) as stage:
        stage.touch()
        print("begun", flush=True)
        sys.stdin.read()
main()
"""


@pytest.mark.parametrize("ignored", [False, True], ids=["terminal", "nohup"])
def test_a_terminal_that_hangs_up_ends_a_program_cleanly_unless_it_is_to_outlive_it(
    tmp_path: Path, ignored: bool
) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)

    command = [sys.executable, "-c", SLEEP, "work", str(tmp_path / "out")]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, preexec_fn=ignore, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        stderr = process.communicate()[1]
    if ignored:
        assert (process.returncode, stderr) == (0, "")
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    else:
        assert (process.returncode, stderr) == (1, "fer-test: hung up\n")
        assert list(tmp_path.iterdir()) == []
