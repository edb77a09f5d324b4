"""Time moves customers too: after each day's sweep everybody is as if she had been looked at on that very day."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.artifact import PROSPECT
from schemas.customer import Customer, to_bytes
from schemas.features import RFM, facts, raw
from schemas.recency import STEPS
from schemas.times import DAY, rfc3339
from stream_app.customers import Customers
from stream_app.segmenter import Position
from stream_app.stores import MemoryStore
from stream_app.work import fold
from tests.schemas.models import model
from tests.schemas.shops import USER, event
from tests.stream_app.anew import decided_anew
from tests.stream_app.test_customers import Fetched

SOURCE = Position(0, "orders", 0, -1)
ONE = model(RFM)
KEYS = [b"a", b"b", b"c"]
START = 20_000

names = st.sampled_from(["Order Completed", "Order Completed", "Order Cancelled", "Order Refunded", "Signed Up"])
happenings = st.tuples(names, st.sampled_from(KEYS), st.integers(1, 4), st.integers(0, 40), st.integers(0, 900))
"""Event, customer, order, how many days ago it happened, total."""
days = st.lists(st.tuples(st.integers(0, 200), st.lists(happenings, max_size=4)), min_size=1, max_size=8)
"""How many days have passed, and what arrives then."""


def arrive(customers: Customers, what: list[tuple[str, bytes, int, int, int]], today: int, first: int) -> int:
    records = []
    for offset, (name, key, order, ago, total) in enumerate(what, first):
        message = event(name, rfc3339((today - ago) * DAY), order_id=f"o{order}", total=total)
        records.append(Fetched(key, message.replace(USER.encode(), key), offset))
    if records:
        work = fold(records, SOURCE, customers, ONE, "", today=today)
        assert not work.dead_letters
    return first + len(what)


def kept(customers: Customers) -> dict[bytes, Customer]:
    return {key: customer for key in customers.keys() if (customer := customers.look(key)) is not None}  # noqa: SIM118


@given(days)
def test_after_the_sweep_everybody_is_as_of_the_day_and_only_those_were_touched_whose_features_changed(
    history: list[tuple[int, list[tuple[str, bytes, int, int, int]]]],
) -> None:
    customers = Customers(MemoryStore())
    today, offset = START, 0
    segments: dict[str, str | None] = {}
    for passed, what in history:
        today += passed
        before = {key: raw(ONE.feature_names, customer.profile) for key, customer in kept(customers).items()}
        work = decided_anew(list(before), customers, ONE, "time", today)
        for change in work.changes:
            assert change.cause == "time"
            assert change.from_segment == segments[change.user_id] != change.to_segment
        changed = 0
        for key, customer in kept(customers).items():
            asked = msgspec.structs.replace(facts(customer.profile), today=today)
            assert raw(ONE.feature_names, customer.profile) == raw(ONE.feature_names, asked)
            assert customer.segment == customer.nearest == ONE.assign_many([asked])[0]
            changed += raw(ONE.feature_names, asked) != before[key]
        assert work.rescored == changed
        assert not decided_anew(list(before), customers, ONE, "time", today).rescored, (
            "begun again, there is nothing left to do"
        )
        offset = arrive(customers, what, today, offset)
        segments = {key.decode(): customer.segment for key, customer in kept(customers).items()}


def lapsed(customers: Customers) -> list[str | None]:
    seen: list[str | None] = []
    for day in range(START, START + STEPS[-1] + 2):
        decided_anew(customers.keys(), customers, ONE, "time", day)
        seen.append(kept(customers)[b"a"].segment)
    return seen


def test_a_customer_of_whom_nothing_more_is_heard_goes_through_every_step_once() -> None:
    customers = Customers(MemoryStore())
    arrive(customers, [("Order Completed", b"a", 1, 0, 900)], START, 0)
    revision = kept(customers)[b"a"].revision
    seen = lapsed(customers)
    assert kept(customers)[b"a"].revision == revision + len(STEPS) - 1
    assert len(set(seen)) > 1
    arrive(customers, [("Order Completed", b"a", 2, 0, 900)], START + 3000, 1)
    assert kept(customers)[b"a"].segment == seen[0], "with her next order she is back"


def test_a_new_model_decides_as_of_its_day_and_prospects_and_models_without_recency_have_no_days() -> None:
    customers = Customers(MemoryStore())
    arrive(customers, [("Order Completed", b"a", 1, 0, 900), ("Signed Up", b"b", 1, 0, 0)], START, 0)
    other = model(RFM, shift=0.3)
    decided_anew(KEYS, customers, other, "model", START + 21)
    a, b = (kept(customers)[key] for key in (b"a", b"b"))
    assert raw(["recency"], a.profile) == {"recency": 21.0}
    assert (b.segment, other.due(b.profile), model().due(a.profile)) == (PROSPECT, None, None)
    before = to_bytes(a)
    assert not decided_anew(KEYS, customers, ONE, "time", START + 90).rescored, (
        "whom another model decided waits for the migration"
    )
    assert to_bytes(a) == before
