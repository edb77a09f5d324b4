"""Reading a destination's topic as a member of its group: batches of what it wants, and offsets committed when they are done with."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from destinations import clients
from destinations.configuration import Destination
from destinations.subscription import TOPICS, Event, Record, Unreadable, wanted
from schemas import connections
from schemas.settings import Settings

IDLE: Final = 1.0
"""Seconds after which records that nobody wants are committed."""
_STEP: Final = 0.2
"""Seconds in which a request to stop is heard."""
_PASSING: Final = (
    KafkaError._PARTITION_EOF,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
)

_log: Final = structlog.get_logger(__name__)


class Stopped(Exception):
    """The process is to end. What is not committed is read again by the next one."""


class Moved(Exception):
    """The partitions are being given to others: what is not committed is theirs."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """What was read in one go, in the order of each partition."""

    entries: list[Event | Unreadable] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    """Partition -> the offset after the last record read, wanted or not."""

    def oldest(self) -> int:
        """Milliseconds since 1970 of its oldest entry; 0 where there is none."""
        return min((entry.record.timestamp for entry in self.entries), default=0)


class Intake:
    """One member of a destination's group; used by one thread."""

    def __init__(
        self,
        one: Destination,
        settings: Settings,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._one = one
        self._topic = TOPICS[one.wants]
        self._stop = stop
        self._clock = clock
        self._backlog: deque[Message] = deque()
        self._moved = False
        self.partitions: frozenset[int] = frozenset()
        """Those that this member reads."""
        self._consumer = clients.consumer(settings, one.name)

    def join(self) -> None:
        """Become a member; a group that is new starts where the destination says. Raises clients.NoTopic."""
        begin(self._consumer, self._topic, self._one.start)
        self._consumer.subscribe(
            [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )

    def collect(self) -> Batch:
        """The next batch: full, or `wait` seconds after its first event; without entries where nothing was wanted. Raises Stopped."""
        batch, due = self._empty()
        while True:
            self._listen()
            messages = self._take(due - self._clock() if batch.entries else _STEP)
            if self._moved:
                batch, due = self._empty()
                continue
            for number, message in enumerate(messages):
                record = Record.of(message)
                batch.ends[record.partition] = record.offset + 1
                entry = wanted(self._one, record)
                if entry is None:
                    continue
                if not batch.entries:
                    due = self._clock() + self._one.wait
                batch.entries.append(entry)
                if len(batch.entries) >= self._one.batch:
                    self._backlog.extendleft(reversed(messages[number + 1 :]))
                    return batch
            if self._clock() >= due:
                if batch.ends:
                    return batch
                due = self._clock() + IDLE

    def stay(self, seconds: float) -> None:
        """Wait as a member of the group, reading nothing. Raises Moved, Stopped."""
        self._listen()
        if seconds <= 0:
            self._take(0.0, keep=True)
        else:
            until = self._clock() + seconds
            held = self._consumer.assignment()
            self._consumer.pause(held)
            while not self._moved and (left := until - self._clock()) > 0:
                self._listen()
                self._take(min(left, _STEP), keep=True)
            if not self._moved:
                self._consumer.resume(held)
        if self._moved:
            raise Moved

    def commit(self, batch: Batch) -> None:
        """These records are done with. Where Kafka does not take it, a later batch says it again, or the records come again."""
        parts = [TopicPartition(self._topic, partition, offset) for partition, offset in batch.ends.items()]
        try:
            _commit(self._consumer, parts)
        except KafkaException as error:
            _log.warning("offsets not committed", destination=self._one.name, error=error.args[0].name())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _empty(self) -> tuple[Batch, float]:
        self._moved = False
        return Batch(), self._clock() + IDLE

    def _listen(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _take(self, seconds: float, *, keep: bool = False) -> list[Message]:
        """Messages that are there, at most a batch; with `keep` they are left for the next collect."""
        if self._backlog and not keep:
            found = list(self._backlog)
            self._backlog.clear()
            return found
        first = self._consumer.poll(max(0.0, min(seconds, _STEP)))
        if first is None:
            return []
        more = [] if keep else self._consumer.consume(self._one.batch, timeout=0)
        good = [message for message in (first, *more) if self._is_good(message)]
        if keep:
            self._backlog.extend(good)
        return good

    def _is_good(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() not in _PASSING and not error.retriable():
            raise KafkaException(error)
        return False

    def _assigned(self, _: Consumer, parts: list[TopicPartition]) -> None:
        self.partitions = frozenset(part.partition for part in parts)
        _log.info("partitions taken over", destination=self._one.name, partitions=sorted(self.partitions))

    def _revoked(self, *_: Any) -> None:
        self.partitions = frozenset()
        self._backlog.clear()
        self._moved = True


def begin(consumer: Consumer, topic: str, start: str) -> None:
    """Give a group that has never committed its first offsets, so that it starts at one moment in all partitions whenever it first reads.

    Raises clients.NoTopic.
    """
    parts = [TopicPartition(topic, partition) for partition in clients.partitions(consumer, topic)]
    if start == "beginning" or any(part.offset >= 0 for part in _committed(consumer, parts)):
        return
    for part in parts:
        part.offset = consumer.get_watermark_offsets(part, timeout=clients.TIMEOUT)[1]
    try:
        _commit(consumer, parts)
    except KafkaException:
        # Refused where another member was quicker: then it has said where the group starts.
        if all(part.offset == OFFSET_INVALID for part in _committed(consumer, parts)):
            raise


@connections.patiently
def _commit(consumer: Consumer, parts: list[TopicPartition]) -> None:
    consumer.commit(offsets=parts, asynchronous=False)


@connections.patiently
def _committed(consumer: Consumer, parts: list[TopicPartition]) -> list[TopicPartition]:
    return list(consumer.committed(parts, timeout=clients.TIMEOUT))
