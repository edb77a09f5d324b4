"""Follows Kafka's outgoing topics into the journal, and tells whoever listens."""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas import connections, offsets, topics
from schemas.settings import Settings
from schemas.times import parse_rfc3339
from segment_api.audience import Audience
from segment_api.journal import Journal, Read, Seen
from segment_api.watcher import Watcher

TOPICS: Final = (topics.CHANGES.name, topics.DRIFT_ALERTS.name)
BATCH: Final = 1000
"""Records per transaction."""
_LATENCIES: Final = 2000
_log: Final = logging.getLogger(__name__)


class Tail(Watcher):
    """A daemon thread. Where Kafka is away it says so in `error` and tries again."""

    def __init__(self, settings: Settings, journal: Journal, clock: Callable[[], int]) -> None:
        super().__init__("tail")
        self._settings = settings
        self._journal = journal
        self._clock = clock
        self.audience = Audience()
        self.latencies: deque[float] = deque(maxlen=_LATENCIES)
        """Seconds from an event's own time to its change being seen here, the latest behaviour changes."""
        self.error = "Kafka has not been reached yet"
        self.is_caught_up = False
        self.seen = 0
        """Changes seen since the start; tells pages that there is something new."""

    def _run(self) -> None:
        while not self._stopped.is_set():
            client = None
            try:
                client = self._open()
                while client is not None and not self._stopped.is_set():
                    self._read(client)
            except (KafkaException, sqlite3.Error, msgspec.MsgspecError) as error:
                self.error = f"{type(error).__name__}: {error}"
                _log.warning("the changes cannot be followed: %s", self.error)
            finally:
                if client is not None:
                    client.close()
            self._stopped.wait(2.0)

    def _open(self) -> Consumer | None:
        options = {
            "group.id": f"{self._settings.app_id}-api",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
        client = Consumer(connections.kafka(self._settings, **options))
        try:
            known = client.list_topics(timeout=5)
            missing = [name for name in TOPICS if name not in known.topics]
            if missing:
                self.error = f"topics are missing: {', '.join(missing)}; `segstream topics create`"
                client.close()
                return None
            self._journal.belongs_to(known.cluster_id or "")
            self._assign(client, {name: sorted(known.topics[name].partitions) for name in TOPICS})
        except BaseException:
            client.close()
            raise
        self.error = ""
        return client

    def _assign(self, client: Consumer, partitions: dict[str, list[int]]) -> None:
        """Go on where the journal ends; one that is beyond its topic belongs to another, which was deleted."""
        places = [(name, p) for name, numbers in partitions.items() for p in numbers]
        begins, ends = offsets.begins(client, places, 5), offsets.ends(client, places, 5)
        positions = {name: self._journal.positions(name) for name in TOPICS}
        if any(positions[name].get(p, 0) > high for (name, p), high in ends.items()):
            self._journal.forget()
        self._journal.begin(begins)
        positions = {name: self._journal.positions(name) for name in TOPICS}
        starts = {(name, p): max(low, positions[name][p]) for (name, p), low in begins.items()}
        self._left = {place: high for place, high in ends.items() if starts[place] < high}
        self.is_caught_up = not self._left
        self.audience.begin_at(self.places())
        client.assign([TopicPartition(*place, start) for place, start in starts.items()])

    def _read(self, client: Consumer) -> None:
        message = client.poll(0.2)  # one by one: `consume` would wait for more and spoil the latency
        records: list[Read] = []
        while message is not None:
            if message.error():
                raise KafkaException(message.error())
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            records.append(Read(topic, partition, offset, message.value() or b""))
            message = client.poll(0) if len(records) < BATCH else None
        if not records:
            return
        fresh = self._journal.append(records)
        self.audience.tell(fresh)
        self._note(records, fresh)

    def _note(self, records: list[Read], fresh: list[Seen]) -> None:
        self.seen += len(records)
        if not self.is_caught_up:
            for r in records:
                if r.offset + 1 >= self._left.get((r.topic, r.partition), 0):
                    self._left.pop((r.topic, r.partition), None)
            self.is_caught_up = not self._left
            return
        now = self._clock()
        self.latencies.extend(
            (now - parse_rfc3339(seen.change.event_time)) / 1_000_000
            for seen in fresh
            if seen.change.cause == "behaviour"
        )

    def latency(self) -> dict[str, float]:
        """Percentiles of the latest latencies, seconds; empty where none was seen."""
        took = sorted(self.latencies)
        return {f"p{p}": took[min(len(took) - 1, len(took) * p // 100)] for p in (50, 99)} if took else {}

    def places(self) -> dict[int, int]:
        """Where the journal of changes ends: partition -> next offset."""
        return self._journal.positions(topics.CHANGES.name)
