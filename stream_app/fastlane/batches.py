"""Sending many records at once: everything enqueued, then one wait for the broker's acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import aiokafka
from aiokafka.errors import InvalidTimestampError

MANY: Final = 50
"""Records after which the loop is given up between two partitions."""


class WrongClock(RuntimeError):
    """Kafka does not believe the time that our records carry: set this machine's clock, nothing else helps."""


class Record(NamedTuple):
    """What is sent: raw bytes and headers."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


async def send(
    client: aiokafka.AIOKafkaProducer, out: Mapping[str, Mapping[int, Iterable[Record]]]
) -> dict[str, dict[int, int]]:
    """Send all records, by topic and partition, and wait until every one is acknowledged; the last offset of each.

    In one request for each broker, where they fit into one and no request is on its way to it.
    Raises aiokafka.errors.KafkaError as soon as one of them could not be stored, WrongClock where that is because of its time.
    """
    pending: list[tuple[str, int, asyncio.Future[Any], int]] = []
    appended = 0
    for topic, partition, records in _parts(out):
        # A thousand records are milliseconds: whoever waits for the loop need not wait for all partitions.
        if appended >= MANY:
            await asyncio.sleep(0)
            appended = 0
        batch = client.create_batch()
        for record in records:
            appended += 1
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
            pending.append((topic, partition, future, 0))
        if batch.record_count():
            pending.append(await _close(client, topic, partition, batch))
    try:
        stored = await asyncio.gather(*(future for _, _, future, _ in pending))
    except InvalidTimestampError as error:
        raise WrongClock(
            f"Kafka refuses records for {' or '.join(out)} of {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: that is further from its own clock than "
            "the topic's message.timestamp.after.max.ms (or before) allows; set the clock of this machine, or of the broker, right"
        ) from error
    last: dict[str, dict[int, int]] = {}
    for (topic, partition, _, extra), metadata in zip(pending, stored, strict=True):
        offsets = last.setdefault(topic, {})
        offsets[partition] = max(offsets.get(partition, -1), metadata.offset + extra)
    return last


def _parts(out: Mapping[str, Mapping[int, Iterable[Record]]]) -> Iterator[tuple[str, int, Iterable[Record]]]:
    for topic, by_partition in out.items():
        for partition, records in by_partition.items():
            yield topic, partition, records


def _append(batch: Any, record: Record) -> bool:
    return batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers)) is not None


async def _close(
    client: aiokafka.AIOKafkaProducer, topic: str, partition: int, batch: Any
) -> tuple[str, int, Any, int]:
    batch.close()
    count = batch.record_count()
    return topic, partition, await client.send_batch(batch, topic, partition=partition), count - 1
