"""A Ray cluster: reaching or starting one, and what it has room for."""

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
import ray.data  # its loggers, too, are to keep quiet

from fer_core import ConfigError, DeviceError
from fer_core.errors import first_line

STDERR: Final = 2
"""The file descriptor of standard error."""

HOST_AND_PORT: Final = re.compile(r"(ray://)?(?P<host>[^:/]+):(?P<port>\d+)")
CONNECT_TIMEOUT_S: Final = 10.0


@contextmanager
def open_cluster(address: str | None) -> Iterator[None]:
    """Reach the cluster, or start one on this machine, unless the caller already has; leave it as it was found.

    Parameters
    ----------
    address : str or None
        As `ray.init` takes it; that of RAY_ADDRESS, or else a cluster of this machine, where None.

    Raises
    ------
    DeviceError
        If none can be had.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is scored here is nobody else's business
    asked = address or os.environ.get("RAY_ADDRESS")
    try:
        if asked and (place := HOST_AND_PORT.fullmatch(asked)):
            # Ray would try for minutes, and talk about each time.
            socket.create_connection((place["host"], int(place["port"])), timeout=CONNECT_TIMEOUT_S).close()
        on_termination = _handler_of_termination()
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # some of what Ray raises is no more than that
        where = f"at {asked}" if asked else "on this machine"
        raise DeviceError(f"ray: no cluster can be had {where}: {first_line(error)}") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if on_termination is not None:
        signal.signal(signal.SIGTERM, on_termination)  # Ray took it
    try:
        yield
    finally:
        ray.shutdown()


def _handler_of_termination() -> Any:
    """Return what SIGTERM does now; None where it is not Python's, or where Python lets nobody set it."""
    main = threading.current_thread() is threading.main_thread()
    return signal.getsignal(signal.SIGTERM) if main else None


@contextmanager
def native_messages_dropped() -> Iterator[None]:
    """Drop what is written to standard error past Python.

    Ray's native part writes a warning for each pool of actors there, and no setting of it keeps quiet without a line of
    its own. What matters comes as an exception.
    """
    try:
        python_writes_there = sys.stderr.fileno() == STDERR
    except (AttributeError, OSError, ValueError):  # a stream of the caller's
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
    """Return how many workers of so many CPUs the machines have room for, and whether each gets a GPU.

    Raises
    ------
    DeviceError
        If `device` is ``"cuda"`` and there is no GPU.
    ConfigError
        If there is room for none.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if device == "cuda" and not gpus:
        raise DeviceError("cuda was asked for and cannot be had: no machine of the Ray cluster has a GPU")
    on_gpu = device != "cpu" and gpus > 0
    by_cpu = [int(node.get("CPU", 0)) // threads for node in nodes]
    room = sum(min(n, int(node.get("GPU", 0))) if on_gpu else n for n, node in zip(by_cpu, nodes, strict=True))
    if not room:
        raise ConfigError(f"threads: expected as many as a machine of the Ray cluster has CPUs, found {threads}")
    return room, on_gpu
