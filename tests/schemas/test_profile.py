"""A profile is a function of the set of a customer's events."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.customer import Customer, UnreadableState, from_bytes, to_bytes
from schemas.events import decode
from schemas.features import facts
from schemas.profile import CANCELLED, PLACED, RETURNED, Profile, update
from tests.schemas.shops import event, messages


def folded(batch: list[bytes]) -> Profile:
    profile = Profile()
    for message in batch:
        update(profile, decode(b"u1", message))
    return profile


@given(messages, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(batch: list[bytes], random: Any) -> None:
    shuffled = batch[:]
    random.shuffle(shuffled)
    assert folded(shuffled) == folded(batch)
    assert facts(folded(shuffled)) == facts(folded(batch))


@given(messages, st.data())
def test_duplicates_change_nothing(batch: list[bytes], data: Any) -> None:
    again = data.draw(st.lists(st.sampled_from(batch), max_size=6)) if batch else []
    position = data.draw(st.integers(0, len(batch)))
    assert folded(batch[:position] + again + batch[position:] + again) == folded(batch)


@given(messages)
def test_sums_and_counts_are_those_of_the_kept_orders(batch: list[bytes]) -> None:
    profile = folded(batch)
    orders = profile.orders.items()
    placed = [(order_id, order) for order_id, order in orders if order.flags & PLACED]
    sales = [order for _, order in placed if not order.flags & CANCELLED]
    lines = [(order.at, order_id, n, line) for order_id, order in placed for n, line in enumerate(order.lines)]
    counts = Counter(line[0] for *_, line in lines)
    last = {line[0]: (at, order_id, n) for at, order_id, n, line in sorted(lines, key=lambda row: row[:3])}
    known = facts(profile)
    assert known.placed_orders == len(placed)
    assert known.orders == len(sales)
    assert known.spend == sum(order.total for order in sales)
    assert known.returned_orders == sum(order.flags & (RETURNED | CANCELLED) == RETURNED for _, order in orders)
    assert known.items == len(lines)
    assert known.categories == len({line[1] for *_, line in lines} - {None})
    assert known.brand == (max(counts, key=lambda brand: (counts[brand], last[brand])) if counts else None)


@given(messages)
def test_derived_values_survive_storage(batch: list[bytes]) -> None:
    customer = Customer()
    customer.profile = folded(batch)
    customer.segment, customer.sequence, customer.applied = "s1", 3, [7, -1]
    restored = from_bytes(to_bytes(customer))
    assert restored == customer
    assert facts(restored.profile) == facts(customer.profile)
    assert to_bytes(restored) == to_bytes(customer)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_customer_or_unreadable(data: bytes) -> None:
    try:
        from_bytes(data)
    except UnreadableState as error:
        assert str(error)


def test_a_tie_of_brands_goes_to_the_one_chosen_last() -> None:
    early = event("Order Completed", "2026-01-01T00:00:01Z", order_id="o9", products=[{"brand": "Zeta"}])
    late = event("Order Completed", "2026-01-01T00:00:02Z", order_id="o1", products=[{"brand": "Acme"}])
    assert facts(folded([late, early])).brand == "Acme"


def test_a_corrected_order_replaces_the_first_version() -> None:
    first = event("Order Completed", "2026-01-01T00:00:01Z", order_id="o1", total=10)
    second = event("Order Completed", "2026-01-01T00:00:01Z", order_id="o1", total=12)
    assert facts(folded([first, second])).spend == facts(folded([second, first])).spend == 1200
