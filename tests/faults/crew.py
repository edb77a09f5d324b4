"""Workers at named places, under a supervisor like the one of an orchestrator: whoever ends by itself is started again."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Final

from tests.installation import Installation, WorkerProcess

GOODBYE: Final = 60.0
"""Seconds that a worker may take to end; it ends itself long before."""


class Crew:
    """The workers of one run; `restarts` holds the exit code of each that ended by itself."""

    def __init__(self, shop: Installation) -> None:
        self.shop = shop
        self.environments: dict[str, dict[str, str]] = {}
        """Place -> settings of the workers there."""
        self.trees: dict[str, Path] = {}
        """Place -> where the code of the workers there lies, if not here."""
        self.programs: dict[str, str] = {}
        """Place -> what is run in the processes there before the worker."""
        self.restarts: list[int] = []
        self._places: dict[str, WorkerProcess] = {}
        self._lock = threading.Lock()
        self._dismissed = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def join(self, place: str) -> WorkerProcess:
        """Start a worker at a place that is free."""
        with self._lock:
            worker = self._places[place] = self._start(place)
        return worker

    def leave(self, place: str) -> None:
        """Ask a worker to end; it must end well."""
        with self._lock:
            worker = self._places.pop(place)
        code = worker.stop()
        assert code == 0, f"the worker at {place} was asked to stop and ended with {code}:\n{worker.tail()}"

    def kill(self, place: str) -> None:
        """End a worker with kill -9."""
        with self._lock:
            self._places.pop(place).kill()

    def at(self, place: str) -> WorkerProcess:
        """Who works at a place now."""
        with self._lock:
            return self._places[place]

    def suspend(self, place: str) -> WorkerProcess:
        """Stop a worker in the middle of whatever it does (SIGSTOP); it is given to `resume`."""
        worker = self.at(place)
        os.kill(worker.process.pid, signal.SIGSTOP)
        return worker

    def resume(self, worker: WorkerProcess) -> None:
        """Let it go on, if nobody has ended it."""
        if worker.process.poll() is None:
            os.kill(worker.process.pid, signal.SIGCONT)

    def _start(self, place: str) -> WorkerProcess:
        program, tree = self.programs.get(place, ""), self.trees.get(place)
        return self.shop.worker(program, tree, **self.environments.get(place, {}))

    @property
    def present(self) -> dict[str, WorkerProcess]:
        """Who works where now."""
        with self._lock:
            return dict(self._places)

    def dismiss(self) -> list[str]:
        """End the supervisor and ask everyone to end; who does not, or not well, in words."""
        self._dismissed.set()
        self._supervisor.join()
        for worker in self._places.values():
            worker.process.terminate()
        return [problem for place, worker in self._places.items() if (problem := _unwell(place, worker))]

    def _supervise(self) -> None:
        while not self._dismissed.wait(0.2):
            with self._lock:
                for place, worker in list(self._places.items()):
                    code = worker.process.poll()
                    if code is not None:
                        self.restarts.append(code)
                        self._places[place] = self._start(place)


def _unwell(place: str, worker: WorkerProcess) -> str:
    try:
        code = worker.process.wait(GOODBYE)
    except TimeoutExpired:
        return f"the worker at {place} was told to end and hangs"
    return f"the worker at {place} was told to end and ended with {code}" if code else ""
