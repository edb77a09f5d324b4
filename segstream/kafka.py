"""Kafka as the commands need it: topics, lag, and reading a topic once through."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from schemas import connections, granted, offsets, topics
from schemas.offsets import Place
from schemas.settings import Settings
from schemas.topics import Topic
from segstream.outcome import No
from stream_app import logends

TIMEOUT: Final = 5.0
LAG: Final = "max.compaction.lag.ms"


class KafkaUnreachable(RuntimeError):
    """No broker answers."""


def admin(settings: Settings) -> AdminClient:
    """An admin client of a cluster that answers. Raises KafkaUnreachable or connections.KafkaRefuses."""
    try:
        return connections.cluster(settings, TIMEOUT)[0]
    except KafkaException as error:
        raise KafkaUnreachable(
            f"no Kafka broker answers at {settings.kafka}; is SEGSTREAM_KAFKA right, is the broker up, "
            f"is SEGSTREAM_KAFKA_SECURITY={settings.kafka_security} for that port?"
        ) from error


def partition_counts(settings: Settings) -> dict[str, int]:
    """Topic -> number of partitions."""
    listed = admin(settings).list_topics(timeout=TIMEOUT)
    return {name: len(topic.partitions) for name, topic in listed.topics.items()}


def wanted(settings: Settings, topic: Topic) -> int:
    """How many partitions a topic should have."""
    return settings.partitions if topic.by_customer else 1


def create(settings: Settings) -> list[dict[str, Any]]:
    """Create what is missing; every topic with what was done: created or there."""
    client = admin(settings)
    there = set(client.list_topics(timeout=TIMEOUT).topics)
    missing = [topic for topic in topics.ALL if topic.name not in there]
    if missing:
        pending = client.create_topics(
            [
                NewTopic(topic.name, wanted(settings, topic), settings.replication, config=topic.config())
                for topic in missing
            ]
        )
        for future in pending.values():
            future.result()
        names = {topic.name for topic in missing}
        _until(lambda: names <= set(partition_counts(settings)), f"the topics {sorted(names)}")
    _let_forget(client, [topic for topic in topics.ALL if topic.compacted and topic.name in there])
    made = {topic.name for topic in missing}
    return [{**row, "created": row["name"] in made} for row in check(settings)]


def _configs(client: AdminClient, wanted: Iterable[Topic]) -> dict[str, dict[str, str]]:
    """Topic -> the broker's settings for it."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in wanted]
    found = client.describe_configs(resources).items() if resources else ()
    return {r.name: {name: entry.value for name, entry in future.result().items()} for r, future in found}


def _keeps_too_long(topic: Topic, config: dict[str, str]) -> bool:
    """Whether a compacted topic may keep replaced records, erased ones too, for longer than it should. A broker that knows no such
    setting is left alone."""
    return topic.compacted and int(config.get(LAG) or 0) > int(topic.config()[LAG])


def _let_forget(client: AdminClient, compacted: Sequence[Topic]) -> None:
    """Bound how long topics that are there already keep replaced records."""

    def too_long() -> list[Topic]:
        configs = _configs(client, compacted)
        return [topic for topic in compacted if _keeps_too_long(topic, configs[topic.name])]

    resources = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, topic.config()[name], incremental_operation=AlterConfigOpType.SET)
                for name in (LAG, "delete.retention.ms")
            ],
        )
        for topic in too_long()
    ]
    if resources:
        for future in client.incremental_alter_configs(resources).values():
            future.result()
        _until(lambda: not too_long(), f"{LAG} of {', '.join(resource.name for resource in resources)}")


def _until(shown: Callable[[], bool], what: str) -> None:
    """Wait until what was taken is shown: the controller answers before the brokers have heard of it."""
    deadline = time.monotonic() + 30
    while not shown():
        if time.monotonic() > deadline:
            raise KafkaUnreachable(f"Kafka took {what} but does not show it")
        time.sleep(0.1)


def check(settings: Settings) -> list[dict[str, Any]]:
    """Every topic with what is wrong about it (empty: nothing)."""
    client = admin(settings)
    counts = {name: len(topic.partitions) for name, topic in client.list_topics(timeout=TIMEOUT).topics.items()}
    there = [topic for topic in topics.ALL if topic.name in counts]
    configs = _configs(client, there)
    policies = {name: config["cleanup.policy"] for name, config in configs.items()}
    rows = []
    for topic in topics.ALL:
        wrong = ""
        if topic.name not in counts:
            wrong = "missing: `segstream topics create`"
        elif counts[topic.name] != wanted(settings, topic):
            wrong = f"has {counts[topic.name]} partitions, SEGSTREAM_PARTITIONS asks for {wanted(settings, topic)}"
        elif policies[topic.name] != topic.config()["cleanup.policy"]:
            wrong = f"cleanup.policy is {policies[topic.name]}, must be {topic.config()['cleanup.policy']}"
        elif _keeps_too_long(topic, configs[topic.name]):
            wrong = f"{LAG} is {configs[topic.name][LAG]}: erased data may stay; `segstream topics create` sets it"
        rows.append(
            {"name": topic.name, "partitions": counts.get(topic.name), "purpose": topic.purpose, "problem": wrong}
        )
    return rows


def require(settings: Settings, *names: str) -> dict[str, int]:
    """The partition counts of these topics. Raises No where one is missing."""
    counts = partition_counts(settings)
    missing = [name for name in names if name not in counts]
    if missing and settings.kafka_security != "plaintext":
        unseen = granted.hidden(admin(settings), missing)
        if unseen:
            raise granted.Forbidden(
                f"Kafka does not even let {settings.kafka_username or 'this user'} see {', '.join(unseen)}: `segstream topics acls` shows what each "
                "process needs"
            )
    if missing:
        raise No(f"topics are missing: {', '.join(missing)}. Create them: `segstream topics create`")
    return counts


