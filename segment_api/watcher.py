"""A thread beside the requests, which keeps something up to date until it is told to stop."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Watcher(ABC):
    """A daemon thread; `_run` looks at `_stopped` between its steps, and waits with it. `within`: seconds that it may take to end."""

    def __init__(self, name: str, within: float = 15.0) -> None:
        self._within = within
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Ask it to end, without waiting for it."""
        self._stopped.set()

    def stop(self) -> None:
        """End, also where it never began."""
        self.end()
        if self._thread.ident is not None:
            self._thread.join(timeout=self._within)

    @abstractmethod
    def _run(self) -> None: ...
