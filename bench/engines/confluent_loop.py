"""A plain confluent-kafka loop: consume a batch, fold, produce the changes and flush, then the changelog; commit about every second."""

from __future__ import annotations

import signal
import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, Producer, TopicPartition

from bench import job
from schemas.model import Model


class Loop:
    """One process: the customers of its partitions, a consumer and a producer."""

    def __init__(self, settings: job.Settings) -> None:
        self.settings = settings
        self.model: Model = settings.load_model()
        self.customers: dict[int, dict[bytes, Any]] = {}
        self.running = True
        self.producer = Producer(
            {
                "bootstrap.servers": settings.kafka,
                "enable.idempotence": True,
                "linger.ms": 1,
                "queue.buffering.max.messages": 200_000,
            }
        )

    def restore(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        """Read the customers of the partitions from the changelog; they are unpacked when they are first touched."""
        reader = Consumer(
            {
                "bootstrap.servers": self.settings.kafka,
                "group.id": f"{self.settings.group}-restore",
                "enable.auto.commit": False,
            }
        )
        left: dict[int, int] = {}
        for part in assigned:
            self.customers[part.partition] = {}
            low, high = reader.get_watermark_offsets(TopicPartition(job.CHANGELOG, part.partition), timeout=10)
            if high > low:
                left[part.partition] = high
        reader.assign([TopicPartition(job.CHANGELOG, partition, OFFSET_BEGINNING) for partition in left])
        while left:
            for message in reader.consume(2000, 0.05):
                if message.error():
                    raise KafkaException(message.error())
                self.customers[message.partition()][message.key()] = message.value()
            for part in reader.position([TopicPartition(job.CHANGELOG, partition) for partition in left]):
                if part.offset >= left[part.partition]:
                    del left[part.partition]
        reader.close()

    def forget(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        """Whoever comes next reads the changelog."""
        for part in revoked:
            self.customers.pop(part.partition, None)

    def produce(self, topic: str, partition: int, key: bytes, value: bytes, headers: Any = None) -> None:
        """Hand a record to librdkafka; waits while its queue is full."""
        while True:
            try:
                self.producer.produce(topic, value, key, partition, on_delivery=_delivered, headers=headers)
                return
            except BufferError:
                self.producer.poll(0.1)

    def flush(self) -> None:
        """Wait until everything produced is acknowledged."""
        if self.producer.flush(60):
            raise SystemExit("Kafka did not acknowledge within 60 s")

    def round(self, messages: list[Message]) -> dict[int, int]:
        """Fold and store what was fetched: changes acknowledged first, then the changelog; the next offset per partition."""
        at, decided_at = job.now()
        done: dict[int, int] = {}
        touched: dict[tuple[int, bytes], job.Customer] = {}
        changed = False
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            partition, offset, key = message.partition(), message.offset(), message.key()
            customers = self.customers[partition]
            customer = customers.get(key)
            if customer.__class__ is bytes:
                customer = customers[key] = job.from_bytes(customer)
            applied = job.apply(customer, key, message.value(), partition, offset, self.model, decided_at)
            done[partition] = offset + 1
            if applied is None:
                continue
            if customer is None:
                customers[key] = applied[0]
            touched[partition, key] = applied[0]
            for change in applied[1]:
                changed = True
                record = job.encoded(change, at)
                for topic in (job.CHANGES, job.STATE):
                    self.produce(topic, partition, *record)
        if changed:
            self.flush()
        for (partition, key), customer in touched.items():
            self.produce(job.CHANGELOG, partition, key, job.to_bytes(customer))
        self.flush()
        return done

    def run(self) -> None:
        """Until SIGTERM."""
        s = self.settings
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "running", False))
        consumer = Consumer(
            {
                "bootstrap.servers": s.kafka,
                "group.id": s.group,
                "group.instance.id": s.instance,
                "session.timeout.ms": job.SESSION_SECONDS * 1000,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([s.source], on_assign=self.restore, on_revoke=self.forget)
        done: dict[int, int] = {}
        committed_at = time.monotonic()
        while self.running:
            messages = consumer.consume(
                2000, 0.002
            )  # it waits for all 2,000 or for this long: the price of low latency
            if messages:
                done.update(self.round(messages))
            if done and time.monotonic() - committed_at >= job.COMMIT_SECONDS:
                self.commit(consumer, done)
                done = {}
                committed_at = time.monotonic()
        if done:
            self.commit(consumer, done)
        consumer.close()

    def commit(self, consumer: Consumer, done: dict[int, int]) -> None:
        """Commit the offsets and wait for it."""
        parts = [TopicPartition(self.settings.source, partition, offset) for partition, offset in done.items()]
        consumer.commit(offsets=parts, asynchronous=False)


def _delivered(error: Any, _: Message) -> None:
    if error is not None:
        raise KafkaException(error)


if __name__ == "__main__":
    Loop(job.Settings.here()).run()
