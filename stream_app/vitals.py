"""What a worker says of itself in Redis every two seconds, so that whoever switches models sees what became of it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
import redis
import redis.asyncio

from schemas import vitals
from schemas.vitals import Vitals
from stream_app.work import Work

GONE: Final = 3600 * 1_000_000
"""Microseconds of silence after which nobody waits for a worker."""
_OF_THE_MESSAGE: Final = {"InvalidEvent", "TooLate"}
"""Errors of dead letters that no model has to do with."""


class Tally:
    """What this process has stored since it started."""

    __slots__ = ("changes", "dead_letters", "events", "faults")

    def __init__(self) -> None:
        self.events = self.dead_letters = self.faults = self.changes = 0

    def add(self, work: Work) -> None:
        """Count a piece of work that is stored."""
        self.events += work.events
        for change in work.changes:
            self.changes += change.cause == "behaviour"
        for letter in work.dead_letters:
            self.dead_letters += 1
            self.faults += letter.error not in _OF_THE_MESSAGE


class Reporter:
    """Writes a worker's vitals. Redis being away is no concern of the stream's: whoever reads them notices."""

    def __init__(
        self, client: redis.asyncio.Redis, prefix: str, clock: Callable[[], int], state: Callable[[], Vitals]
    ) -> None:
        self._client = client
        self._key = vitals.vitals_key(prefix)
        self._clock = clock
        self._state = state
        self.tally = Tally()
        self._unready_since: int | None = None

    @staticmethod
    def name() -> str:
        """Host and process."""
        return f"{socket.gethostname()}:{os.getpid()}"

    def report(self, *, unready: bool) -> Vitals:
        """The report of now."""
        now = self._clock()
        if not unready:
            self._unready_since = None
        elif self._unready_since is None:
            self._unready_since = now
        since = self._unready_since
        tally = self.tally
        return msgspec.structs.replace(
            self._state(),
            at=now,
            unready_for=0.0 if since is None else (now - since) / 1_000_000,
            events=tally.events,
            dead_letters=tally.dead_letters,
            faults=tally.faults,
            changes=tally.changes,
        )

    async def run(self, unready: Callable[[], bool]) -> None:
        """Report until cancelled."""
        name = self.name()
        forgotten = False
        while True:
            with suppress(redis.RedisError, OSError):
                if not forgotten:
                    await self._forget_others()
                    forgotten = True
                await self._client.hset(self._key, name, vitals.encode(self.report(unready=unready())))  # type: ignore[misc,arg-type]
                await self._client.expire(self._key, 24 * 3600)
            await asyncio.sleep(vitals.EVERY)

    async def _forget_others(self) -> None:
        """Take away what workers left behind that have long ended: each start has a name of its own."""
        reports: Any = await self._client.hgetall(self._key)  # type: ignore[misc]
        gone = [name for name, data in reports.items() if self._clock() - vitals.decode(data).at > GONE]
        if gone:
            await self._client.hdel(self._key, *gone)  # type: ignore[misc]
