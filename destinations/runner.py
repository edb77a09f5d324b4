"""One destination at work, in a thread of its own: read, deliver or bury, commit; whatever happens to it happens to no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import Producer

from destinations import clients, deadletters
from destinations.configuration import Destination, Target
from destinations.connection import Client
from destinations.delivery import Delivered, Delivery, TryAgain, Undeliverable
from destinations.intake import Batch, Intake, Moved, Stopped
from destinations.metrics import Metrics, Standing
from destinations.subscription import Event, Unreadable
from schemas.settings import Settings

_RESTART: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before a destination that broke is started anew: after the first time, the second, ..."""

_log: Final = structlog.get_logger(__name__)


class Runner:
    """Runs one destination until `stop` is set."""

    def __init__(
        self,
        one: Destination,
        target: Target,
        settings: Settings,
        metrics: Metrics,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._one = one
        self._target = target
        self._settings = settings
        self._metrics = metrics
        self._stop = stop
        self._clock = clock
        self.standing = Standing(name=one.name)

    def run(self) -> None:
        """Work; what breaks is told and started anew from the last commit."""
        broke = 0
        while not self._stop.is_set():
            self.standing.to("starting")
            begun = self._clock()
            try:
                self._work()
            except Stopped:
                break
            except Exception as error:
                broke = 1 if self._clock() - begun > _RESTART[-1] else broke + 1
                pause = _RESTART[min(broke, len(_RESTART)) - 1]
                self.standing.to("broken")
                self.standing.last_error = f"{type(error).__name__}: started anew in {pause:.0f} s"
                self._metrics.restarts.labels(self._one.name).inc()
                _log.error("destination broke", destination=self._one.name, again_in=pause, exc_info=error)
                self._stop.wait(pause)
        self.standing.to("stopped")

    def _work(self) -> None:
        intake = Intake(self._one, self._settings, self._stop)
        client = Client(allow_private=self._one.allow_private, ca_file=self._one.ca_file)
        producer = clients.producer(self._settings)
        delivery = Delivery(
            self._one, self._target, client, clock=self._clock, sleep=intake.stay, on_failed=self._failed
        )
        try:
            intake.join()
            while True:
                self.standing.to("reading")
                batch = intake.collect()
                self.standing.partitions = intake.partitions
                try:
                    self._handle(batch, delivery, producer)
                    intake.commit(batch)
                except Moved:
                    _log.info("partitions moved in the middle of a batch", destination=self._one.name)
                finally:
                    self.standing.oldest = 0
        finally:
            client.close()
            intake.close()

    def _handle(self, batch: Batch, delivery: Delivery, producer: Producer) -> None:
        """Every entry of a batch is delivered or buried when this returns."""
        if not batch.entries:
            return
        self.standing.oldest = batch.oldest()
        self.standing.to("delivering")
        events = [entry for entry in batch.entries if isinstance(entry, Event)]
        for outcome in delivery.deliver(events):
            if isinstance(outcome, Delivered):
                self._delivered(outcome)
            else:
                self._bury(producer, outcome)
        for entry in batch.entries:
            if isinstance(entry, Unreadable):
                self._bury(producer, entry)

    def _delivered(self, outcome: Delivered) -> None:
        name, now = self._one.name, self._clock()
        self._metrics.delivered.labels(name).inc(len(outcome.events))
        self._metrics.requests.labels(name).inc()
        for event in outcome.events:
            self._metrics.age.labels(name).observe(max(0.0, now - event.record.timestamp / 1000))
        self.standing.delivered += len(outcome.events)
        self.standing.last_error = ""
        self.standing.to("delivering")

    def _bury(self, producer: Producer, found: Undeliverable | Unreadable) -> None:
        kind = found.kind if isinstance(found, Undeliverable) else "unreadable"
        buried = deadletters.letters(self._one.name, found)
        deadletters.bury(producer, buried)
        self._metrics.dead_letters.labels(self._one.name, kind).inc(len(buried))
        self.standing.dead_letters += len(buried)
        self.standing.last_error = found.reason
        _log.warning("dead letters", destination=self._one.name, count=len(buried), error=kind, reason=found.reason)

    def _failed(self, error: TryAgain, pause: float) -> None:
        self._metrics.failed.labels(self._one.name, error.kind).inc()
        self.standing.last_error = str(error)
        self.standing.to("retrying")
        _log.warning(
            "attempt failed", destination=self._one.name, error=error.kind, reason=str(error), again_in=round(pause, 2)
        )
