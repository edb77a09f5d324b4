"""What Kafka tells of the workers: how far they are, who they are, and what they could not use."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import connections, granted, offsets, topics
from schemas.groups import group
from schemas.offsets import Place
from schemas.settings import Settings
from segment_api.watcher import Watcher

EVERY: Final = 2.0
"""Seconds between looks."""
MEMBERS_EVERY: Final = 5
"""Looks between looks at the members of the group."""
_PACES: Final = 450
"""Looks that are remembered: 15 minutes."""
ASK: Final = 5.0
"""Seconds that Kafka may take to answer."""
_INPUTS: Final = tuple(topic.name for topic in topics.INPUTS)
_DEAD: Final = tuple(topics.dead_letter_topic(name) for name in _INPUTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition of an input: the next record to be acknowledged (None: none ever was), and the end."""

    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One worker as the consumer group knows it."""

    name: str
    host: str
    partitions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the workers were between two looks."""

    at: float
    """Seconds since 1970."""
    events_per_second: float
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What was seen last."""

    error: str = "Kafka has not been looked at yet"
    group: str = "unknown"
    partitions: tuple[Partition, ...] = ()
    members: tuple[Member, ...] = ()
    dead_letters: dict[str, int] = field(default_factory=dict)
    paces: tuple[Pace, ...] = ()

    @property
    def lag(self) -> int:
        """Records that wait."""
        return sum(p.lag for p in self.partitions)

    @property
    def events_per_second(self) -> float | None:
        """Over the last looks; None before there were two."""
        recent = self.paces[-3:]
        return sum(p.events_per_second for p in recent) / len(recent) if recent else None


class Fleet(Watcher):
    """A daemon thread that looks every two seconds."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("fleet")
        self._settings = settings
        self._paces: deque[Pace] = deque(maxlen=_PACES)
        self._before: tuple[float, dict[tuple[str, int], int]] | None = None
        self._is_permitted = False  # asked once, and again where Kafka refuses something
        self.state = State()

    def _run(self) -> None:
        while not self._stopped.is_set():
            options = {
                "group.id": self._settings.app_id,
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",  # as workers read
                "log_level": 0,
            }
            client = Consumer(connections.kafka(self._settings, **options))
            try:
                admin, _ = connections.cluster(self._settings, 5)
                if not self._is_permitted:
                    granted.check(admin, self._settings, "api")
                    self._is_permitted = True
                self._look(client, admin)
            except KafkaException as error:
                if granted.is_refusal(error):
                    self._is_permitted = False
                self._lose(f"Kafka does not answer: {error.args[0]}")
            except (connections.KafkaRefuses, granted.Forbidden) as error:
                self._lose(str(error))
            finally:
                client.close()
            self._stopped.wait(EVERY)

    def _lose(self, error: str) -> None:
        self.state = State(error=error, paces=tuple(self._paces))
        self._before = None

    def _look(self, client: Consumer, admin: AdminClient) -> None:
        looks = 0
        state, members = "unknown", tuple[Member, ...]()
        while not self._stopped.is_set():
            known = {name: sorted(topic.partitions) for name, topic in client.list_topics(timeout=ASK).topics.items()}
            missing = [name for name in _INPUTS if name not in known]
            if looks % MEMBERS_EVERY == 0 and not missing:
                state, members = self._members(admin)
            places = [(name, p) for name in (*_INPUTS, *_DEAD) for p in known.get(name, ())]
            begins, ends = offsets.begins(client, places, ASK), offsets.ends(client, places, ASK)
            partitions = _partitions(client, begins, ends) if not missing else ()
            self._pace(partitions)
            self.state = State(
                error=f"topics are missing: {', '.join(missing)}; `segstream topics create`" if missing else "",
                group=state,
                partitions=partitions,
                members=members,
                dead_letters={
                    name: sum(ends[name, p] - begins[name, p] for p in known[name]) for name in _DEAD if name in known
                },
                paces=tuple(self._paces),
            )
            looks += 1
            self._stopped.wait(EVERY)

    def _pace(self, partitions: tuple[Partition, ...]) -> None:
        now = time.time()
        done = {(p.topic, p.partition): p.committed or 0 for p in partitions}
        if self._before is not None and done.keys() == self._before[1].keys():
            took = now - self._before[0]
            moved = sum(max(0, done[place] - self._before[1][place]) for place in done)
            self._paces.append(Pace(at=now, events_per_second=moved / took, lag=sum(p.lag for p in partitions)))
        self._before = (now, done)

    def _members(self, admin: AdminClient) -> tuple[str, tuple[Member, ...]]:
        found = group(admin, self._settings.app_id, ASK)
        members = [
            Member(
                name=member.name,
                host=member.host,
                partitions=tuple(sorted(f"{name}-{p}" for name in _INPUTS for p in member.partitions.get(name, ()))),
            )
            for member in found.members
        ]
        return found.state.lower(), tuple(sorted(members, key=lambda member: member.name))


def _partitions(client: Consumer, begins: Mapping[Place, int], ends: Mapping[Place, int]) -> tuple[Partition, ...]:
    """How far the client's group is in each partition of the inputs."""
    found = []
    for part in client.committed([TopicPartition(*place) for place in ends if place[0] in _INPUTS], timeout=ASK):
        low, high = begins[part.topic, part.partition], ends[part.topic, part.partition]
        at = part.offset if part.offset >= 0 else None
        lag = max(0, high - (low if at is None else max(at, low)))
        found.append(Partition(topic=part.topic, partition=part.partition, committed=at, end=high, lag=lag))
    return tuple(found)
