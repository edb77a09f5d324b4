"""A server process that we own: started in a session of its own, ended by pid, never mistaken for a stranger with the same pid."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

import psutil

GRACE: Final = 15.0
"""Seconds a server gets to end after SIGTERM."""
PORTS: Final = range(20_000, 32_000)
"""Below those that systems give to connections (Linux from 32768 on, others from 49152): a server that is started again must find its own free."""
_given: Final[set[int]] = set()


class ServerUnavailable(RuntimeError):
    """A server could not be started or does not answer."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: its pid and when it was started, because pids are used again."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a running process."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process while it runs, None when it has ended (or the pid is someone else's now)."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > 1.0 or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process

    def end(self, grace: float = GRACE) -> None:
        """Ask the process to end; kill it after `grace` seconds."""
        process = self.process()
        if process is None:
            return
        try:
            process.terminate()
            process.wait(grace)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(GRACE)
        except psutil.NoSuchProcess:
            return

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        process = self.process()
        if process is not None:
            os.kill(self.pid, signal.SIGKILL)
            process.wait(GRACE)


def launch(command: Sequence[str], cwd: Path, log: Path) -> Identity:
    """Start a process that outlives us, its output in `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Identity.of(process.pid)


@contextmanager
def ended_unless_ready(identity: Identity) -> Iterator[None]:
    """A block that waits for a server; where it fails or is interrupted, the process does not stay behind unowned."""
    try:
        yield
    except BaseException:
        identity.kill()
        raise


class Server(ABC):
    """One server with its data in a directory. `start` after `stop` or `kill` goes on with the same data and port."""

    name: ClassVar[str]
    """Also the name of its log file."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.identity: Identity | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """What is run; prepares the directory where that is needed."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it answers its protocol."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Settings that its clients need."""

    def start(self, deadline: float = 90.0) -> Self:
        """Start it and wait until it answers. Raises ServerUnavailable."""
        self.directory.mkdir(parents=True, exist_ok=True)
        log = self.directory / f"{self.name.lower()}.log"
        self.identity = launch(self._command(), self.directory, log)
        with ended_unless_ready(self.identity):
            wait_until(self.answers, self.identity, self.name, log, deadline)
        return self

    def stop(self) -> None:
        """End it in good order."""
        if self.identity is not None:
            self.identity.end()

    def kill(self) -> None:
        """End it as a crash would."""
        if self.identity is not None:
            self.identity.kill()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, and that this process was not given before.

    Raises ServerUnavailable where there is none.
    """
    for port in random.SystemRandom().sample(PORTS, 500):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
    raise ServerUnavailable(f"no free port of 127.0.0.1 from {PORTS.start} to {PORTS.stop - 1}")


def wait_until(answers: Callable[[], bool], identity: Identity, what: str, log: Path, deadline: float) -> None:
    """Wait until the server answers. Raises ServerUnavailable when its process ends first or the deadline (seconds) passes."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        if identity.process() is None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""
            raise ServerUnavailable(f"{what} ended while starting; its log is {log}:\n{tail}")
        if answers():
            return
        time.sleep(0.05)
    raise ServerUnavailable(f"{what} did not answer within {deadline:.0f} s; its log is {log}")
