"""An engine's process: started, watched from outside (CPU and memory of its whole tree), ended by its own pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil


class Failed(RuntimeError):
    """A measurement could not be made: the engine ended, or did not get there in its time."""


def wait_for(
    condition: Callable[[], bool],
    what: str,
    deadline: float,
    alive: Callable[[], None] = lambda: None,
    every: float = 0.005,
) -> None:
    """Wait for a condition, looking `every` so many seconds; raises Failed after `deadline`, or whatever `alive` raises."""
    until = time.monotonic() + deadline
    while not condition():
        alive()
        if time.monotonic() > until:
            raise Failed(f"not within {deadline:.0f} s: {what}")
        time.sleep(every)


@dataclass
class Process:
    """A process of ours in a session of its own."""

    popen: subprocess.Popen[bytes]
    log: Path
    started: float
    """Monotonic seconds."""

    @classmethod
    def start(
        cls, command: Sequence[str], environment: Mapping[str, str], directory: Path, name: str = "engine"
    ) -> Self:
        """Start it with these additions to our environment, its output in `directory`.

        Python may keep its bytecode, as where a package is installed: every start but the first finds it.
        """
        directory.mkdir(parents=True, exist_ok=True)
        log = directory / f"{name}.log"
        with log.open("ab") as out:
            started = time.monotonic()
            popen = subprocess.Popen(
                command,
                env={**os.environ, **environment, "PYTHONDONTWRITEBYTECODE": ""},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(popen, log, started)

    @property
    def pid(self) -> int:
        """The root of the tree."""
        return self.popen.pid

    def alive(self) -> None:
        """Raise Failed where it has ended."""
        if self.popen.poll() is not None:
            raise Failed(f"ended with {self.popen.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """Seconds of user and system time of the whole tree, all threads, ended children included."""
        total = 0.0
        for process in self._tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return total

    def peak(self) -> float:
        """MiB of resident memory: the highest so far where the system tells (Linux), else now."""
        total = 0
        for process in self._tree():
            try:
                total += _high_water(process.pid) or process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total / 2**20

    def resident(self) -> float:
        """MiB of resident memory now."""
        return sum(process.memory_info().rss for process in self._tree()) / 2**20

    def kill(self) -> None:
        """End it and its children as a crash would."""
        if self.popen.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(30)

    def stop(self, grace: float = 30.0) -> float:
        """Ask it to end, insist after `grace` seconds; the seconds it took."""
        begun = time.monotonic()
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - begun


def _high_water(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def status(address: str) -> int:
    """What a server answers to a GET; 0 where it does not answer."""
    with suppress(OSError):
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
    return 0
