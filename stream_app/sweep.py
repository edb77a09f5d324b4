"""Going through all customers after a new model: in small slices between the events, through the same outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from schemas.model import Model
from schemas.times import rfc3339
from stream_app.customers import Customers
from stream_app.metrics import Metrics
from stream_app.outbox import Outbox, Piece
from stream_app.work import migrate

SLICE: Final = 100
"""Customers per slice: about 2 ms of the event loop."""
REST: Final = 1.0
"""After each slice the sweep rests this many times as long as it took, so that live events find the loop free."""

_log: Final = structlog.get_logger(__name__)


class Sweep:
    """Moves every customer that another model decided to the model in use. Where it stopped shows in each customer's model id."""

    def __init__(
        self,
        outbox: Outbox,
        metrics: Metrics,
        clock: Callable[[], int],
        today: Callable[[], int],
        model: Callable[[], Model | None],
        customers: Callable[[int], Customers | None],
        owned: Callable[[], frozenset[int]],
    ) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._today = today
        self._model = model
        self._customers = customers
        self._owned = owned
        self._wake = asyncio.Event()
        self.model_id = ""
        """The model that every customer here was last moved to."""

    def wake(self) -> None:
        """There is a new model, or there are new partitions."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep whenever woken."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            model = self._model()
            if model is not None and await self._pass(model):
                self.model_id = model.id
                self._metrics.migrating.set(0)

    async def _pass(self, model: Model) -> bool:
        left = {p: found.keys() for p in sorted(self._owned()) if (found := self._customers(p)) is not None}
        remaining = sum(map(len, left.values()))
        moved = 0
        last: asyncio.Future[None] | None = None
        for partition, keys in left.items():
            for first in range(0, len(keys), SLICE):
                customers = self._customers(partition)
                if self._wake.is_set() or customers is None or partition not in self._owned():
                    return False
                began = time.monotonic()
                part = keys[first : first + SLICE]
                work = migrate(part, partition, customers, model, rfc3339(self._clock()), today=self._today())
                remaining -= len(part)
                self._metrics.migrating.set(remaining)
                if work.rescored:
                    moved += len(work.changes)
                    last = asyncio.get_running_loop().create_future()
                    await self._outbox.submit(Piece(work, partial(last.set_result, None), size=work.rescored))
                await asyncio.sleep(REST * (time.monotonic() - began))
        if last is not None:  # moved is who is stored, and what was handed over before is stored before
            await last
        _log.info("every customer is on the model", model_id=model.id, changed=moved)
        return True
