"""Group commit: while one group waits for Kafka's acknowledgements, the next is computed.

Everything queued goes out together, in the order that makes a crash harmless: changes and dead letters acknowledged, then the changelog
(one record per customer, the latest), then the chunk may be acknowledged to Faust. A send that fails ends the process before any ack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from schemas import topics
from stream_app.fastlane.batches import Record, send
from stream_app.work import Work, encoded

DEPTH: Final = 4
"""Pieces of work computed ahead of the acknowledgements."""


@dataclass(slots=True)
class Piece:
    """A piece of work on its way, and what to do when all of it is stored."""

    work: Work
    acknowledge: Callable[[], Any]
    extra: tuple[tuple[str, int, Record], ...] = ()
    """Further records (topic, partition, record) to be stored before the acknowledgement."""


class Outbox:
    """A bounded queue of work and the one task that sends it."""

    def __init__(
        self,
        client: Callable[[], Any],
        group: str,
        clock: Callable[[], int],
        on_stored: Callable[[list[Piece], dict[int, int]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._group = group
        self._clock = clock
        self._on_stored = on_stored
        self._on_failure = on_failure
        self._queue: asyncio.Queue[Piece] = asyncio.Queue(DEPTH)
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start sending."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def submit(self, piece: Piece) -> None:
        """Queue a piece of work; waits while DEPTH pieces are ahead of it."""
        self._in_flight += 1
        self._idle.clear()
        try:
            await self._queue.put(piece)
        except asyncio.CancelledError:  # we are being stopped: this piece will be done again by whoever comes next
            self._finished(1)
            raise

    async def drain(self) -> None:
        """Wait until everything submitted is stored and acknowledged."""
        await self._idle.wait()

    @property
    def in_flight(self) -> int:
        """Pieces submitted and not yet acknowledged."""
        return self._in_flight

    async def _run(self) -> None:
        try:
            while True:
                group = [await self._queue.get()]
                while not self._queue.empty():
                    group.append(self._queue.get_nowait())
                await self._store(group)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._on_failure(error)

    async def _store(self, group: list[Piece]) -> None:
        client = self._client()
        now = self._clock()
        first = self._outgoing(group, now)
        if first:
            await asyncio.gather(*(send(client, topic, by_partition) for topic, by_partition in first.items()))
        snapshots: dict[int, dict[bytes, bytes]] = {}
        for piece in group:
            if piece.work.snapshots:
                snapshots.setdefault(piece.work.partition, {}).update(piece.work.snapshots)
        stored = await send(
            client,
            topics.USERS.name,
            {partition: [Record(key, value) for key, value in rows.items()] for partition, rows in snapshots.items()},
        )
        for piece in group:
            piece.acknowledge()
        self._on_stored(group, stored)
        self._finished(len(group))

    def _finished(self, pieces: int) -> None:
        self._in_flight -= pieces
        if not self._in_flight:
            self._idle.set()

    def _outgoing(self, group: Iterable[Piece], now: int) -> dict[str, dict[int, list[Record]]]:
        out: dict[str, dict[int, list[Record]]] = {}
        for piece in group:
            work = piece.work
            for change in work.changes:
                record = Record(*encoded(change, now))
                for topic in (topics.CHANGES, topics.STATE):
                    out.setdefault(topic.name, {}).setdefault(work.partition, []).append(record)
            for letter in work.dead_letters:
                topic_name = topics.dead_letter_topic(letter.source.topic)
                record = Record(letter.key, letter.payload(), letter.headers(self._group))
                out.setdefault(topic_name, {}).setdefault(work.partition, []).append(record)
            for topic_name, partition, record in piece.extra:
                out.setdefault(topic_name, {}).setdefault(partition, []).append(record)
        return out
