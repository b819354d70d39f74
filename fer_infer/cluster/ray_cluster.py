"""Connect to a Ray cluster or start one, and find out how many workers it has room for."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, Final

import ray
import ray.data  # imported to silence its loggers too

from fer_core import ConfigError, DeviceError
from fer_core.errors import first_line

STDERR: Final = 2
"""File descriptor of standard error."""

HOST_AND_PORT: Final = re.compile(r"(ray://)?(?P<host>[^:/]+):(?P<port>\d+)")
CONNECT_TIMEOUT_S: Final = 10.0


@contextmanager
def open_cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster or start one on this machine, unless a session is open; disconnect at the end.

    Parameters
    ----------
    address : str or None
        Address for `ray.init`; by default that in RAY_ADDRESS, else a cluster on this machine.

    Raises
    ------
    DeviceError
        If no cluster is available.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
    asked = address or os.environ.get("RAY_ADDRESS")
    try:
        if asked and (place := HOST_AND_PORT.fullmatch(asked)):
            # Ray would retry for minutes and print a message each time.
            socket.create_connection((place["host"], int(place["port"])), timeout=CONNECT_TIMEOUT_S).close()
        on_termination = _handler_of_termination()
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises plain exceptions
        where = f"at {asked}" if asked else "on this machine"
        raise DeviceError(f"ray: no cluster is available {where}: {first_line(error)}") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if on_termination is not None:
        signal.signal(signal.SIGTERM, on_termination)  # Ray replaced it
    try:
        yield
    finally:
        ray.shutdown()


def _handler_of_termination() -> Any:
    """Return the current handler of SIGTERM; None if it is not Python's, or outside the main thread."""
    main = threading.current_thread() is threading.main_thread()
    return signal.getsignal(signal.SIGTERM) if main else None


@contextmanager
def native_messages_dropped() -> Iterator[None]:
    """Drop messages that native code writes to standard error.

    Ray's native code writes a warning for each pool of actors, which no setting of Ray suppresses silently. Errors are
    raised as exceptions.
    """
    try:
        python_writes_there = sys.stderr.fileno() == STDERR
    except (AttributeError, OSError, ValueError):  # a stream of the caller
        python_writes_there = False
    with suppress(AttributeError, OSError, ValueError):  # there may be no stream, or a closed one
        sys.stderr.flush()
    try:
        kept = os.dup(STDERR)
    except OSError:  # closed: nothing can be written there
        yield
        return
    with (
        open(os.devnull, "wb") as nowhere,
        open(os.dup(kept), "w", buffering=1) as stderr,
        redirect_stderr(stderr if python_writes_there else sys.stderr),
    ):
        os.dup2(nowhere.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)


def find_room(device: str, threads: int) -> tuple[int, bool]:
    """Return how many workers with `threads` CPUs each the machines have room for, and whether each gets a GPU.

    Raises
    ------
    DeviceError
        If `device` is ``"cuda"`` and there is no GPU.
    ConfigError
        If there is no room for one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if device == "cuda" and not gpus:
        raise DeviceError("CUDA was requested but is not available: no machine of the Ray cluster has a GPU")
    on_gpu = device != "cpu" and gpus > 0
    by_cpu = [int(node.get("CPU", 0)) // threads for node in nodes]
    room = sum(min(n, int(node.get("GPU", 0))) if on_gpu else n for n, node in zip(by_cpu, nodes, strict=True))
    if not room:
        expected = f"expected at most the number of CPUs of a machine of the Ray cluster, found {threads}"
        raise ConfigError(expected, parameter="threads")
    return room, on_gpu
