"""Starting a worker again when it ends by itself, for those whom neither compose nor Kubernetes serves."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Final

import structlog

HEALTHY: Final = 60.0
"""A worker that has lived so many seconds is not one of those that fail when they start."""
FIRST: Final = 1.0
LONGEST: Final = 30.0
"""Seconds of the first and of the longest pause before a restart."""
FINAL: Final = frozenset({0, 1, 2})
"""Exit codes that a restart would only repeat: told to stop, the answer is no, wrong use."""

_log: Final = structlog.get_logger(__name__)


def pause(failures: int) -> float:
    """Seconds to wait before the restart that follows so many failures in a row.

    >>> [pause(n) for n in (1, 2, 3, 10)]
    [1.0, 2.0, 4.0, 30.0]
    """
    return min(FIRST * 2.0 ** (failures - 1), LONGEST)


def exit_code(returned: int) -> int:
    """The exit code of a process as a shell tells it: 128 and the signal for one that was killed.

    >>> exit_code(70), exit_code(-9)
    (70, 137)
    """
    return returned if returned >= 0 else 128 - returned


def supervise(command: Sequence[str], restarts: int) -> int:
    """Run a command, again when it fails, at most `restarts` times in a row; its last exit code.

    SIGTERM and SIGINT are passed on, and end it.
    """
    told = threading.Event()
    process: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object) -> None:
        told.set()
        for one in process:
            if one.poll() is None:
                one.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    failures = 0
    while True:
        begun = time.monotonic()
        # A group of its own: a Ctrl-C of the terminal would reach the worker twice, and a second one ends it at once.
        process[:] = [subprocess.Popen(command, process_group=0)]
        if told.is_set():  # told between two workers
            process[0].terminate()
        code = exit_code(process[0].wait())
        failures = 1 if time.monotonic() - begun > HEALTHY else failures + 1
        if told.is_set() or code in FINAL or failures > restarts:
            return code
        _log.warning("the worker ended and is started again", code=code, failures=failures, seconds=pause(failures))
        if told.wait(pause(failures)):
            return code
