"""Sending many records at once: everything enqueued, then one wait for the broker's acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import aiokafka


class Record(NamedTuple):
    """What is sent: raw bytes and headers."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


async def send(
    client: aiokafka.AIOKafkaProducer, topic: str, by_partition: Mapping[int, Iterable[Record]]
) -> dict[int, int]:
    """Send all records and wait until every one is acknowledged; the last offset per partition.

    Raises aiokafka.errors.KafkaError as soon as one of them could not be stored.
    """
    pending: list[tuple[int, asyncio.Future[Any], int]] = []
    for partition, records in by_partition.items():
        batch = client.create_batch()
        for record in records:
            if _append(batch, record):
                continue
            if batch.record_count():
                pending.append(await _close(client, topic, partition, batch))
                batch = client.create_batch()
                if _append(batch, record):
                    continue
            # Larger than a whole batch (or batches are switched off): by itself.
            future = await client.send(
                topic, record.value, key=record.key, partition=partition, headers=list(record.headers)
            )
            pending.append((partition, future, 0))
        if batch.record_count():
            pending.append(await _close(client, topic, partition, batch))
    stored = await asyncio.gather(*(future for _, future, _ in pending))
    last: dict[int, int] = {}
    for (partition, _, extra), metadata in zip(pending, stored, strict=True):
        last[partition] = max(last.get(partition, -1), metadata.offset + extra)
    return last


def _append(batch: Any, record: Record) -> bool:
    return batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers)) is not None


async def _close(client: aiokafka.AIOKafkaProducer, topic: str, partition: int, batch: Any) -> tuple[int, Any, int]:
    batch.close()
    count = batch.record_count()
    return partition, await client.send_batch(batch, topic, partition=partition), count - 1
