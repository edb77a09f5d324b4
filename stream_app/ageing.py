"""Going through all customers when a day has passed: what grows by time alone moves customers too, through the same outbox.

Nothing is remembered of where it stopped: whoever has been decided as of the day is not due any more, so that it may be cut short and
begun again anywhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from schemas.model import Model
from schemas.times import rfc3339
from stream_app.customers import Customers
from stream_app.outbox import Outbox, Piece
from stream_app.sweep import REST
from stream_app.work import age

LOOK_EVERY: Final = 1.0
"""Seconds between looks at the calendar."""
SLICE: Final = 200
"""Customers looked at per slice: about 2 ms of the event loop."""

_log: Final = structlog.get_logger(__name__)


class Ageing:
    """Decides every customer anew on the day on which a feature of hers is another. Idle for models whose features only events change."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Callable[[], int],
        today: Callable[[], int],
        model: Callable[[], Model | None],
        customers: Callable[[int], Customers | None],
        owned: Callable[[], frozenset[int]],
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._today = today
        self._model = model
        self._customers = customers
        self._owned = owned
        self._done: tuple[str, int] | None = None
        """The model and the day by which everybody here was last looked at."""

    def again(self) -> None:
        """There are new partitions."""
        self._done = None

    async def run(self) -> None:
        """Look at the calendar for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            model, today = self._model(), self._today()
            if model is None or not model.clocked or self._done == (model.id, today):
                continue
            self._done = (model.id, today)
            if not await self._pass(model, today):
                self._done = None

    async def _pass(self, model: Model, today: int) -> bool:
        decided = changed = 0
        for partition in sorted(self._owned()):
            customers = self._customers(partition)
            keys = customers.keys() if customers is not None else []
            for first in range(0, len(keys), SLICE):
                customers = self._customers(partition)
                if self._done is None or self._model() is not model:
                    return False
                if customers is None or partition not in self._owned():
                    return False
                began = time.monotonic()
                part = keys[first : first + SLICE]
                work = age(part, partition, customers, model, rfc3339(self._clock()), today)
                if work.rescored:
                    decided += work.rescored
                    changed += len(work.changes)
                    await self._outbox.submit(Piece(work, acknowledge=lambda: None, size=work.rescored))
                await asyncio.sleep(REST * (time.monotonic() - began))
        _log.info("every customer is as of today", model_id=model.id, decided=decided, changed=changed)
        return True
