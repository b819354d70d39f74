"""Progress is silent for short work, plain lines where nobody watches a terminal, and never in the way of an error."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr

import pytest

from fer_core.terminal.progress import PLAIN_INTERVAL_S, progress


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fer_core.terminal.progress.time.monotonic", clock)
    return clock


class Terminal(io.StringIO):
    """A terminal that remembers what it was sent."""

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put it in place with `redirect_stderr`, as pytest's own capture comes back between a fixture and its test."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal()


def test_short_work_says_nothing(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with progress("score", 100) as advance:
        for _ in range(100):
            advance(1, "note")
            clock.now_s += PLAIN_INTERVAL_S / 101
    assert capfd.readouterr() == ("", "")


def test_long_work_says_a_plain_line_now_and_then(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with progress("score", 10_000) as advance:
        for _ in range(9):
            clock.now_s += 3
            advance(600)
        clock.now_s += 10
        advance(600, "loss 1.25")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "score: 2,400 of 10,000 faces, 200 faces/s, 38 s left",
        "score: 4,800 of 10,000 faces, 200 faces/s, 26 s left",
        "score: 6,000 of 10,000 faces, 162 faces/s, 25 s left, loss 1.25",
    ]


def test_what_was_done_before_counts_for_the_way_but_not_for_the_speed(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress("fit", 1_000, done=500) as advance:
        clock.now_s += 10
        advance(100)
    assert capfd.readouterr().err == "fit: 600 of 1,000 faces, 10 faces/s, 40 s left\n"


def test_an_unknown_end_is_not_guessed(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with progress("fit", None, unit="steps") as advance:
        clock.now_s += 10
        advance(50)
    assert capfd.readouterr().err == "fit: 50 steps, 5.0 steps/s\n"


def test_nothing_done_yet_and_more_done_than_foreseen_are_no_errors(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress("fit", 10) as advance:
        clock.now_s += 10
        advance(0, "compiling")
        clock.now_s += 10
        advance(40)
    assert capfd.readouterr().err.splitlines() == [
        "fit: 0 of 10 faces, 0.0 faces/s, compiling",
        "fit: 40 of 10 faces, 2.0 faces/s, 0 s left",
    ]


def test_a_terminal_gets_a_bar_that_leaves_no_trace(terminal: Terminal) -> None:
    with redirect_stderr(terminal), progress("score [red]", 200) as advance:
        advance(150, "loss [1.25]")
    for part in ("score [red]", "150/200", "faces/s", "loss [1.25]"):
        assert part in terminal.text()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is cleared


def test_a_bar_without_an_end_counts(terminal: Terminal) -> None:
    with redirect_stderr(terminal), progress("score", None) as advance:
        advance(150)
    assert "150 " in terminal.text()
    assert "150/" not in terminal.text()


def fail_within(error: BaseException) -> None:
    with progress("score", 10) as advance:
        advance(1)
        raise error


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["plain", "terminal"])
@pytest.mark.parametrize("error", [ValueError("ours"), KeyboardInterrupt(), StopIteration("ours"), GeneratorExit()])
def test_an_error_of_the_work_passes_through_unchanged(error: BaseException, stream: type[io.StringIO]) -> None:
    with pytest.raises(type(error)) as failure, redirect_stderr(stream()):
        fail_within(error)
    assert failure.value is error


def test_the_cursor_comes_back_after_an_error(terminal: Terminal) -> None:
    with pytest.raises(ValueError, match="ours"), redirect_stderr(terminal):
        fail_within(ValueError("ours"))
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
