"""Sending many records at once: everything enqueued, then one wait for the broker's acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import InvalidTimestampError


class WrongClock(RuntimeError):
    """Kafka does not believe the time that our records carry: set this machine's clock, nothing else helps."""


class Record(NamedTuple):
    """What is sent: raw bytes and headers."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


async def send(
    client: aiokafka.AIOKafkaProducer, topic: str, by_partition: Mapping[int, Iterable[Record]]
) -> dict[int, int]:
    """Send all records and wait until every one is acknowledged; the last offset per partition.

    Raises aiokafka.errors.KafkaError as soon as one of them could not be stored, WrongClock where that is because of its time.
    """
    pending: list[tuple[int, asyncio.Future[Any], int]] = []
    for partition, records in by_partition.items():
        # A thousand records are milliseconds: whoever waits for the loop need not wait for all partitions.
        await asyncio.sleep(0)
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
    try:
        stored = await asyncio.gather(*(future for _, future, _ in pending))
    except InvalidTimestampError as error:
        raise WrongClock(
            f"Kafka refuses records for {topic} of {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: that is further from its own clock than the topic's "
            "message.timestamp.after.max.ms (or before) allows; set the clock of this machine, or of the broker, right"
        ) from error
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
