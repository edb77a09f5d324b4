"""Sending dead letters to their source again: each once, by reason, and none for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaException, Message, TopicPartition

from schemas import headers, topics
from schemas.settings import Settings
from segstream import kafka
from segstream.outcome import No
from stream_app.deadletters import ATTEMPT, attempts

WAITING: Final = 1000
"""Messages on their way at once: a large dead letter topic need not fit into memory."""


@dataclass(slots=True)
class Redriven:
    """What was done with the letters."""

    errors: Counter[str] = field(default_factory=Counter)
    """Error -> letters sent again."""
    truncated: int = 0
    exhausted: int = 0

    @property
    def sent(self) -> int:
        """Letters sent again."""
        return self.errors.total()

    def document(self) -> dict[str, Any]:
        """The numbers for scripts."""
        return {
            "redriven": self.sent,
            "errors": dict(self.errors),
            "skipped_truncated": self.truncated,
            "skipped_exhausted": self.exhausted,
        }


class Marks:
    """How far the letters of each error were sent again: offsets committed by a group of their own, so that one error can be
    sent again without the others."""

    def __init__(self, settings: Settings, topic: str, partitions: int) -> None:
        self._settings = settings
        self._topic = topic
        self._partitions = partitions
        self._known: dict[str, dict[int, int]] = {}
        self._moved: dict[str, dict[int, int]] = {}

    def is_done(self, error: str, partition: int, offset: int) -> bool:
        """Whether a letter was looked at by an earlier run."""
        if error not in self._known:
            self._known[error] = self._committed(error)
        return offset < self._known[error].get(partition, 0)

    def done(self, error: str, partition: int, offset: int) -> None:
        """This letter need not be looked at again."""
        self._moved.setdefault(error, {})[partition] = offset + 1

    def store(self) -> None:
        """Remember what is done."""
        for error, ends in self._moved.items():
            client = kafka.consumer(self._settings, self._group(error))
            parts = [TopicPartition(self._topic, partition, offset) for partition, offset in ends.items()]
            kafka.commit(client, parts)
            client.close()

    def _committed(self, error: str) -> dict[int, int]:
        client = kafka.consumer(self._settings, self._group(error))
        try:
            parts = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
            return {part.partition: part.offset for part in kafka.committed(client, parts)}
        finally:
            client.close()

    def _group(self, error: str) -> str:
        return f"{self._settings.app_id}-redrive-{error}"


def redrive(
    settings: Settings, sources: Sequence[str], *, only: str = "", most: int = 3, dry_run: bool = False
) -> Redriven:
    """Send the letters of these source topics again, except those that were, those cut short, and those that came back `most` times.

    Raises KafkaUnreachable where Kafka does not take every one of them; then none counts as sent, and it can be run again.
    """
    found = Redriven()
    for source in sources:
        name = topics.dead_letter_topic(source)
        marks = Marks(settings, name, kafka.require(settings, name)[name])
        producer = kafka.producer(settings)
        failures: list[str] = []

        def stored(error: Any, _: Message, failures: list[str] = failures) -> None:
            if error is not None:
                failures.append(str(error))

        for message in kafka.read(settings, name):
            said = headers.texts(message)
            error = said.get("error", "")
            where = message.partition(), message.offset()
            if (only and error != only) or marks.is_done(error, *where):
                continue
            marks.done(error, *where)
            came = attempts(message.headers())
            if said.get("truncated") == "true":
                found.truncated += 1
            elif came >= most:
                found.exhausted += 1
            else:
                found.errors[error] += 1
                if not dry_run:
                    again = [(ATTEMPT, str(came + 1).encode())]
                    while len(producer) >= WAITING:
                        producer.poll(0.1)
                    producer.produce(source, message.value(), message.key(), headers=again, on_delivery=stored)
                    producer.poll(0)
        if producer.flush(60) or failures:
            raise kafka.KafkaUnreachable(f"Kafka did not take every message again ({failures[:1]}); run it again")
        if not dry_run:
            marks.store()
    return found


def for_the_api(settings: Settings) -> Callable[[list[str], str, bool], dict[str, Any]]:
    """What the API needs to send letters again."""

    def send(sources: list[str], only: str, dry_run: bool) -> dict[str, Any]:
        try:
            done = redrive(settings, sources, only=only, dry_run=dry_run)
        except (kafka.KafkaUnreachable, No, KafkaException) as error:
            raise ConnectionError(str(error)) from error
        return {
            "sent": done.sent,
            "errors": dict(done.errors),
            "truncated": done.truncated,
            "exhausted": done.exhausted,
        }

    return send
