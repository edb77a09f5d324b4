"""A thread that sees whether the worker gets on, says so with every stack when it does not, and ends the process when that lasts.

It has a thread of its own, so that a held event loop is seen, and connections of its own, so that a dead one is not believed. A
broker that does not answer it either is waited for: a restart would mend nothing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from schemas import connections, offsets
from schemas.groups import group
from schemas.offsets import Place
from schemas.settings import Settings
from stream_app import logends, stacks
from stream_app.stalls import COMMIT, LOOP, Finding, Look, Memory, findings, follow

EVERY: Final = 1.0
"""Seconds between looks."""
ASK: Final = 2.0
"""Seconds that a broker may take to answer one question."""
ASK_GROUP: Final = 3.0
"""Seconds between questions about the group."""
LAST_WORDS: Final = 2.0
"""Seconds that the report may take before the process ends without it."""

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a worker says it is."""

    acknowledged: Mapping[Place, int]
    """The offset behind what was done, of every owned partition."""
    committed: Mapping[Place, int]
    restoring: bool
    restored: int
    assigned: bool
    """Whether any partition is assigned."""
    member_id: str
    """Who we are in the group, empty while we are nobody."""


class Watchdog:
    """Looks at a worker every second; `stall_timeout` is how long (seconds) something may stand still before the process ends."""

    def __init__(
        self,
        settings: Settings,
        standing: Callable[[], Standing],
    ) -> None:
        self._settings = settings
        self._group = settings.app_id
        self._patience = settings.stall_timeout
        self._commit_interval = settings.commit_interval
        self._standing = standing
        self._beat = time.monotonic()
        self._memory = Memory(self._beat, beat=self._beat)
        self._reported: frozenset[str] = frozenset()
        self._ask_group_at = 0.0
        self._outside_for = ""
        self._ended = threading.Event()
        self._client: Consumer | None = None
        self.reasons: tuple[str, ...] = ()
        """What keeps the worker from being ready, as of the last look."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look; the work is done in this loop."""
        self._loop = loop
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no longer: the worker is stopping."""
        self._ended.set()

    def _run(self) -> None:
        self._client = logends.reader(
            self._settings, f"{self._group}-watchdog", **{"socket.timeout.ms": 10_000, "log_level": 0}
        )
        self._admin = AdminClient(connections.kafka(self._settings, log_level=0))
        while not self._ended.wait(EVERY):
            try:
                self._look()
            except Exception as error:  # a watchdog that fails must not look like a worker that is well
                _log.exception("the watchdog could not look", error=repr(error))
                self.reasons = (f"the watchdog could not look: {error!r}",)

    def _look(self) -> None:
        self._loop.call_soon_threadsafe(self._note)
        standing = self._standing()
        ends = self._ends(standing)
        look = Look(
            at=time.monotonic(),
            beat=self._beat,
            ends=ends,
            acknowledged=standing.acknowledged,
            committed=standing.committed,
            restoring=standing.restoring,
            restored=standing.restored,
            outside=self._outside(standing) if ends is not None else "",
        )
        self._memory = follow(self._memory, look)
        self._judge(findings(self._memory), reachable=ends is not None)

    def _note(self) -> None:
        self._beat = time.monotonic()

    def _ends(self, standing: Standing) -> dict[Place, int] | None:
        assert self._client is not None
        begun = time.monotonic()
        try:
            if not standing.acknowledged:
                self._client.list_topics(timeout=ASK)
                return {}
            ends = offsets.ends(self._client, standing.acknowledged, ASK)
            done = standing.acknowledged
            doubtful = {
                place: done[place]
                for place, end in ends.items()
                if end > done[place] and self._has_stood(place) > self._patience / 4
            }
            if doubtful:
                for place in logends.without_records(self._client, doubtful, ends, ASK):
                    ends[place] = done[place]
            return ends
        except KafkaException:
            # The time of waiting for an answer is none in which the process was stopped.
            self._memory = Memory(self._memory.looked + time.monotonic() - begun, {}, self._memory.beat)
            return None

    def _has_stood(self, place: Place) -> float:
        _, since, _ = self._memory.standing.get(f"{place[0]}-{place[1]}", (0, self._memory.looked, ""))
        return self._memory.looked - since

    def _outside(self, standing: Standing) -> str:
        """Why the group gives us nothing; asked now and then."""
        if time.monotonic() < self._ask_group_at:
            return self._outside_for
        self._ask_group_at = time.monotonic() + ASK_GROUP
        try:
            found = group(self._admin, self._group, ASK)
        except KafkaException:
            return ""
        known = standing.member_id in {member.id for member in found.members}
        self._outside_for = ""
        if found.state in {"Stable", "Empty"}:
            self._outside_for = "" if known else "the group is settled and does not know this worker"
        elif not standing.assigned:
            self._outside_for = f"the group does not settle ({found.state})"
        return self._outside_for

    def _limit(self, finding: Finding) -> float:
        if finding.what == LOOP:
            return self._patience / 2
        return self._patience + (self._commit_interval if finding.what.startswith(COMMIT) else 0.0)

    def _judge(self, found: list[Finding], reachable: bool) -> None:
        grave = [finding for finding in found if finding.seconds >= self._limit(finding) / 2]
        self.reasons = (
            *(() if reachable else (f"no Kafka broker answers at {self._settings.kafka}",)),
            *(finding.text for finding in grave),
        )
        news = [finding for finding in grave if finding.what not in self._reported]
        self._reported = frozenset(finding.what for finding in grave)
        ends = [finding.text for finding in grave if finding.seconds >= self._limit(finding)]
        if ends:
            self._leave(ends)
        elif news:
            self._say("the worker does not get on", [finding.text for finding in news])

    def _say(self, event: str, reasons: list[str]) -> None:
        _log.error(event, reasons=reasons, stacks=stacks.describe(self._loop).splitlines())

    def _leave(self, reasons: list[str]) -> None:
        """End the process; nothing that was not done is acknowledged, so its successor goes on exactly where it was."""
        words = threading.Thread(target=self._say, args=("the worker ends itself", reasons), daemon=True)
        words.start()
        words.join(LAST_WORDS)
        if words.is_alive():  # whatever holds the worker holds the log too
            faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        os._exit(70)
