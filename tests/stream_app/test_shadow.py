"""A candidate is tried on a bounded sample that is always the same customers, and without one nothing is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis.asyncio

from schemas import shadow
from schemas.customer import Customer
from schemas.events import decode
from schemas.model import Model
from schemas.registry import Candidate
from stream_app.metrics import OTHERS, PAIRS, Metrics
from stream_app.segmenter import Position, step
from stream_app.shadow import Shadow, look
from tests.installation import order
from tests.schemas.models import model

ACTIVE, CANDIDATE = model(), model(shift=-1.0)
ENTRY = Candidate(model_id=CANDIDATE.id, run_id="r-1", base=ACTIVE.id, at=0)


def customer(number: int) -> Customer:
    made = Customer()
    topic, key, value = order(number, number)
    step(made, decode(key, value), Position(0, topic, 0, number), ACTIVE, "")
    return made


@dataclass
class Record:
    key: bytes | None


class People:
    """Customers of one partition; counts who was looked at."""

    def __init__(self, count: int) -> None:
        self.known = {b"%d" % n: customer(n) for n in range(count)}
        self.looked = 0

    def look(self, key: bytes) -> Customer | None:
        self.looked += 1
        return self.known.get(key)

    def records(self) -> list[Any]:
        return [Record(key) for key in self.known] + [Record(None)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def trial(
    one_in: int = 1, rate: float = 1e9, clock: Clock | None = None, candidate: Model | None = CANDIDATE
) -> Shadow:
    made = Shadow(redis.asyncio.Redis(), "segstream:", Metrics(), one_in=one_in, rate=rate, seconds=clock or Clock())
    made.install(candidate, ENTRY if candidate else None)
    return made


def test_without_a_candidate_or_beside_another_model_nobody_is_looked_at() -> None:
    people = People(20)
    trial(candidate=None).observe(people.records(), people, ACTIVE)  # type: ignore[arg-type]
    trial().observe(people.records(), people, model(shift=0.3))  # type: ignore[arg-type]
    trial().observe(people.records(), people, None)  # type: ignore[arg-type]
    assert people.looked == 0


def test_each_customer_is_seen_by_both_models_as_she_is() -> None:
    people = People(50)
    made = trial()
    made.observe(people.records(), people, ACTIVE)  # type: ignore[arg-type]
    expected = {shadow.field(key): look(one, ACTIVE, CANDIDATE) for key, one in people.known.items()}
    assert made._pending == {name: shadow.encode(found) for name, found in expected.items()}
    found = shadow.compare(one for one in expected.values() if one is not None)
    assert found.customers == 50
    assert found.moved > 0
    assert {one.after for one in expected.values() if one} == set(
        CANDIDATE.assign_many([one.profile for one in people.known.values()])  # type: ignore[misc]
    )


def test_the_sample_is_the_same_customers_after_any_crash() -> None:
    people = People(300)
    first, second = trial(one_in=4), trial(one_in=4)
    first.observe(people.records(), people, ACTIVE)  # type: ignore[arg-type]
    second.observe(people.records()[::-1], people, ACTIVE)  # type: ignore[arg-type]
    assert first._pending == second._pending
    assert 40 < len(first._pending) < 120


def test_what_a_second_may_cost_is_bounded() -> None:
    people, clock = People(100), Clock()
    made = trial(rate=10.0, clock=clock)
    for _ in range(5):
        made.observe(people.records(), people, ACTIVE)  # type: ignore[arg-type]
    assert people.looked == 10
    clock.now = 0.5
    made.observe(people.records(), people, ACTIVE)  # type: ignore[arg-type]
    assert people.looked == 15


def test_whom_no_model_tells_apart_or_another_decided_is_not_compared() -> None:
    assert look(Customer(), ACTIVE, CANDIDATE) is None
    assert look(Customer(segment="prospect", model_id=ACTIVE.id), ACTIVE, CANDIDATE) is None
    assert look(customer(1), model(shift=0.3), CANDIDATE) is None


def test_years_of_models_do_not_swell_the_metrics() -> None:
    metrics = Metrics()
    for n in range(3 * PAIRS):
        metrics.migrated(f"s{n}", f"s{n + 1}")
    samples = [s for family in metrics.migrations.collect() for s in family.samples if s.name.endswith("_total")]
    assert len(samples) == PAIRS + 1
    assert sum(s.value for s in samples) == 3 * PAIRS
    assert {s.labels["to_segment"]: s.value for s in samples}[OTHERS[1]] == 2 * PAIRS
