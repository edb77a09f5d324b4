"""Going through all customers who are owned here: in small slices between the events, through the same outbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from stream_app.customers import Customers
from stream_app.outbox import Outbox, Piece
from stream_app.work import Work

Treat = Callable[[Sequence[bytes], int, Customers], Work]
"""What is done with a slice: keys, their partition, its customers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round that came to its end."""

    decided: int
    changed: int


class Rounds:
    """Makes rounds, one at a time."""

    def __init__(
        self,
        outbox: Outbox,
        customers: Callable[[int], Customers | None],
        owned: Callable[[], frozenset[int]],
        timer: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._outbox = outbox
        self._customers = customers
        self._owned = owned
        self._timer = timer

    async def make(
        self,
        treat: Treat,
        size: int,
        goes_on: Callable[[], bool],
        left: Callable[[int], object] = lambda customers: None,
    ) -> Round | None:
        """Treat everybody, `size` customers at a time, and wait until that is stored; `left` is told how many are still to come.

        None where it was cut short: it should no longer go on, or a rebalance took a partition away.
        """
        found = {p: customers.keys() for p in sorted(self._owned()) if (customers := self._customers(p)) is not None}
        remaining = sum(map(len, found.values()))
        decided = changed = 0
        last: asyncio.Future[None] | None = None
        for partition, keys in found.items():
            for first in range(0, len(keys), size):
                await self._outbox.turn()
                customers = self._customers(partition)
                if not goes_on() or customers is None or partition not in self._owned():
                    return None
                part = keys[first : first + size]
                begun = self._timer()
                work = treat(part, partition, customers)
                took = self._timer() - begun
                remaining -= len(part)
                left(remaining)
                if work.rescored:
                    decided += work.rescored
                    changed += len(work.changes)
                    last = asyncio.get_running_loop().create_future()
                    done = partial(last.set_result, None)
                    await self._outbox.submit(Piece(work, done, size=0, swept=work.rescored, took=took))
                await asyncio.sleep(0)
        if last is not None:  # what was handed over before it is stored before it
            await last
        return Round(decided=decided, changed=changed)
