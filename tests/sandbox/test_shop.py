"""The invented shop: one seed, one story; and messages that any client could have sent."""

from __future__ import annotations

from itertools import pairwise

import pytest

from sandbox.events import message
from sandbox.shop import CATEGORIES, Cancellation, Purchase, Refund, SignUp
from schemas import topics
from schemas.events import OrderCancelled, OrderCompleted, OrderRefunded, SignedUp, decode
from tests.sandbox.shops import NOW, small


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    one, same, other = small(1), small(1), small(2)
    assert one.history == same.history
    assert [one.live(NOW + i) for i in range(500)] == [same.live(NOW + i) for i in range(500)]
    assert one.history != other.history


def test_history_is_in_order_of_time_and_lies_in_the_past() -> None:
    history = small().history
    assert all(a.at <= b.at for a, b in pairwise(history))
    assert history[-1].at < NOW


def test_nothing_happens_to_a_customer_or_an_order_before_it_exists() -> None:
    shop = small()
    known: set[int] = set()
    open_orders: dict[int, Purchase] = {}
    for happening in [*shop.history, *(shop.live(NOW + i) for i in range(2000))]:
        if isinstance(happening, SignUp):
            assert happening.user_id not in known
            known.add(happening.user_id)
        elif isinstance(happening, Purchase):
            assert happening.user_id in known
            assert happening.order_id not in open_orders
            open_orders[happening.order_id] = happening
        else:
            order = open_orders[happening.order_id]
            assert order.user_id == happening.user_id
            assert order.at < happening.at
            if isinstance(happening, Refund):
                assert happening.amount == order.total


def test_no_order_is_both_cancelled_and_returned_nor_ends_twice() -> None:
    shop = small()
    everything = [*shop.history, *(shop.live(NOW + i) for i in range(2000))]
    ended = [h.order_id for h in everything if isinstance(h, Cancellation | Refund)]
    assert len(ended) == len(set(ended))


def test_every_kind_of_thing_happens_in_history_and_live() -> None:
    shop = small()
    kinds = {SignUp, Purchase, Cancellation, Refund}
    assert {type(h) for h in shop.history} == kinds
    assert {type(shop.live(NOW + i)) for i in range(2000)} == kinds


def test_a_few_brands_are_missing_and_every_category_is_sold() -> None:
    catalogue = small().catalogue
    missing = sum(product.brand is None for product in catalogue) / len(catalogue)
    assert 0.01 < missing < 0.12
    assert {product.category for product in catalogue} == set(CATEGORIES)


def test_after_a_shift_orders_are_much_dearer() -> None:
    shop = small()

    def mean_total() -> float:
        orders = [h for h in (shop.live(NOW) for _ in range(1500)) if isinstance(h, Purchase)]
        return sum(order.total for order in orders) / len(orders)

    before = mean_total()
    shop.shift()
    assert mean_total() > 3 * before


def test_every_happening_is_a_message_that_says_the_same() -> None:
    for happening in small().history:
        topic, key, value = message(happening)
        event = decode(key, value)
        assert key == str(happening.user_id).encode()
        assert (event.user_id, event.at) == (str(happening.user_id), happening.at)
        if isinstance(happening, SignUp):
            t = happening.traits
            assert topic == topics.SIGNUPS.name
            assert isinstance(event, SignedUp)
            assert event.traits == {
                "age": t.age,
                "gender": t.gender,
                "country": t.country,
                "traffic_source": t.traffic_source,
            }
            continue
        assert topic == topics.ORDERS.name
        assert event.order_id == str(happening.order_id)  # type: ignore[union-attr]
        if isinstance(happening, Purchase):
            assert isinstance(event, OrderCompleted)
            assert event.total == happening.total
            assert event.brands == tuple(x.product.brand for x in happening.lines)
            assert event.categories == tuple(x.product.category for x in happening.lines)
        elif isinstance(happening, Refund):
            assert isinstance(event, OrderRefunded)
            assert event.amount == happening.amount
        else:
            assert isinstance(event, OrderCancelled)


def test_message_ids_are_unique() -> None:
    ids = [decode(*message(happening)[1:]).event_id for happening in small().history]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("customers", [0, 1])
def test_a_tiny_shop_still_lives(customers: int) -> None:
    shop = small(customers=customers)
    kinds = {type(shop.live(NOW + i)) for i in range(200)}
    assert {SignUp, Purchase} <= kinds
