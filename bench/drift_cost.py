"""What the drift check costs a worker beside its work: CPU per event of looking, of closing blocks and of writing them."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any, NamedTuple

from bench.generator import Shop
from schemas.drift import encode
from schemas.model import Model
from stream_app.customers import Customers
from stream_app.drift.blocks import Collector, looked
from stream_app.segmenter import Position
from stream_app.stores import MemoryStore
from stream_app.work import fold


class _Record(NamedTuple):
    key: bytes
    value: bytes
    offset: int
    timestamp: int


def measure(model: Model, events: int, chunk: int, rate: float) -> dict[str, Any]:
    """Fold orders of 20 events per customer in chunks, as a partition with `rate` events/s has them; transport is not counted."""
    messages = Shop(max(1, events // 20)).messages(events)
    customers, collector = Customers(MemoryStore()), Collector()
    collector.install(model)
    work_s = looks_s = blocks_s = 0.0
    offset, now, blocks, size = 0, 1_767_225_600_000_000, 0, 0
    while batch := list(islice(messages, chunk)):
        records = [_Record(m.key, m.value, offset + i, now // 1000) for i, m in enumerate(batch)]
        begun = time.process_time()
        done = fold(records, Position(0, "orders", 0, -1), customers, model, "2026-01-01T00:00:00Z", 20_454)
        customers.close()
        customers.stored(offset)
        folded = time.process_time()
        for look in done.looks:  # a second time, to know what the first one took
            key = look.event.user_id.encode()
            known = customers.look(key)
            assert known is not None
            looked(known, look.event, look.produced_at, look.distance, look.stands_for, model)
        again = time.process_time()
        closed = collector.take(
            "orders", 0, offset, offset + len(batch) - 1, events=done.live, invalid=len(done.dead_letters), flips=0,
            looks=done.looks, now=now,
        )  # fmt: skip
        written = [encode(block) for block in closed]
        ended = time.process_time()
        work_s, looks_s, blocks_s = work_s + folded - begun, looks_s + again - folded, blocks_s + ended - again
        offset, now = offset + len(batch), now + int(len(batch) / rate * 1_000_000)
        blocks, size = blocks + len(written), size + sum(map(len, written))
    extra = looks_s + blocks_s
    return {
        "chunk": chunk,
        "events": events,
        "blocks": blocks,
        "bytes_per_block": size / max(1, blocks),
        "work_us": 1e6 * work_s / events,
        "drift_us": 1e6 * extra / events,
        "share_of_work": extra / (work_s + blocks_s),
    }
