"""Group commit: while one group waits for Kafka's acknowledgements, the next is computed.

Everything pending goes out together, in the order that makes a crash harmless: changes and dead letters acknowledged, then the changelog
(one record per customer, as of the group's end), then the chunks may be acknowledged to Faust. A send that fails ends the process before
any ack. The changes of a group go to Kafka together with the changelog of the one before, in one request: after a crash that is as if both
had been one group.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas import topics
from stream_app.customers import Customers
from stream_app.fastlane.batches import MANY, Record, send
from stream_app.pace import room
from stream_app.work import Work, encoded

AHEAD: Final = 5000
"""Events computed ahead of the acknowledgements; a group is at most one piece larger, and what of a round goes with it.

About as many as are computed while Kafka acknowledges a group, or the work would stand still meanwhile; a large group also stores whoever
has come several times only once.
"""
LINGER: Final = 0.01
"""Seconds that a changelog may wait for the changes of the next group, where groups follow each other as fast: nobody waits for it but Redis,
and at a few hundred events a second it spares Kafka and the event loop every other request."""


@dataclass(slots=True)
class Piece:
    """A piece of work on its way, and what to do when all of it is stored."""

    work: Work
    acknowledge: Callable[[], Any]
    extra: tuple[tuple[str, int, Record], ...] = ()
    """Further records (topic, partition, record) to be stored before the acknowledgement."""
    size: int = 1
    """How many events it holds; with none of a round either nobody need wait for it."""
    swept: int = 0
    """How many customers of a round it holds."""

    @property
    def concerns_customers(self) -> bool:
        """Whether it must be stored before its partition is given up."""
        return self.size > 0 or self.swept > 0


@dataclass(frozen=True, slots=True)
class Closed:
    """Customers of one partition as they are when a group is applied."""

    customers: Customers
    records: dict[bytes, bytes | None]
    """Their changelog records by key; None deletes."""
    anew: list[bytes]
    """Those of them who were only decided anew, by no event."""


@dataclass(slots=True)
class Group:
    """Pieces that are stored together, and what they leave by partition."""

    pieces: list[Piece]
    closed: dict[int, Closed]


class Outbox:
    """Work that is computed and not yet stored, and the one task that stores it."""

    def __init__(
        self,
        client: Callable[[], Any],
        group: str,
        clock: Callable[[], int],
        customers: Callable[[int], Customers | None],
        on_stored: Callable[[Group], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._group = group
        self._clock = clock
        self._customers = customers
        self._on_stored = on_stored
        self._on_failure = on_failure
        self._pending: dict[int, list[Piece]] = {}
        """By partition."""
        self._ahead = 0
        self._swept = 0
        """Customers of a round that are pending."""
        self._last_event = 0.0
        self._in_flight = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._began = -math.inf
        """When the last group was begun, monotonic seconds ..."""
        self._gap = LINGER
        """... and how long after the one before it."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sending."""
        self._task = asyncio.get_running_loop().create_task(self._guarded())

    async def submit(self, piece: Piece) -> None:
        """Take a piece of work over at once, then wait until there is room for another."""
        self._pending.setdefault(piece.work.partition, []).append(piece)
        self._ahead += piece.size
        self._swept += piece.swept
        if piece.concerns_customers:
            self._in_flight += 1
            self._idle.clear()
        self._work.set()
        if piece.size:
            self._last_event = time.monotonic()
            while self._ahead >= AHEAD:
                self._room.clear()
                await self._room.wait()

    async def turn(self) -> None:
        """Wait until more of a round may be submitted without holding up the events."""
        while self._swept >= room(self._ahead, self.quiet):
            self._room.clear()
            await self._room.wait()

    async def drain(self) -> None:
        """Wait until all work with customers is stored and acknowledged."""
        await self._idle.wait()

    @property
    def quiet(self) -> float:
        """Seconds since the last event."""
        return time.monotonic() - self._last_event

    @property
    def is_busy(self) -> bool:
        """Whether work waits behind a group that is being stored: events come faster than they can be handled."""
        return bool(self._pending)

    @property
    def is_in_flight(self) -> bool:
        """Whether work with customers is computed and not yet stored and acknowledged."""
        return self._in_flight > 0

    async def _guarded(self) -> None:
        try:
            await self._send_on()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._on_failure(error)

    async def _close(self) -> Group:
        """Everything pending. Partition by partition: the customers are as of the last piece taken, and the loop is not held for all."""
        group = Group([], {})
        for partition in list(self._pending):
            pieces = self._pending.pop(partition)
            customers, records = self._customers(partition), {}
            if customers is not None:
                anew = customers.anew
                if records := customers.close():
                    group.closed[partition] = Closed(customers, records, anew)
            group.pieces += pieces
            self._ahead -= sum(piece.size for piece in pieces)
            self._swept -= sum(piece.swept for piece in pieces)
            self._room.set()
            if len(records) >= MANY:
                await asyncio.sleep(0)
        return group

    async def _send_on(self) -> None:
        """For ever: the changes and dead letters of everything pending are acknowledged, and with them the changelog of the group before."""
        told = Group([], {})
        while True:
            await self._next(told)
            group = await self._close()
            out = self._outgoing(group.pieces, self._clock())
            if told.closed:
                out[topics.USERS.name] = {
                    partition: [Record(key, value) for key, value in closed.records.items()]
                    for partition, closed in told.closed.items()
                }
            stored = await send(self._client(), out) if out else {}
            if told.pieces:
                self._stored(told, stored.get(topics.USERS.name, {}))
            told = group

    async def _next(self, told: Group) -> None:
        """Wait until something is pending; beside what is told and not stored, no longer than is worth it."""
        if not told.pieces:
            await self._work.wait()
        elif self._gap < LINGER and not self._work.is_set():
            enough = asyncio.get_running_loop().call_later(LINGER, self._work.set)
            await self._work.wait()
            enough.cancel()
        self._work.clear()
        if self._pending:
            now = time.monotonic()
            self._gap, self._began = now - self._began, now

    def _stored(self, group: Group, offsets: Mapping[int, int]) -> None:
        """The changelog of a group is acknowledged, thus everything in it."""
        for partition, closed in group.closed.items():
            if self._customers(partition) is closed.customers:
                closed.customers.stored(offsets[partition])
        for piece in group.pieces:
            piece.acknowledge()
        self._on_stored(group)
        self._in_flight -= sum(piece.concerns_customers for piece in group.pieces)
        if not self._in_flight:
            self._idle.set()

    def _outgoing(self, pieces: Iterable[Piece], now: int) -> dict[str, dict[int, list[Record]]]:
        out: dict[str, dict[int, list[Record]]] = {}
        for piece in pieces:
            work = piece.work
            if work.changes:
                records = [Record(*encoded(change, now)) for change in work.changes]
                out.setdefault(topics.CHANGES.name, {}).setdefault(work.partition, []).extend(records)
                if work.erased:
                    changed = zip(records, work.changes, strict=True)
                    records = [Record(r.key, None) if change.to_segment is None else r for r, change in changed]
                out.setdefault(topics.STATE.name, {}).setdefault(work.partition, []).extend(records)
            for letter in work.dead_letters:
                topic_name = topics.dead_letter_topic(letter.source.topic)
                record = Record(letter.key, letter.payload(), letter.headers(self._group))
                out.setdefault(topic_name, {}).setdefault(work.partition, []).append(record)
            for topic_name, partition, record in piece.extra:
                out.setdefault(topic_name, {}).setdefault(partition, []).append(record)
        return out
