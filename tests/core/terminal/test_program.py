"""A program ends with one line and the right exit code, and starts without loading what it may not need."""

from __future__ import annotations

import errno
import subprocess
import sys
import warnings
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from fer_core import CardError, ConfigError, DataError, DataWarning, DeviceError, FerError, ModelError, OutputError
from fer_core.errors import CacheWarning
from fer_core.terminal.program import OUT_OF_MEMORY, Program


def run(command: Callable[[], object], *arguments: str) -> int:
    """Run a program whose one command is `command`; return its exit code."""

    @click.group(name="fer-test", cls=Program)
    def main() -> None:
        """Test."""

    main.command(name="work")(click.option("--n", type=int)(lambda n: command()))
    with pytest.raises(SystemExit) as end:
        main.main(list(arguments or ["work"]), prog_name="fer-test")
    return int(end.value.code or 0)


@pytest.mark.parametrize("category", [DataWarning, CacheWarning])
def test_a_warning_of_ours_is_one_line_and_is_printed_once(
    capsys: pytest.CaptureFixture[str], category: type[Warning]
) -> None:
    def command() -> None:
        for _ in range(3):
            warnings.warn("left\nout", category, stacklevel=1)
        warnings.warn("of others", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="of others"):  # goes where it would go without the program
        assert run(command) == 0
    assert capsys.readouterr().err == "fer-test: left out\n"


def test_a_warning_is_printed_once_although_a_library_changes_the_filters(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        for _ in range(2):
            warnings.warn("left out", DataWarning, stacklevel=1)
            warnings.filterwarnings("ignore", category=ImportWarning)  # as many do when they are imported
        warnings.warn("damaged", DataWarning, stacklevel=1)

    assert run(command) == 0
    assert capsys.readouterr().err == "fer-test: left out\nfer-test: damaged\n"


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FerError("wrong"), "wrong"),
        (DataError("test.csv", "no face", row=7), "test.csv row 7: no face"),
        (CardError("wrong"), "wrong"),
        (ModelError("wrong"), "wrong"),
        (DeviceError("wrong"), "wrong"),
        (OutputError("wrong"), "wrong"),
        (ConfigError("wrong"), "wrong"),
        (FerError("a\nb\r\nc"), "a b c"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv"),
            "[Errno 2] No such file or directory: 'a.csv'",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
        (MemoryError(), OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), OUT_OF_MEMORY),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), OUT_OF_MEMORY),
        (UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"), "a name is not UTF-8: 'caf\\udce9'"),
        (KeyboardInterrupt(), "interrupted"),
    ],
    ids=repr,
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], error: BaseException, line: str
) -> None:
    assert run(raising(error)) == 1
    assert capsys.readouterr() == ("", f"fer-test: {line}\n")


@pytest.mark.parametrize("arguments", [["work", "--n", "many"], ["work", "--colour"], ["play"], ["work", "extra"]])
def test_a_wrong_use_is_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(lambda: pytest.fail("work was done"), *arguments) == 2
    assert "Usage: fer-test" in capsys.readouterr().err


def test_a_command_may_refuse_its_use_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(click.UsageError("not so"))) == 2
    assert "not so" in capsys.readouterr().err


def test_work_that_is_done_is_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda: click.echo("done")) == 0
    assert capsys.readouterr() == ("done\n", "")
    assert run(lambda: None, "--help") == 0


def test_a_reader_that_has_gone_needs_no_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", sys.stdout)  # which click wraps for good
    monkeypatch.setattr("sys.stderr", sys.stderr)
    assert run(raising(BrokenPipeError(errno.EPIPE, "Broken pipe"))) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "extra"), [("fer-train", "train"), ("fer-explain", "explain")])
def test_a_missing_package_names_the_extra_that_brings_it(
    capsys: pytest.CaptureFixture[str], name: str, extra: str
) -> None:
    @click.group(name=name, cls=Program)
    def main() -> None:
        """Test."""

    main.command(name="work")(raising(ModuleNotFoundError("No module named 'torch'", name="torch")))
    with pytest.raises(SystemExit) as stopped:
        main.main(["work"])
    assert stopped.value.code == 1
    remedy = f"pip install 'fer-toolkit[{extra}]', or '.[{extra}]' in a checkout, installs it"
    assert capsys.readouterr().err == f"{name}: torch is not installed; {remedy}\n"


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    @click.group(name="fer-test", cls=Program)
    def main() -> None:
        """Test."""

    main.command(name="work")(raising(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        main.main(["work"])


HEAVY = ["PIL", "gzip", "matplotlib", "numba", "pandas", "rich", "scipy", "torch", "backports.zstd"]


@pytest.mark.parametrize(
    "modules",
    [
        "fer_core",
        "fer_core, fer_core.terminal.program, fer_core.outputs.staging, fer_core.io.csv.writer",
    ],
)
def test_importing_the_package_loads_nothing_heavy(modules: str) -> None:
    code = f"import sys, {modules}; print(*sorted(sys.modules.keys() & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("expected 1, found 2", parameter="batch_size"), "--batch-size: expected 1, found 2"),
        (ConfigError("expected 1, found 2", parameter="other"), "other: expected 1, found 2"),
        (OutputError("x.csv exists; `force=True` replaces it"), "x.csv exists; --force replaces it"),
        (OutputError("x would be lost; add `int8=True`"), "x would be lost; add --int8"),
        (OutputError("`batch_size=1` or `device='cpu'` needs less"), "--batch-size 1 or --device cpu needs less"),
        (OutputError("`batch_size` and `other=3` are given"), "--batch-size and `other=3` are given"),
        (OutputError("`columns={'label': 'y'}` chooses one"), "--column label=y chooses one"),
        (OutputError("`columns={'label': \"it's\"}` chooses one"), "--column label=it's chooses one"),
    ],
)
def test_parameters_are_spelled_as_the_options_of_the_command(error: FerError, line: str) -> None:
    @click.group(cls=Program, name="fer")
    def main() -> None:
        """Group."""

    @main.command()
    @click.option("--batch-size")
    @click.option("--column", "input_columns")
    @click.option("--device")
    @click.option("--force", is_flag=True)
    @click.option("--int8", is_flag=True)
    def work(**_: object) -> None:
        raise error

    done = CliRunner().invoke(main, ["work"])
    assert (done.exit_code, done.stderr) == (1, f"fer: {line}\n")
