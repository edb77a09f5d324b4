"""Dead letters by reason: what could not be used, how many of each kind, and the latest of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas import connections, headers, offsets, topics
from schemas.offsets import Place
from schemas.settings import Settings
from segment_api.watcher import Watcher

EVERY: Final = 2.0
"""Seconds between looks at the numbers of letters, which someone else asks Kafka for."""
MOST: Final = 50_000
"""Letters of a topic that are read, the latest; more would only repeat what these say."""
ASK: Final = 5.0
_SOURCES: Final = {topics.dead_letter_topic(topic.name): topic.name for topic in topics.INPUTS}
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Letters that have the same kind of error."""

    source: str
    error: str
    letters: int
    latest_at: int
    """When the latest of them came, milliseconds since 1970."""
    latest_reason: str


Redrive = Callable[[list[str], str, bool], Mapping[str, Any]]
"""Sends letters of sources to them again: all or only those of one error, or (True) only counts; what was done. Raises ConnectionError
where Kafka does not take them."""


class Letters(Watcher):
    """A daemon thread. `held`: dead letters by topic, as Kafka was last asked; only where they have changed is anything read."""

    def __init__(self, settings: Settings, held: Callable[[], Mapping[str, int]]) -> None:
        super().__init__("letters")
        self._settings = settings
        self._held = held
        self._next: dict[Place, int] = {}
        self._begins: dict[Place, int] = {}
        self.reasons: dict[tuple[str, str], Reason] = {}
        """By source and error."""
        self.is_complete = True
        """Whether all that are kept were counted, not only the latest."""

    def _run(self) -> None:
        before: Mapping[str, int] = {}
        while not self._stopped.wait(EVERY):
            held = self._held()
            if held == before:
                continue
            try:
                self._read(held)
                before = held
            except KafkaException as error:
                _log.warning("the dead letters cannot be read: %s", error.args[0])

    def _read(self, held: Mapping[str, int]) -> None:
        """Read on; from the beginning where the logs no longer begin where they did."""
        options: dict[str, object] = {
            "group.id": f"{self._settings.app_id}-api",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
        client = Consumer(connections.kafka(self._settings, **options))
        try:
            known = client.list_topics(timeout=ASK).topics
            places = [(name, p) for name in held if name in known for p in known[name].partitions]
            begins, ends = offsets.begins(client, places, ASK), offsets.ends(client, places, ASK)
            if begins != self._begins:
                self._begins, self._next, self.reasons, self.is_complete = begins, {}, {}, True
            for place, begin in begins.items():
                latest = max(begin, ends[place] - MOST // len(known[place[0]].partitions))
                self.is_complete = self.is_complete and latest == begin
                self._next.setdefault(place, latest)
            left = {place: end for place, end in ends.items() if self._next[place] < end}
            if left:
                client.assign([TopicPartition(*place, self._next[place]) for place in left])
            while left and not self._stopped.is_set():
                for message in client.consume(500, 0.2):
                    if message.error():
                        raise KafkaException(message.error())
                    self._note(message)
                for part in client.position([TopicPartition(*place) for place in left]):
                    if part.offset >= 0:
                        self._next[part.topic, part.partition] = part.offset
                    if part.offset >= left[part.topic, part.partition]:
                        del left[part.topic, part.partition]
        finally:
            client.close()

    def _note(self, message: Message) -> None:
        said = headers.texts(message)
        source, error = _SOURCES[message.topic() or ""], said.get("error", "unknown")
        before = self.reasons.get((source, error))
        self.reasons[source, error] = Reason(
            source=source,
            error=error,
            letters=1 + (before.letters if before else 0),
            latest_at=max(message.timestamp()[1], before.latest_at if before else 0),
            latest_reason=said.get("message", ""),
        )
