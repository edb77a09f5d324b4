"""Redis as a picture of the state: written behind the stream, guarded by sequence, rebuilt whenever it was away or wiped.

Only keys are queued; rows are made from the live customers when they are written, so that an outage costs no memory beyond the set of
changed keys and the latest state is what arrives. Whoever had an event is written within milliseconds; those who can wait, where they are many,
are rendered by a process beside the worker, which would otherwise hold up its events for many minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import redis
import redis.asyncio
import structlog

from schemas.model import Model
from schemas.times import rfc3339
from stream_app.anew import Moment, Row
from stream_app.customers import Customers
from stream_app.helper import HelperEnded, Render
from stream_app.metrics import Metrics
from stream_app.picture import Picture, Rendered, Rows
from stream_app.waiting import Taken, Waiting
from stream_app.work import records

BATCH: Final = 200
"""Customers per round trip: about 6 ms of the event loop ..."""
SLICE: Final = 25
"""... in slices of so many, between which events have their turn; an event needs a dozen turns, so that beside events no more than one slice
at a time is written of those who can wait."""
YIELD: Final = 9.0
"""Beside events the projection then pauses this many times as long as it has worked: it takes a tenth of the process."""
LOOK_EVERY: Final = 1.0
"""Seconds between looks whether Redis has lost what was written, and whether many wait."""
FEW: Final = 2000
"""So many of those who can wait are rendered in this process: another would have to be started for them."""
RENDERED: Final = 40
"""Customers that the process beside renders at a time: a third of a millisecond of the event loop, one of Redis."""
AHEAD: Final = 2
"""Slices that are rendered while another is written."""
PER_SECOND: Final = 5000
"""Customers who are rendered in a second while events come: a million in three and a half minutes."""

_log: Final = structlog.get_logger(__name__)


class Projection:
    """Writes changed customers to Redis, in the background."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        metrics: Metrics,
        *,
        interval: float,
        clock: Callable[[], int],
        customers: Callable[[int], Customers | None],
        model: Callable[[], Model | None],
        is_busy: Callable[[], bool],
        events_come: Callable[[], bool],
        is_deciding: Callable[[], bool],
        renderer: Callable[[Model], AbstractAsyncContextManager[Render]],
    ) -> None:
        self._client = client
        self._picture = Picture(client, prefix)
        self._marker = f"{prefix}projected"
        self._metrics = metrics
        self._interval = interval
        self._clock = clock
        self._customers = customers
        self._model = model
        self._is_busy = is_busy
        self._events_come = events_come
        self._is_deciding = is_deciding
        self._renderer = renderer
        self._dirty = Waiting()
        self._backlog = Waiting()
        """Those who can wait: decided anew without an event, or all of a partition that was gained, or lost by Redis; whoever has an event
        meanwhile is in `_dirty`."""
        self._rendering: deque[tuple[Taken, asyncio.Task[Rendered]]] = deque()
        """Those of them whom the process beside has."""
        self._writing: Taken = []
        """Those who are written in this process."""
        self._owned: frozenset[int] = frozenset()
        self._unmarked: set[int] = set()
        self._touched = asyncio.Event()
        self._look_at = 0.0
        self._errors: dict[str, str] = {}
        """What fails, by what was tried."""

    @property
    def error(self) -> str:
        """Why the last write failed; empty where it did not."""
        return next(iter(self._errors.values()), "")

    def touch(self, partition: int, keys: Iterable[bytes], later: Collection[bytes] = ()) -> None:
        """These customers have changed; those of them who can wait go behind all others."""
        new = dict.fromkeys(keys)
        for key in later:
            del new[key]
        self._dirty.add(partition, new)
        self._backlog.add(partition, later)
        self._touched.set()

    def own(self, partitions: frozenset[int], overtaken: Mapping[int, Iterable[bytes]]) -> None:
        """These partitions are ours now, and whatever their last owner could not write any more is written again: new ones whole, of those
        that were ours before only the `overtaken`, whose records others have stored meanwhile."""
        self._dirty.keep(partitions)
        self._backlog.keep(partitions)
        for partition in partitions - self._owned:
            self._touch_all(partition)
        for partition in partitions & overtaken.keys():
            self.touch(partition, overtaken[partition])
        self._owned = partitions
        self._unmarked = set(partitions)

    def _touch_all(self, partition: int) -> None:
        customers = self._customers(partition)
        if customers is not None:
            self._backlog.add(partition, customers.keys())
            self._touched.set()

    @property
    def pending(self) -> int:
        """Customers still to be written."""
        rendering = sum(len(taken) for taken, _ in self._rendering)
        return len(self._dirty) + len(self._backlog) + rendering + len(self._writing)

    async def run(self) -> None:
        """Write for ever; an outage of Redis is waited out with growing pauses."""
        await asyncio.gather(self._persist("soon", self._soon), self._persist("behind", self._behind))

    async def _persist(self, name: str, write: Callable[[], Awaitable[None]]) -> None:
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            try:
                await write()
                if self._errors.pop(name, "") and not self.error:
                    _log.info("customers are written to redis again", pending=self.pending)
                pause = self._interval
            except (redis.RedisError, OSError, HelperEnded) as error:
                if not self.error:
                    _log.warning(
                        "customers wait to be written to redis; the stream goes on",
                        error=str(error),
                        pending=self.pending,
                    )
                self._errors[name] = str(error) or type(error).__name__
                self._touched.set()
                pause = min(max(pause * 2, 0.1), 5.0)
            self._metrics.redis_up.set(0 if self.error else 1)
            self._metrics.unprojected.set(self.pending)

    async def _soon(self) -> None:
        """Whoever has just had an event, and few others."""
        with suppress(TimeoutError):  # something to write, or time to look after Redis
            await asyncio.wait_for(self._touched.wait(), LOOK_EVERY)
        self._touched.clear()
        await self._round()

    async def _round(self) -> None:
        if self._model() is None:
            return
        if time.monotonic() >= self._look_at:
            await self._rebuild_if_wiped()
            self._look_at = time.monotonic() + LOOK_EVERY
        while taken := self._next():
            began, self._writing = time.monotonic(), taken
            try:
                await self._write(taken)
            except (redis.RedisError, OSError):
                for partition, key in taken:
                    self.touch(partition, [key])
                raise
            finally:
                self._writing = []
            waits = 0 < len(self._backlog) <= FEW
            if len(taken) < BATCH and not waits:  # what came meanwhile goes together with what comes next
                return
            if self._is_busy() or (waits and self._events_come()):
                await asyncio.sleep(YIELD * (time.monotonic() - began))

    async def _behind(self) -> None:
        """Those who can wait, where they are many. Not while others are decided anew, who would only join them."""
        model = self._model()
        if model is None or len(self._backlog) <= FEW or self._is_deciding() or "soon" in self._errors:
            await asyncio.sleep(LOOK_EVERY)
            return
        async with self._renderer(model) as render:
            try:
                while await self._rendered(render, model):
                    pass
            finally:  # failed, or to be gone on with later
                while self._rendering:
                    taken, answer = self._rendering.popleft()
                    answer.cancel()
                    for partition, key in taken:
                        self.touch(partition, [key], later=[key])
                    await asyncio.gather(answer, return_exceptions=True)

    async def _rendered(self, render: Render, model: Model) -> bool:
        """Write a slice that was rendered beside; False where there is none, or another model or round has begun."""
        began = time.monotonic()
        if self._model() is not model or self._is_deciding():
            return False
        while len(self._rendering) < AHEAD and (taken := self._backlog.take(RENDERED)):
            moment = Moment(rfc3339(self._clock()), 0)
            self._rendering.append((taken, asyncio.ensure_future(render(moment, self._records(taken)))))
        if not self._rendering:
            return False
        taken, answer = self._rendering[0]
        rendered = await answer
        await self._picture.write(rendered)
        self._rendering.popleft()
        self._metrics.projected.inc(rendered.shown)
        self._metrics.unprojected.set(self.pending)
        if self._events_come():
            await asyncio.sleep(max(0.0, began + len(taken) / PER_SECOND - time.monotonic()))
        return True

    def _records(self, taken: Taken) -> list[Row]:
        found: list[Row] = []
        for partition, those in groupby(taken, itemgetter(0)):
            customers = self._customers(partition)
            if customers is not None:
                found += records([key for _, key in those], customers)
        return found

    async def _rebuild_if_wiped(self) -> None:
        """A marker per partition tells whether this Redis has seen our projection: a restarted empty one has not."""
        if not self._owned:
            return
        marks: Any = await self._client.hmget(self._marker, [str(p) for p in sorted(self._owned)])  # type: ignore[misc]
        for partition, mark in zip(sorted(self._owned), marks, strict=True):
            if mark is None:
                if partition not in self._unmarked:
                    _log.warning("redis has lost the projection; writing it again", partition=partition)
                    self._touch_all(partition)
                await self._client.hset(self._marker, str(partition), str(self._clock()))  # type: ignore[misc]
            self._unmarked.discard(partition)

    def _next(self) -> Taken:
        """The next customers to write in this process: first those who have just had an event."""
        taken = self._dirty.take(BATCH)
        if len(self._backlog) <= FEW:
            taken += self._backlog.take(max(0, (SLICE if self._events_come() else BATCH) - len(taken)))
        return taken

    async def _write(self, taken: Taken) -> None:
        model = self._model()
        if model is None:
            return
        rows = Rows(model, rfc3339(self._clock()))
        for number, (partition, key) in enumerate(taken, 1):
            if not number % SLICE:
                await asyncio.sleep(0)
            customers = self._customers(partition)
            customer = None if customers is None else customers.look(key)
            if customer is not None:
                rows.add(key, customer)
        rendered = rows.rendered()
        await self._picture.write(rendered)
        self._metrics.projected.inc(rendered.shown)
