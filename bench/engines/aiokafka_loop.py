"""The limit: a plain aiokafka loop. Fetch, fold, send the changes, then the changelog; commit about every second."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition

from bench import job
from schemas.model import Model

Record = tuple[bytes, bytes, list[tuple[str, bytes]]]


async def send(producer: AIOKafkaProducer, topic: str, partition: int, records: Iterable[Record]) -> list[Any]:
    """Send records as batches; the futures of their acknowledgements."""
    pending = []
    batch = producer.create_batch()
    for key, value, headers in records:
        if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
            batch.close()
            pending.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None, headers=headers)
    batch.close()
    if batch.record_count():
        pending.append(await producer.send_batch(batch, topic, partition=partition))
    return pending


class Loop(ConsumerRebalanceListener):
    """One process: the customers of its partitions, a consumer and a producer."""

    def __init__(self, settings: job.Settings) -> None:
        self.settings = settings
        self.model: Model = settings.load_model()
        self.customers: dict[int, dict[bytes, Any]] = {}
        self.ready = asyncio.Event()
        self.stop = asyncio.Event()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Forget: whoever comes next reads the changelog."""
        self.ready.clear()
        self.customers.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Read the customers of the partitions from the changelog; they are unpacked when they are first touched."""
        reader = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka, group_id=None, enable_auto_commit=False)
        await reader.start()
        try:
            parts = [TopicPartition(job.CHANGELOG, tp.partition) for tp in assigned]
            found: dict[int, dict[bytes, Any]] = {tp.partition: {} for tp in parts}
            ends = await reader.end_offsets(parts) if parts else {}
            reader.assign(parts)
            await reader.seek_to_beginning(*parts)
            left = {tp for tp in parts if ends[tp] > await reader.position(tp)}
            while left:
                for tp, records in (await reader.getmany(*left, timeout_ms=1000)).items():
                    found[tp.partition].update((record.key, record.value) for record in records)
                left = {tp for tp in left if await reader.position(tp) < ends[tp]}
            self.customers.update(found)
        finally:
            await reader.stop()
        self.ready.set()

    def fold(self, partition: int, records: Iterable[Any]) -> tuple[list[Record], list[Record]]:
        """Fold a partition's records; the changes and the customers touched, as they are sent."""
        customers = self.customers[partition]
        at, decided_at = job.now()
        changes: list[Record] = []
        touched: dict[bytes, job.Customer] = {}
        for record in records:
            key = record.key
            customer = customers.get(key)
            if customer.__class__ is bytes:
                customer = customers[key] = job.from_bytes(customer)
            done = job.apply(customer, key, record.value, partition, record.offset, self.model, decided_at)
            if done is None:
                continue
            if customer is None:
                customers[key] = done[0]
            touched[key] = done[0]
            for change in done[1]:
                changes.append(job.encoded(change, at))
        return changes, [(key, job.to_bytes(customer), []) for key, customer in touched.items()]

    async def round(self, producer: AIOKafkaProducer, fetched: Mapping[TopicPartition, list[Any]]) -> None:
        """Fold and store what was fetched: changes acknowledged first, then the changelog."""
        folded = {tp.partition: self.fold(tp.partition, records) for tp, records in fetched.items()}
        pending = []
        for partition, (changes, _) in folded.items():
            for topic in (job.CHANGES, job.STATE):
                pending += await send(producer, topic, partition, changes)
        await asyncio.gather(*pending)
        pending = []
        for partition, (_, snapshots) in folded.items():
            pending += await send(producer, job.CHANGELOG, partition, snapshots)
        await asyncio.gather(*pending)

    async def run(self) -> None:
        """Until SIGTERM."""
        s = self.settings
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop.set)
        producer = AIOKafkaProducer(bootstrap_servers=s.kafka, enable_idempotence=True, max_batch_size=262_144)
        await producer.start()
        consumer = AIOKafkaConsumer(
            bootstrap_servers=s.kafka,
            group_id=s.group,
            group_instance_id=s.instance,
            session_timeout_ms=job.SESSION_SECONDS * 1000,
            heartbeat_interval_ms=1500,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        consumer.subscribe([s.source], listener=self)
        done: dict[TopicPartition, int] = {}
        committed_at = time.monotonic()
        while not self.stop.is_set():
            fetched = await consumer.getmany(timeout_ms=100, max_records=2000)
            if fetched:
                await self.ready.wait()  # aiokafka hands out records while the listener is still at work
                fetched = {tp: records for tp, records in fetched.items() if tp.partition in self.customers}
                await self.round(producer, fetched)
                done.update({tp: records[-1].offset + 1 for tp, records in fetched.items()})
            if done and time.monotonic() - committed_at >= job.COMMIT_SECONDS:
                await consumer.commit(done)
                done = {}
                committed_at = time.monotonic()
        if done:
            await consumer.commit(done)
        await consumer.stop()
        await producer.stop()


async def _main() -> None:
    await Loop(job.Settings.here()).run()


if __name__ == "__main__":
    uvloop.run(_main())
