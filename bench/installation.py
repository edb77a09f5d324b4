"""The servers of a measurement, the topics on them, and the model: a real Kafka and a real Redis of the sandbox, in a scratch directory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench import job
from bench.processes import wait_for
from sandbox.kafka import Kafka, broker, missing_tools
from sandbox.redis import Redis
from schemas.artifact import Artifact, model_id
from schemas.model import Model
from schemas.registry import Registry
from schemas.sealed import to_bytes
from schemas.signing import Signer

OUTPUTS: Final = (job.CHANGES, job.STATE, job.CHANGELOG)
HEAP: Final = "1g"
"""The broker's memory: it must not be what limits an engine."""
_SOON: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
)
"""A broker that has just started looks for its coordinators: ask again."""


@dataclass
class Installation:
    """Where everything is."""

    directory: Path
    kafka: str
    redis: str
    partitions: int
    artifact: Artifact
    signer: Signer = field(default_factory=Signer.generate)

    def __post_init__(self) -> None:
        self.model_file.write_bytes(to_bytes(self.artifact, self.signer))
        (self.directory / "model.json").write_bytes(to_bytes(self.artifact, self.signer).partition(b"\n")[2])

    @property
    def model_file(self) -> Path:
        """The signed artifact, for engines without a registry."""
        return self.directory / "model.sealed"

    @property
    def model(self) -> Model:
        """The model that the oracle goes by."""
        return Model(self.artifact, model_id(self.artifact))

    def redis_bytes(self) -> int:
        """What Redis holds."""
        info: Any = redis.Redis.from_url(self.redis).info("memory")
        return int(info["used_memory"])

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the product's commands."""
        return {
            "SEGSTREAM_HOME": str(self.directory / "home"),
            "SEGSTREAM_KAFKA": self.kafka,
            "SEGSTREAM_REDIS": self.redis,
            "SEGSTREAM_PARTITIONS": str(self.partitions),
            "SEGSTREAM_TRUSTED_KEYS": self.signer.public,
        }

    def admin(self) -> AdminClient:
        """A new admin client, which remembers nothing of deleted topics; keep it until its futures are done."""
        return AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})

    def topics(self) -> set[str]:
        """The topics there are."""
        return set(self.admin().list_topics(timeout=10).topics)

    def remove(self, names: Sequence[str]) -> None:
        """Delete those of the topics that are there."""
        there = self.topics() & set(names)
        if there:
            admin = self.admin()
            for future in admin.delete_topics(sorted(there), operation_timeout=30).values():
                future.result()
            wait_for(lambda: not self.topics() & there, f"topics are deleted: {sorted(there)}", 60)

    def create(self) -> None:
        """`segstream topics create`."""
        command = [sys.executable, "-m", "segstream", "topics", "create", "--json"]
        done = subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"`segstream topics create` failed: {done.stderr or done.stdout}")

    def create_topic(self, name: str) -> None:
        """A topic with as many partitions as `orders`."""
        admin = self.admin()
        for future in admin.create_topics([NewTopic(name, self.partitions, 1)]).values():
            future.result()
        wait_for(lambda: name in self.topics(), f"topic {name} is there", 30)

    def fresh(self, *more: str) -> None:
        """Empty outputs, an empty Redis with nothing but the model, and `more` topics emptied too."""
        self.remove([*OUTPUTS, *more])
        self.create()
        client = redis.Redis.from_url(self.redis)
        client.flushdb()
        self.publish(self.artifact)

    def publish(self, artifact: Artifact) -> str:
        """Make an artifact the active model; its id."""
        name = model_id(artifact)
        registry = Registry(redis.Redis.from_url(self.redis))
        registry.publish(name, to_bytes(artifact, self.signer), at=time.time_ns() // 1000, by="bench")
        return name

    def delete_group(self, group: str) -> None:
        """Delete a consumer group with its offsets, once its members have gone (a static one: when its session ends)."""
        admin = self.admin()

        def gone() -> bool:
            try:
                admin.delete_consumer_groups([group])[group].result()
            except KafkaException as error:
                code = error.args[0].code()
                if code not in (KafkaError.NON_EMPTY_GROUP, KafkaError.GROUP_ID_NOT_FOUND, *_SOON):
                    raise
                return bool(code == KafkaError.GROUP_ID_NOT_FOUND)
            return True

        wait_for(gone, f"group {group} is deleted", 60, every=0.1)

    def latest(self, topic: str) -> dict[bytes, bytes]:
        """The last value of every key of a topic; empty where there is no such topic."""
        found: dict[bytes, bytes] = {}
        for key, value in self.read(topic):
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value
        return found

    def read(self, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
        """Every record of a topic, key and value."""
        if topic not in self.topics():
            return
        with _consumer(self.kafka, "bench-reader") as client:
            left = {}
            for partition in range(self.partitions):
                low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                if high > low:
                    left[partition] = high
            client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
            while left:
                for message in client.consume(2000, 0.1):
                    if message.error():
                        raise KafkaException(message.error())
                    yield message.key() or b"", message.value()
                for part in client.position([TopicPartition(topic, partition) for partition in left]):
                    if part.offset >= left[part.partition]:
                        del left[part.partition]

    @contextmanager
    def committed(self, group: str, topic: str) -> Iterator[Any]:
        """A function that tells the offsets that a group has committed, by partition (0: none; nothing while Kafka cannot say)."""
        with _consumer(self.kafka, group) as client:
            parts = [TopicPartition(topic, partition) for partition in range(self.partitions)]

            def offsets() -> tuple[int, ...]:
                try:
                    return tuple(max(0, part.offset) for part in client.committed(parts, timeout=10))
                except KafkaException as error:
                    if error.args[0].code() in _SOON:
                        return ()
                    raise

            yield offsets

    @contextmanager
    def ends(self, topic: str) -> Iterator[Any]:
        """A function that tells the end of every partition of a topic."""
        with _consumer(self.kafka, "bench-reader") as client:
            parts = [TopicPartition(topic, partition) for partition in range(self.partitions)]
            yield lambda: tuple(client.get_watermark_offsets(part, timeout=10)[1] for part in parts)


@contextmanager
def _consumer(kafka: str, group: str) -> Iterator[Consumer]:
    client = Consumer({"bootstrap.servers": kafka, "group.id": group, "enable.auto.commit": False, "log_level": 2})
    try:
        yield client
    finally:
        client.close()


@contextmanager
def installed(directory: Path, artifact: Artifact, partitions: int = job.PARTITIONS) -> Iterator[Installation]:
    """A running installation with its topics, which ends with the block."""
    place = directory / "kafka"
    kafka = broker(place) if missing_tools() else Kafka(place, heap=HEAP)
    server = Redis(directory / "redis")
    try:
        kafka.start()
        server.start()
        made = Installation(directory, kafka.bootstrap, server.url, partitions, artifact)
        made.create()
        yield made
    finally:
        server.stop()
        kafka.stop()
