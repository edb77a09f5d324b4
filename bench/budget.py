"""`--only budget`: what each stage of the pure core costs per event, in this process, on the same stream as the hot path's.

CPU time, the least of several passes. Kafka, Redis and the event loop have no part in it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bench import job
from bench.calibration import calibrated
from bench.generator import Shop
from bench.report import Verdict
from schemas.artifact import model_id
from schemas.customer import Customer
from schemas.events import decode
from schemas.model import Model
from schemas.profile import update
from stream_app.customers import Customers
from stream_app.drift.blocks import LOOKS, looked
from stream_app.fastlane.transport import MAX_CHUNK
from stream_app.outbox import AHEAD
from stream_app.segmenter import Position, step
from stream_app.stores import MemoryStore
from stream_app.work import fold

MOST: Final = 25.0
"""Microseconds of CPU per event that are promised of the whole, transport included."""
_SOURCE: Final = Position(0, job.ORDERS, 0, -1)


class Record(NamedTuple):
    """A Kafka record."""

    key: bytes
    value: bytes
    offset: int
    timestamp: int = 1_767_225_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    events: int = 100_000
    customers: int = 5_000
    passes: int = 5


def measure(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """The stages and the verdict."""
    artifact, _ = calibrated(plan.events / plan.customers)
    model = Model(artifact, model_id(artifact))
    records = [Record(*message, at) for at, message in enumerate(Shop(plan.customers).messages(plan.events))]
    say(f"{plan.events:,} events of {plan.customers:,} customers")
    events = [decode(record.key, record.value) for record in records]

    def profiles() -> dict[bytes, Customer]:
        customers: dict[bytes, Customer] = {}
        for record, event in zip(records, events, strict=True):
            customer = customers.get(record.key) or customers.setdefault(record.key, Customer())
            update(customer.profile, event)
        return customers

    def steps() -> dict[bytes, Customer]:
        customers: dict[bytes, Customer] = {}
        for record, event in zip(records, events, strict=True):
            customer = customers.get(record.key) or customers.setdefault(record.key, Customer())
            step(customer, event, Position(0, job.ORDERS, 0, record.offset), model, "")
        return customers

    def least(work: Callable[[], object], per: int = plan.events) -> float:
        taken = []
        for _ in range(plan.passes):
            gc.collect()
            began = time.process_time()
            work()
            taken.append(time.process_time() - began)
        return min(taken) / per * 1e6

    known = steps()
    last = [(known[record.key], event) for record, event in zip(records[-10_000:], events[-10_000:], strict=True)]
    decoding = least(lambda: [decode(record.key, record.value) for record in records])
    profile, stepped = least(profiles), least(steps)
    score = least(lambda: [model.decide(customer.profile, customer.segment, None) for customer, _ in last], len(last))
    look = least(lambda: [looked(customer, event, 0, 1.0, 1, model) for customer, event in last], len(last))
    passes = [_through(records, model) for _ in range(plan.passes)]
    folding, closing, telling = (min(times) / plan.events * 1e6 for times in zip(*passes, strict=True))
    looks = look / max(1, MAX_CHUNK // LOOKS)
    stages = {
        "decode: JSON to an event": decoding,
        "profile: fold it into what is known of her": profile,
        "decide: features, score, hysteresis, what is told of a change": stepped - profile,
        "of it the score": score,
        "drift: looks at some customers": looks,
        "chunk: fence, erasure, opening, the loop around": folding - decoding - stepped - looks,
        "state: customers to bytes, once per group": closing,
        "changes: to bytes with headers": telling,
    }
    total = folding + closing + telling
    return {
        "part": "budget",
        "events": plan.events,
        "customers": plan.customers,
        "stages": stages,
        "total_us": total,
        "verdicts": [Verdict.at_most("the core alone, CPU us per event", total, MOST).document()],
    }


def _through(records: list[Record], model: Model) -> tuple[float, float, float]:
    """Seconds for all records as a worker takes them: folding chunk by chunk, closing groups, encoding changes."""
    customers = Customers(MemoryStore())
    folding = closing = telling = 0.0
    gc.collect()
    for group in range(0, len(records), AHEAD):
        began = time.process_time()
        works = [
            fold(records[at : at + MAX_CHUNK], _SOURCE, customers, model, "")
            for at in range(group, min(group + AHEAD, len(records)), MAX_CHUNK)
        ]
        folded = time.process_time()
        customers.close()
        closed = time.process_time()
        for work in works:
            for change in work.changes:
                job.encoded(change, 0)
        told = time.process_time()
        customers.stored(group)
        folding, closing, telling = folding + folded - began, closing + closed - folded, telling + told - closed
    return folding, closing, telling
