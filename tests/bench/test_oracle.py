"""Laws of the shop and the oracle that the measurements are judged by."""

from __future__ import annotations

import json
from itertools import islice

import msgspec
import pytest

from bench.calibration import CUSTOMERS, moved, share_of_changes
from bench.calibration import fitted as fit
from bench.generator import Log, Message, Shop, new_customer
from bench.oracle import Expected, Oracle, judge, wrong_states
from schemas.artifact import Artifact, model_id
from schemas.events import OrderCompleted, OrderRefunded, decode
from schemas.features import Facts
from schemas.model import Model
from schemas.sealed import check
from stream_app.work import fold

PARTITIONS = 4


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """A model of made-up customers."""
    rows = [Facts(orders=i, spend=700 * i * (1 + i % 3), categories=i % 5, returned_orders=i % 2) for i in range(1, 40)]
    return fit(rows, 0)


@pytest.fixture(scope="module")
def model(artifact: Artifact) -> Model:
    """The same, ready."""
    return Model(artifact, model_id(artifact))


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    """Some of a small shop's messages."""
    return list(Shop(200).messages(3_000))


@pytest.fixture(scope="module")
def expected(model: Model, messages: list[Message]) -> Expected:
    """What must come of them."""
    oracle = Oracle(model, PARTITIONS)
    for message in messages:
        oracle.append(message)
    return oracle.expected()


def received(expected: Expected) -> list[tuple[bytes, bytes]]:
    """What an engine without faults would have sent."""
    return [(msgspec.json.decode(value)["user_id"].encode(), value) for value in expected.changes.values()]


def test_a_seed_gives_the_same_messages_and_a_longer_stream_begins_with_the_shorter() -> None:
    long = list(Shop(300).messages(9_000))
    assert list(Shop(300).messages(5_000)) == long[:5_000]
    assert list(Shop(300).messages(2_000, first=7_000)) == long[7_000:]
    assert list(Shop(300, seed=2).messages(100)) != long[:100]


def test_every_message_is_an_event_of_the_product_with_three_products_or_a_refund(messages: list[Message]) -> None:
    events = [decode(message.key, message.value) for message in messages]
    orders = [event for event in events if isinstance(event, OrderCompleted)]
    assert all(len(order.brands) == len(order.categories) == 3 for order in orders)
    bodies = [json.loads(message.value)["properties"] for message in messages]
    assert all(
        round(100 * body["total"]) == sum(round(100 * p["price"]) * p.get("quantity", 1) for p in body["products"])
        for body in bodies
        if "products" in body
    )
    assert {type(event) for event in events} == {OrderCompleted, OrderRefunded}
    assert len({order.order_id for order in orders}) < len(orders), "some are sent twice"
    assert 450 < sum(len(message.value) for message in messages) / len(messages) < 550


def test_in_a_round_every_customer_orders_or_gives_back_once() -> None:
    shop = Shop(97, rounds=2)
    keys = [message.key for message in shop.messages(3 * 97)]
    assert sorted(keys[:97]) == sorted(keys[97:194]) == sorted(set(keys[:97]))
    assert len(set(keys[:97])) == 97


def test_offsets_count_up_in_each_partition(messages: list[Message]) -> None:
    log = Log(PARTITIONS)
    places = [log.append(message.key) for message in messages]
    for partition in range(PARTITIONS):
        assert [offset for at, offset in places if at == partition] == list(range(log.ends[partition]))


def test_the_oracle_is_the_workers_own_fold(model: Model, messages: list[Message], expected: Expected) -> None:
    from stream_app.customers import Customers
    from stream_app.segmenter import Position
    from stream_app.stores import MemoryStore
    from stream_app.work import encoded

    class Record(msgspec.Struct):
        key: bytes
        value: bytes
        offset: int
        timestamp: int = 0

    log = Log(PARTITIONS)
    chunks: dict[int, list[Record]] = {}
    for message in messages:
        partition, offset = log.append(message.key)
        chunks.setdefault(partition, []).append(Record(message.key, message.value, offset))
    changes = {}
    states = {}
    for partition, chunk in chunks.items():
        customers = Customers(MemoryStore())
        work = fold(chunk, Position(0, "orders", partition, -1), customers, model, "")
        changes.update({change.change_id: encoded(change, 0)[1] for change in work.changes})
        states.update(customers.close())
    assert changes == expected.changes
    assert wrong_states(expected, states) == 0


def test_what_is_right_is_found_exact_and_each_fault_is_counted(expected: Expected) -> None:
    right = received(expected)
    assert judge(expected, right).exact
    assert judge(expected, right[1:]).lost == 1
    assert judge(expected, [*right, right[0]]).duplicated == 1
    assert judge(expected, [*right, right[0]]).exact, "a repeated change does no harm"
    body = msgspec.json.decode(right[5][1])
    body["features"]["gross_spend"] += 0.01
    assert judge(expected, [*right[:5], (right[5][0], msgspec.json.encode(body)), *right[6:]]).wrong == 1
    body["change_id"] = "never"
    assert judge(expected, [*right, (right[5][0], msgspec.json.encode(body))]).wrong == 1
    assert (
        judge(
            expected, [(b"somebody", value) if i == 7 else (key, value) for i, (key, value) in enumerate(right)]
        ).wrong
        == 1
    )
    assert judge(expected, right[::-1]).reordered > 0


def test_a_state_that_is_missing_too_many_or_other_is_counted(expected: Expected) -> None:
    states = dict(expected.states)
    assert wrong_states(expected, states) == 0
    first, second = list(islice(states, 2))
    states[b"nobody"] = states[first]
    states[first] = states[second]
    del states[second]
    assert wrong_states(expected, states) == 3


def test_an_oracle_of_some_customers_agrees_with_the_oracle_of_all(
    model: Model, messages: list[Message], expected: Expected
) -> None:
    some = Oracle(model, PARTITIONS, keep=lambda key: int(key[1:]) % 3 == 0)
    for message in messages:
        some.append(message)
    assert some.expected().ends == expected.ends
    assert some.expected().states == {k: v for k, v in expected.states.items() if some.keep(k)}
    assert some.expected().changes.items() <= expected.changes.items()


def test_a_newcomer_is_sure_to_change_a_segment(model: Model) -> None:
    oracle = Oracle(model, 1)
    for number in range(10):
        before = len(oracle.changes)
        oracle.append(new_customer(number))
        assert len(oracle.changes) == before + 1


def test_the_moved_model_is_accepted_and_moves_some(artifact: Artifact) -> None:
    other = moved(artifact)
    check(other)
    assert model_id(other) != model_id(artifact)
    assert [s.id for s in other.segments] == [s.id for s in artifact.segments]


def test_the_hysteresis_lowers_the_share_of_changes(artifact: Artifact) -> None:
    assert CUSTOMERS > 100
    calm = msgspec.structs.replace(artifact, hysteresis=0.5)
    assert share_of_changes(calm, 5) <= share_of_changes(artifact, 5)