def producer(settings: Settings, **more: Any) -> Producer:
    """A producer whose partitioner agrees with Java's and the worker's."""
    options: dict[str, Any] = {
        "partitioner": "murmur2_random",
        "enable.idempotence": settings.producer_max_batch_size > 1,
        "acks": "all",
        "log_level": 2,
    }
    return Producer(connections.kafka(settings, **options | more))


def consumer(settings: Settings, group: str) -> Consumer:
    """A consumer that commits nothing by itself."""
    return logends.reader(settings, group)


def deliver(
    settings: Settings,
    topic: str,
    key: bytes | None,
    value: bytes,
    headers: Sequence[tuple[str, bytes]] = (),
    within: float = 30.0,
) -> tuple[int, int]:
    """Send one record and wait for it, at most `within` seconds: its partition and offset. Raises KafkaUnreachable.

    Kafka does not tell the offset where an acknowledgement was lost and what was sent again was there already; then it is that of the last record
    of the partition, which is this one or came after it.
    """
    places: list[Any] = []
    client = producer(settings, **{"message.timeout.ms": round(within * 1000)})
    client.produce(
        topic, value, key, headers=list(headers), on_delivery=lambda error, message: places.append(error or message)
    )
    if client.flush(within) or not places or isinstance(places[0], KafkaError):
        raise KafkaUnreachable(f"Kafka did not take the record for {topic} ({places[:1]}); run it again")
    partition, offset = places[0].partition(), places[0].offset()
    if offset is None:
        reader = consumer(settings, "segstream-reader")
        try:
            offset = offsets.ends(reader, [(topic, partition)], TIMEOUT)[topic, partition] - 1
        finally:
            reader.close()
    return partition, offset


def partition_of(key: bytes, partitions: int) -> int:
    """Where a customer's records lie.

    >>> partition_of(b"4711", 1)
    0
    """
    from aiokafka.partitioner import murmur2

    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def of_key(settings: Settings, name: str, key: bytes) -> Iterator[Message]:
    """The records of one key in a topic keyed by customer, oldest first; only her partition is read."""
    partition = partition_of(key, require(settings, name)[name])
    return (message for message in read(settings, name, only=partition) if message.key() == key)


@connections.patiently
def committed(client: Consumer, parts: list[TopicPartition]) -> list[TopicPartition]:
    """The partitions with the offsets that the client's group has committed. Raises KafkaException."""
    return list(client.committed(parts, timeout=TIMEOUT))


@connections.patiently
def commit(client: Consumer, parts: list[TopicPartition]) -> None:
    """Commit these offsets for the client's group, and wait for it. Raises KafkaException."""
    client.commit(offsets=parts, asynchronous=False)


def read(settings: Settings, name: str, group: str | None = None, only: int | None = None) -> Iterator[Message]:
    """Every record from the start (or from where `group` has committed) to the present end of a topic, or of one partition of it."""
    counts = require(settings, name)
    client = consumer(settings, group or "segstream-reader")
    try:
        places = [(name, p) for p in (range(counts[name]) if only is None else [only])]
        parts = [TopicPartition(*place) for place in places]
        done = {p.partition: p.offset for p in committed(client, parts)} if group else {}
        left: dict[int, int] = {}
        start = []
        high = offsets.ends(client, places, TIMEOUT)
        for (_, partition), low in offsets.begins(client, places, TIMEOUT).items():
            first = max(low, done.get(partition, low))
            if first < high[name, partition]:
                left[partition] = high[name, partition]
                start.append(TopicPartition(name, partition, first))
        if not start:
            return
        client.assign(start)
        quiet_since = time.monotonic()
        while left:
            for message in client.consume(2000, timeout=0.1):
                if message.error():
                    raise KafkaException(message.error())
                quiet_since = time.monotonic()
                yield message
            for part in client.position([TopicPartition(name, p) for p in left]):
                # The position also moves over what compaction and transactions have left out.
                if part.offset >= left[part.partition]:
                    del left[part.partition]
            if time.monotonic() - quiet_since > 60:
                raise KafkaUnreachable(f"reading {name} has stopped before its end (partitions {sorted(left)})")
    finally:
        client.close()


def lag(settings: Settings) -> dict[str, int | None]:
    """Records of each source partition that the workers have not committed; None where none was ever committed.

    Raises No where a topic ends before what is committed: it was deleted and created anew.
    """
    counts = require(settings, *(topic.name for topic in topics.INPUTS))
    client = consumer(settings, settings.app_id)
    found: dict[Place, int | None] = {}
    try:
        parts = [TopicPartition(t.name, p) for t in topics.INPUTS for p in range(counts[t.name])]
        done = {(part.topic, part.partition): part.offset for part in committed(client, parts)}
        high = offsets.ends(client, done.keys(), TIMEOUT)
        for place, offset in done.items():
            if offset > high[place]:
                raise No(f"{place[0]}-{place[1]} ends at {high[place]}, {offset} is committed: {logends.RECREATED}")
            found[place] = high[place] - offset if offset >= 0 else None if high[place] else 0
        behind = {place: done[place] for place, records in found.items() if records}
        found |= dict.fromkeys(logends.without_records(client, behind, high, TIMEOUT) if behind else (), 0)
    finally:
        client.close()
    return {f"{topic}-{partition}": records for (topic, partition), records in found.items()}
