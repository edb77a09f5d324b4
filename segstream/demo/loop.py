"""The demo's trainer: the loop of `segstream trainer watch` itself, over a warehouse that is loaded just before each training."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from batch_trainer.loop.state import Request, Run
from batch_trainer.loop.watch import Trained
from sandbox import warehouse
from sandbox.traffic import Traffic
from segstream import context, trainer, training
from segstream.demo.stage import Stage

POLL: Final = 0.3
"""Seconds between the loop's steps."""
DONE: Final = {"confirmed", "rolled-back", "activation-refused", "training-refused", "training-failed"}
"""Steps that a run ends with."""


class Loop:
    """A trainer in a thread. What it does is read from `model-events`, as anyone would."""

    def __init__(self, scene: Stage, traffic: Traffic, source: str, url: str) -> None:
        self._scene = scene
        self._traffic = traffic
        self._source = source
        self._url = url
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.appended = 0
        """Happenings of the traffic that are in the warehouse."""

    @property
    def begun(self) -> bool:
        """Whether it watches, or did."""
        return self._thread is not None

    def start(self) -> None:
        """Begin to watch."""
        self._thread = threading.Thread(target=self._run, name="trainer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer. Raises what went wrong."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def failed(self) -> bool:
        """Whether the loop itself has ended with an error."""
        return self._error is not None

    def ask(self, reason: str) -> None:
        """What `segstream trainer now` does."""
        at = context.now_micros()
        request = Request(request_id="q-demo", reason=reason, by="demo", at=at)
        trainer.ledger(self._scene.settings).ask(request)

    def _run(self) -> None:
        alerts = trainer.OpenAlerts(self._scene.settings)
        try:
            with ThreadPoolExecutor(1, "training") as executor:
                trainer.compose(self._scene.settings, self._train, alerts, executor).run(self._stop, POLL)
        except Exception as error:
            self._error = error
        finally:
            alerts.close()

    def _train(self, run: Run) -> Trained:
        """Load into the warehouse what has happened, as a shop does every night, and train."""
        happened, self.appended = self._traffic.delivered()
        warehouse.append(self._scene.home.warehouse, happened)
        settings = self._scene.settings
        sealed = settings.home / f"{run.run_id}.sealed"
        done = training.train(
            settings, self._source, self._url, "behaviour", {}, k=0, publish=False, force="", directory=None,
            sealed_to=sealed, waived=settings.trainer_waived_gates, say=lambda text: None,
        )  # fmt: skip
        return trainer.trained(done.document, sealed)
