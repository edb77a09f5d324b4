"""A profile is a function of the set of a customer's events."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.customer import FORMAT, Customer, UnreadableState, from_bytes, to_bytes
from schemas.events import decode
from schemas.features import facts
from schemas.lines import MAX_LABELS
from schemas.orders import CANCELLED, PLACED, RETURNED, packed, unpack
from schemas.profile import KEPT, SLACK, Effect, Profile, update
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
    assert not folded(shuffled) != folded(batch)  # noqa: SIM202 (both operators are meant)
    assert facts(folded(shuffled)) == facts(folded(batch))


@given(messages, st.data())
def test_duplicates_change_nothing(batch: list[bytes], data: Any) -> None:
    again = data.draw(st.lists(st.sampled_from(batch), max_size=6)) if batch else []
    position = data.draw(st.integers(0, len(batch)))
    assert folded(batch[:position] + again + batch[position:] + again) == folded(batch)


@given(messages)
def test_sums_and_counts_are_those_of_the_kept_orders(batch: list[bytes]) -> None:
    profile = folded(batch)
    orders = profile.remembered().items()
    placed = [(order_id, order) for order_id, order in orders if order.flags & PLACED]
    sales = [order for _, order in placed if not order.flags & CANCELLED]
    lines = [
        (order.at, order_id, n, brand, category, times)
        for order_id, order in placed
        for n, (brand, category, times) in enumerate(profile.lines_of(order))
    ]
    counts: Counter[str | None] = Counter()
    last: dict[str | None, tuple[int, str, int]] = {}
    for at, order_id, n, brand, _, times in sorted(lines, key=lambda row: row[:3]):
        counts[brand] += times
        last[brand] = (at, order_id, n)
    known = facts(profile)
    assert known.placed_orders == len(placed)
    assert known.orders == len(sales)
    assert known.spend == sum(order.total for order in sales)
    assert known.last_order_at == max((order.at for order in sales), default=None)
    assert known.returned_orders == sum(order.flags & (RETURNED | CANCELLED) == RETURNED for _, order in orders)
    assert known.items == sum(line[-1] for line in lines)
    assert known.categories == len({line[4] for line in lines} - {None})
    assert known.brand == (max(counts, key=lambda brand: (counts[brand], last[brand])) if counts else None)


@given(messages)
def test_sums_and_counts_follow_from_what_is_kept(batch: list[bytes]) -> None:
    profile = folded(batch)
    before = facts(profile)
    profile.rebuild()
    assert facts(profile) == before
    assert profile == folded(batch)


@given(messages)
def test_derived_values_survive_storage(batch: list[bytes]) -> None:
    customer = Customer()
    customer.profile = folded(batch)
    customer.segment, customer.sequence, customer.applied = "s1", 3, [7, -1]
    restored = from_bytes(to_bytes(customer))
    assert restored == customer
    assert facts(restored.profile) == facts(customer.profile)
    assert to_bytes(restored) == to_bytes(customer)


@given(messages)
def test_a_pack_of_orders_comes_back_as_it_was(batch: list[bytes]) -> None:
    orders = folded(batch).remembered()
    assert unpack(len(orders), packed(orders)) == orders


def history(count: int, step: int = 1) -> list[bytes]:
    """Orders of one customer in time order, every tenth refunded later and every fifteenth cancelled."""
    found = []
    for n in range(count):
        at = (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=n * step)).isoformat()
        products = [{"brand": f"b{n % 7}", "category": f"c{n % 11}"}, {"brand": f"b{n * n % 5}", "category": None}]
        found.append(event("Order Completed", at, order_id=f"o{n}", total=n % 97, products=products))
        if n % 15 == 0:
            found.append(event("Order Cancelled", at, order_id=f"o{n}"))
        if n % 10 == 9:
            found.append(event("Order Refunded", at, order_id=f"o{n - 5}"))
    return found


@given(st.lists(st.integers(0, 1199), max_size=30), st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_a_long_history_in_time_order_has_the_sums_of_a_plain_count_however_often_its_parts_are_repeated(
    again: list[int], every: int
) -> None:
    batch = history(1000)
    repeated = []
    for n, message in enumerate(batch):
        repeated.append(message)
        if every and n % every == 0:
            repeated += [batch[m] for m in again if m <= n]  # whatever was sent before may come again
    profile = folded(repeated + batch)
    assert profile.kept <= KEPT + SLACK
    placed = {n: n % 97 for n in range(1000)}
    cancelled = {n for n in placed if n % 15 == 0}
    refunded = {n - 5 for n in placed if n % 10 == 9}
    brands = Counter(brand for n in placed for brand in (f"b{n % 7}", f"b{n * n % 5}"))
    known = facts(profile)
    assert known.placed_orders == 1000
    assert known.orders == 1000 - len(cancelled)
    assert known.spend == 100 * sum(total for n, total in placed.items() if n not in cancelled)
    assert known.returned_orders == len(refunded - cancelled)
    assert known.last_order_at == decode(b"u1", batch[-2]).at
    assert known.items == 2000
    assert known.categories == 11
    assert known.brand == max(brands, key=brands.__getitem__)
    assert profile == folded(batch)
    before = facts(profile)
    profile.rebuild()
    assert facts(profile) == before


def test_a_customer_of_twenty_thousand_orders_is_stored_in_the_bytes_of_one_of_two_thousand() -> None:
    customer = Customer()
    sizes = {}
    for n, message in enumerate(history(20_000)):
        update(customer.profile, decode(b"u1", message))
        sizes[n] = len(to_bytes(customer))
    assert max(size for n, size in sizes.items() if n > 2_000) < 1.05 * max(
        size for n, size in sizes.items() if n <= 2_000
    )
    assert max(sizes.values()) < 16_000


def test_what_concerns_a_forgotten_order_is_too_late_and_changes_nothing() -> None:
    profile = folded(history(1000))
    before = folded(history(1000))
    for late in (
        event("Order Completed", "2023-12-31T23:00:00Z", order_id="unheard of", total=5),
        event("Order Cancelled", "2030-01-01T00:00:00Z", order_id="o1"),
        event("Order Refunded", "2024-01-01T00:05:00Z", order_id="o4"),
    ):
        assert update(profile, decode(b"u1", late)) is Effect.TOO_LATE
    profile.event_time = before.event_time
    assert profile == before


@given(messages)
def test_a_customer_of_more_labels_than_are_told_apart_counts_the_rest_as_not_known(batch: list[bytes]) -> None:
    profile = folded(batch)
    for n in range(3):
        products = [{"brand": f"brand {n}-{m}", "category": f"c{m}"} for m in range(500)]
        update(
            profile,
            decode(b"u1", event("Order Completed", f"2026-02-0{n + 1}T00:00:00Z", order_id=f"x{n}", products=products)),
        )
    assert len(profile.brand_labels.known) == MAX_LABELS
    assert facts(profile).items == facts(folded(batch)).items + 1500
    customer = Customer(profile=profile)
    assert from_bytes(to_bytes(customer)) == customer


@given(st.binary(max_size=200))
def test_any_bytes_are_a_customer_or_unreadable(data: bytes) -> None:
    try:
        from_bytes(data)
    except UnreadableState as error:
        assert str(error)


def test_a_record_of_the_format_before_says_what_to_do() -> None:
    with pytest.raises(UnreadableState, match=r"format 1.*segstream replay"):
        from_bytes(msgspec.msgpack.encode([1, [3, 4], 2, 1, "m-1", "s1", "s1", 0.5, 7, None, {}, {}]))


@pytest.mark.parametrize(
    ("customer", "told"),
    [
        (Customer(format=FORMAT - 1), rf"of format {FORMAT - 1}, this version reads {FORMAT}: .*segstream replay"),
        (Customer(format=FORMAT + 1), rf"of format {FORMAT + 1}, this version reads {FORMAT}: update"),
        (Customer(applied=[1, 2, 3]), r"3 source topics, this version reads 2; .*segstream replay"),
    ],
    ids=["earlier", "later", "other sources"],
)
def test_a_record_that_has_the_form_of_ours_and_is_not_says_what_to_do(customer: Customer, told: str) -> None:
    with pytest.raises(UnreadableState, match=told):
        from_bytes(to_bytes(customer))


def test_a_tie_of_brands_goes_to_the_one_chosen_last() -> None:
    early = event("Order Completed", "2026-01-01T00:00:01Z", order_id="o9", products=[{"brand": "Zeta"}])
    late = event("Order Completed", "2026-01-01T00:00:02Z", order_id="o1", products=[{"brand": "Acme"}])
    assert facts(folded([late, early])).brand == "Acme"


def test_a_corrected_order_replaces_the_first_version() -> None:
    first = event("Order Completed", "2026-01-01T00:00:01Z", order_id="o1", total=10)
    second = event("Order Completed", "2026-01-01T00:00:01Z", order_id="o1", total=12)
    assert facts(folded([first, second])).spend == facts(folded([second, first])).spend == 1200
