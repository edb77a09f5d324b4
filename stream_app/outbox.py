"""Group commit: while one group waits for Kafka's acknowledgements, the next is computed.

Everything pending goes out together, in the order that makes a crash harmless: changes and dead letters acknowledged, then the changelog
(one record per customer, as of the group's end), then the chunks may be acknowledged to Faust. A send that fails ends the process before
any ack. The changes of the next group go to Kafka together with the changelog of the one before: after a crash that is as if both had been
one group.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from schemas import topics
from stream_app.customers import Customers
from stream_app.fastlane.batches import Record, send
from stream_app.pace import room
from stream_app.work import Work, encoded

AHEAD: Final = 5000
"""Events computed ahead of the acknowledgements; a group is at most one piece larger, and what of a round goes with it.

About as many as are computed while Kafka acknowledges a group, or the work would stand still meanwhile; a large group also stores whoever
has come several times only once.
"""


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


@dataclass(slots=True)
class Group:
    """Pieces that are stored together, and the customers as they are when all of them are applied."""

    pieces: list[Piece]
    closed: dict[int, tuple[Customers, dict[bytes, bytes | None]]]
    """Partition -> its customers, and their changelog records by key; None deletes."""


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
        self._tasks: list[asyncio.Task[None]] = []
        self._told: asyncio.Queue[Group] = asyncio.Queue()
        """Groups whose changes are acknowledged."""
        self._free = asyncio.Semaphore(2)
        """The changes of one group are on their way while the changelog of the one before is."""

    def start(self) -> None:
        """Start sending."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._guarded(stage)) for stage in (self._tell, self._store)]

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

    async def _guarded(self, stage: Callable[[], Awaitable[None]]) -> None:
        try:
            await stage()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._on_failure(error)

    async def _close(self) -> Group:
        """Everything pending. Partition by partition: the customers are as of the last piece taken, and the loop is not held for all."""
        group = Group([], {})
        for partition in list(self._pending):
            pieces = self._pending.pop(partition)
            customers = self._customers(partition)
            if customers is not None and (records := customers.close()):
                group.closed[partition] = customers, records
            group.pieces += pieces
            self._ahead -= sum(piece.size for piece in pieces)
            self._swept -= sum(piece.swept for piece in pieces)
            self._room.set()
            await asyncio.sleep(0)
        return group

    async def _tell(self) -> None:
        """For ever: everything pending becomes a group, and its changes and dead letters are acknowledged."""
        while True:
            await self._work.wait()
            await self._free.acquire()
            self._work.clear()
            group = await self._close()
            out = self._outgoing(group.pieces, self._clock())
            if out:
                client = self._client()
                await asyncio.gather(*(send(client, topic, by_partition) for topic, by_partition in out.items()))
            self._told.put_nowait(group)

    async def _store(self) -> None:
        """For ever: the changelog of a group is acknowledged, then everything in it."""
        while True:
            group = await self._told.get()
            if group.closed:
                offsets = await send(
                    self._client(),
                    topics.USERS.name,
                    {p: [Record(key, value) for key, value in rows.items()] for p, (_, rows) in group.closed.items()},
                )
                for partition, (customers, _) in group.closed.items():
                    if self._customers(partition) is customers:
                        customers.stored(offsets[partition])
            for piece in group.pieces:
                piece.acknowledge()
            self._on_stored(group)
            self._in_flight -= sum(piece.concerns_customers for piece in group.pieces)
            if not self._in_flight:
                self._idle.set()
            self._free.release()

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
