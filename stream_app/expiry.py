"""Going through all customers now and then for markers of erasures whose time is over: in slices, through the same outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog

from stream_app.customers import Customers
from stream_app.erasure import has_ended
from stream_app.outbox import Outbox, Piece
from stream_app.work import forget

EVERY: Final = 3600.0
"""Seconds between two rounds."""
SLICE: Final = 2000
"""Customers looked at in one go: by the length of their record, below a millisecond."""

_log: Final = structlog.get_logger(__name__)


class Expiry:
    """Deletes what is left of erased customers when it need not be kept any longer."""

    def __init__(
        self,
        outbox: Outbox,
        clock: Callable[[], int],
        customers: Callable[[int], Customers | None],
        owned: Callable[[], frozenset[int]],
        every: float = EVERY,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._customers = customers
        self._owned = owned
        self._every = every

    async def run(self) -> None:
        """A round now and then, for ever."""
        while True:
            await asyncio.sleep(self._every)
            gone = sum([await self._look(partition) for partition in sorted(self._owned())])
            if gone:
                _log.info("erasures have ended", customers=gone)

    async def _look(self, partition: int) -> int:
        ended = partial(has_ended, now=self._clock())
        first = self._customers(partition)
        keys = [] if first is None else first.keys()
        gone = 0
        for start in range(0, len(keys), SLICE):
            customers = self._customers(partition)
            if customers is not first or customers is None or partition not in self._owned():
                break  # another rebalance: the next round looks again
            found = customers.markers(keys[start : start + SLICE], ended)
            if found:
                gone += len(found)
                work = forget(found, partition, customers)
                await self._outbox.submit(Piece(work, acknowledge=lambda: None, size=0, swept=len(found)))
            await asyncio.sleep(0)
        return gone
