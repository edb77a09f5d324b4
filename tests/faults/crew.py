"""Workers at named places, under a supervisor like the one of an orchestrator: whoever ends by itself is started again."""

from __future__ import annotations

import os
import signal
import threading

from tests.installation import Installation, WorkerProcess


class Crew:
    """The workers of one run; `restarts` holds the exit code of each that ended by itself."""

    def __init__(self, shop: Installation, environments: dict[str, dict[str, str]] | None = None) -> None:
        self.shop = shop
        self.environments = environments or {}
        """Place -> settings of the workers there."""
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
        return self.shop.worker(**self.environments.get(place, {}))

    def dismiss(self) -> None:
        """End the supervisor; the workers stay."""
        self._dismissed.set()
        self._supervisor.join()

    def _supervise(self) -> None:
        while not self._dismissed.wait(0.2):
            with self._lock:
                for place, worker in list(self._places.items()):
                    code = worker.process.poll()
                    if code is not None:
                        self.restarts.append(code)
                        self._places[place] = self._start(place)
