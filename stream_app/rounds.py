"""Going through all customers who are owned here: in slices between the events, decided beside the worker, stored through the same outbox."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from schemas.model import Model
from stream_app.anew import Moment, Outcome, Reason, Row
from stream_app.customers import Customers
from stream_app.helper import Decide, HelperEnded
from stream_app.outbox import Outbox, Piece
from stream_app.pace import SLICE, next_at
from stream_app.work import adopt, records

ASKED: Final = 2
"""Slices that are decided while another is taken over."""
AGAIN: Final = 1.0
"""Seconds before another helper is started in the place of one that has ended; twice as long after each that did nothing ..."""
AT_MOST: Final = 30.0
"""... up to so many."""

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round that came to its end."""

    decided: int
    changed: int


@dataclass(frozen=True, slots=True)
class _Slice:
    """Customers who are being decided."""

    partition: int
    keys: list[bytes]
    customers: Customers
    rows: list[Row]
    answer: asyncio.Task[list[Outcome | None]]


@dataclass(slots=True)
class _Going:
    """A round: what was asked for, and how far it is."""

    reason: Reason
    model: Model
    moment: Callable[[], Moment]
    goes_on: Callable[[], bool]
    left: Callable[[int], object]
    todo: deque[tuple[int, list[bytes]]]
    """Partition and keys, slice by slice."""
    remaining: int
    """Customers still to be looked at."""
    decided: int = 0
    changed: int = 0
    next_at: float = 0.0
    """When the next slice may be taken over, by the event loop's time."""
    again: float = AGAIN
    """Seconds to wait where the helper has ended."""
    last: asyncio.Future[None] | None = None
    """Done when what was handed over last is stored, thus all before it too."""


class Rounds:
    """Makes rounds, one at a time."""

    def __init__(
        self,
        outbox: Outbox,
        customers: Callable[[int], Customers | None],
        owned: Callable[[], frozenset[int]],
        helper: Callable[[Reason, Model], AbstractAsyncContextManager[Decide]],
    ) -> None:
        self._outbox = outbox
        self._customers = customers
        self._owned = owned
        self._helper = helper
        self._one = asyncio.Lock()
        self.error = ""
        """Why nobody is decided anew at present, though there is a round to make."""

    @property
    def go_on(self) -> bool:
        """Whether customers are being decided anew at present."""
        return self._one.locked() and not self.error

    async def make(
        self,
        reason: Reason,
        model: Model,
        moment: Callable[[], Moment],
        goes_on: Callable[[], bool],
        left: Callable[[int], object] = lambda customers: None,
    ) -> Round | None:
        """Decide everybody anew whom it concerns, and wait until that is stored; `left` is told how many are still to be looked at.

        None where it was cut short: it should no longer go on, or a rebalance took a partition away.
        """
        async with self._one:
            todo = await self._everybody()
            going = _Going(reason, model, moment, goes_on, left, todo, sum(len(keys) for _, keys in todo))
            try:
                while going.todo:
                    if not await self._by_one_helper(going):
                        return None
            finally:
                self.error = ""
            if going.last is not None:
                await going.last
            return Round(decided=going.decided, changed=going.changed)

    async def _by_one_helper(self, going: _Going) -> bool:
        """Go on to the end, or as far as the helper lives; False where the round is to be cut short."""
        before = going.remaining
        try:
            async with self._helper(going.reason, going.model) as decide:
                return await self._go(going, decide)
        except (HelperEnded, OSError) as error:
            self.error = str(error)
            going.again = AGAIN if going.remaining < before else min(2 * going.again, AT_MOST)
            _log.warning("customers wait to be decided anew", error=str(error), left=going.remaining)
        await asyncio.sleep(going.again)
        return going.goes_on()

    async def _everybody(self) -> deque[tuple[int, list[bytes]]]:
        todo: deque[tuple[int, list[bytes]]] = deque()
        for partition in sorted(self._owned()):
            customers = self._customers(partition)
            keys = [] if customers is None else customers.keys()
            todo += ((partition, keys[first : first + SLICE]) for first in range(0, len(keys), SLICE))
            await asyncio.sleep(0)  # of a million keys this takes a while
        return todo

    async def _go(self, going: _Going, decide: Decide) -> bool:
        loop, asked = asyncio.get_running_loop(), deque[_Slice]()
        try:
            while going.todo or asked:
                while going.todo and len(asked) < ASKED:
                    partition, keys = going.todo.popleft()
                    customers = self._customers(partition)
                    if customers is None:
                        return False
                    asked.append(self._ask(partition, keys, customers, decide, going.moment()))
                outcomes = await asked[0].answer
                await self._outbox.turn()
                done = asked[0]
                owned = done.partition in self._owned() and self._customers(done.partition) is done.customers
                if not going.goes_on() or not owned:
                    return False
                asked.popleft()
                await self._take_over(done, outcomes, going)
                going.left(going.remaining)
                await asyncio.sleep(max(0.0, going.next_at - loop.time()))
            return True
        finally:
            for slice_ in reversed(asked):  # cut short, or their helper has ended
                slice_.answer.cancel()
                going.todo.appendleft((slice_.partition, slice_.keys))
            await asyncio.gather(*(slice_.answer for slice_ in asked), return_exceptions=True)

    def _ask(self, partition: int, keys: list[bytes], customers: Customers, decide: Decide, moment: Moment) -> _Slice:
        rows = records(keys, customers)
        return _Slice(partition, keys, customers, rows, asyncio.ensure_future(decide(moment, rows)))

    async def _take_over(self, done: _Slice, outcomes: list[Outcome | None], going: _Going) -> None:
        self.error = ""
        work, again = adopt(done.rows, outcomes, done.partition, done.customers)
        going.remaining -= len(done.keys) - len(again)
        if again:
            going.todo.append((done.partition, again))
        if work.rescored:
            loop = asyncio.get_running_loop()
            going.decided += work.rescored
            going.changed += len(work.changes)
            going.next_at = next_at(going.next_at, loop.time(), work.rescored, self._outbox.quiet)
            going.last = loop.create_future()
            stored = partial(going.last.set_result, None)
            await self._outbox.submit(Piece(work, stored, size=0, swept=work.rescored))
