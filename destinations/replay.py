"""Going back: a destination that is not running is set to a moment, and delivers from there when it is started again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from destinations import clients
from destinations.configuration import Destination
from destinations.subscription import TOPICS, Change, Event, Record, wanted
from schemas import groups
from schemas.settings import Settings
from schemas.times import rfc3339

_QUIET: Final = 30.0


class StillRunning(RuntimeError):
    """The destination has members: while it delivers, it cannot be set back."""


@dataclass(slots=True, kw_only=True)
class Replay:
    """Where a destination would be set, and what it would be sent."""

    offsets: dict[int, int]
    """Partition -> offset of the first record at or after the moment."""
    records: int = 0
    events: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Of the events: cause and segment entered, or level and signal."""
    first: int = 0
    last: int = 0
    """Milliseconds since 1970 of the first and the last event; 0 where there is none."""

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "offsets": self.offsets,
            "records": self.records,
            "events": self.events,
            "kinds": dict(self.kinds.most_common()),
            "first": rfc3339(self.first * 1000) if self.first else None,
            "last": rfc3339(self.last * 1000) if self.last else None,
        }


def look(settings: Settings, one: Destination, moment: int) -> Replay:
    """What a replay from `moment` (microseconds since 1970) would send: the topic is read once through. Raises clients.NoTopic, KafkaException."""
    # A group of its own that never commits: looking moves nothing.
    client = clients.consumer(settings, f"{one.name}-look")
    try:
        found = Replay(offsets=_offsets(client, TOPICS[one.wants], moment))
        for message in _read(client, TOPICS[one.wants], found.offsets):
            found.records += 1
            event = wanted(one, Record.of(message))
            if isinstance(event, Event):
                found.events += 1
                found.kinds[_kind(event)] += 1
                at = event.record.timestamp
                found.first = min(found.first or at, at)
                found.last = max(found.last, at)
        return found
    finally:
        client.close()


def rewind(settings: Settings, one: Destination, offsets: dict[int, int]) -> None:
    """Set a destination's group to these offsets. Raises StillRunning, KafkaException."""
    topic, group = TOPICS[one.wants], clients.group(settings, one.name)
    admin = AdminClient(clients.base(settings))
    members = groups.group(admin, group, clients.TIMEOUT).members
    if members:
        raise StillRunning(
            f"destination {one.name} is running ({len(members)} members): stop `segstream destinations run`, "
            "replay, and start it again"
        )
    parts = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    asked = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, parts)])
    for part in asked[group].result().topic_partitions or ():
        if part.error is not None:
            raise KafkaException(part.error)


def _kind(event: Event) -> str:
    about = event.about
    return f"{about.cause} into {about.to_segment}" if isinstance(about, Change) else f"{about.level} {about.signal}"


def _offsets(client: Consumer, topic: str, moment: int) -> dict[int, int]:
    asked = [TopicPartition(topic, partition, moment // 1000) for partition in clients.partitions(client, topic)]
    found = {}
    for part in client.offsets_for_times(asked, timeout=clients.TIMEOUT):
        if part.error is not None:
            raise KafkaException(part.error)
        end = client.get_watermark_offsets(TopicPartition(topic, part.partition), timeout=clients.TIMEOUT)[1]
        found[part.partition] = part.offset if part.offset >= 0 else end
    return found


def _read(client: Consumer, topic: str, offsets: dict[int, int]) -> Iterator[Message]:
    """The records from these offsets up to the ends of now."""
    left = {}
    for partition, offset in offsets.items():
        end = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=clients.TIMEOUT)[1]
        if offset < end:
            left[partition] = end
    if not left:
        return
    client.assign([TopicPartition(topic, partition, offsets[partition]) for partition in left])
    quiet_since = time.monotonic()
    while left:
        messages = client.consume(500, timeout=0.2)
        if messages:
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > _QUIET:
            raise TimeoutError(f"reading {topic} has stopped before its end (partitions {sorted(left)})")
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
            place, at = message.partition(), message.offset()
            assert place is not None
            assert at is not None
            if place not in left:
                continue
            yield message
            if at + 1 >= left[place]:
                del left[place]
