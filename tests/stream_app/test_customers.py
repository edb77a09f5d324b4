"""Customers at rest are bytes; a store has what Kafka has, never more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.customer import from_bytes, to_bytes
from schemas.model import Model
from stream_app.customers import Customers
from stream_app.segmenter import Position
from stream_app.stores import NOTHING, MemoryStore, RocksStore, Store, opener
from stream_app.work import fold
from tests.installation import orders
from tests.schemas.models import model

SOURCE = Position(0, "orders", 0, -1)
rows = st.lists(
    st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(min_size=1, max_size=4), max_size=3),
    max_size=6,
)


class Fetched:
    """A record as it comes from Kafka."""

    def __init__(self, key: bytes, value: bytes, offset: int) -> None:
        self.key, self.value, self.offset, self.timestamp = key, value, offset, 0


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return opener(request.param, tmp_path)(0)


def test_a_store_holds_the_last_record_of_each_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=30, deadline=None)  # every example is a directory on disk
    @given(rows)
    def law(batches: list[dict[bytes, bytes | None]]) -> None:
        disk = RocksStore(tmp_path_factory.mktemp("rocks") / "0")
        memory = MemoryStore()
        plain: dict[bytes, bytes | None] = {}
        for offset, batch in enumerate(batches):
            for one in (memory, disk):
                one.put({key: value for key, value in batch.items() if value is not None or plain.get(key)}, offset)
            plain.update(batch)
        kept = {key: value for key, value in plain.items() if value is not None}
        for one in (memory, disk):
            assert {key: one.get(key) for key in one.keys()} == kept  # noqa: SIM118
            assert one.offset == len(batches) - 1
        disk.close()

    law()


def test_a_store_on_disk_stands_after_a_restart_where_it_stood(tmp_path: Path) -> None:
    before = RocksStore(tmp_path / "0")
    assert before.offset == NOTHING
    before.put({b"a": b"1", b"b": b"2"}, 7)
    before.close()
    after = RocksStore(tmp_path / "0")
    assert (after.offset, after.get(b"a"), sorted(after.keys())) == (7, b"1", [b"a", b"b"])
    after.close()


def test_nothing_reaches_the_store_before_kafka_has_it(store: Store) -> None:
    one = model()
    customers = Customers(store)
    records = [Fetched(key, value, n) for n, (_, key, value) in enumerate(orders(200, 20))]
    fold(records[:100], SOURCE, customers, one, "")
    leaving = customers.close()
    assert leaving
    assert store.keys() == []
    fold(records[100:], SOURCE, customers, one, "")  # the next group is computed while the first is on its way
    customers.stored(7)
    assert {key: store.get(key) for key in store.keys()} == leaving  # noqa: SIM118
    assert store.offset == 7
    customers.close()
    customers.stored(9)
    expected = Customers(MemoryStore())
    fold(records, SOURCE, expected, one, "")
    assert {key: store.get(key) for key in store.keys()} == expected.close()  # noqa: SIM118
    store.close()


def test_whoever_was_only_looked_at_is_not_sent_again(store: Store) -> None:
    customers = Customers(store)
    records = [Fetched(key, value, n) for n, (_, key, value) in enumerate(orders(40, 10))]
    fold(records, SOURCE, customers, model(), "")
    customers.close()
    customers.stored(0)
    poison = Fetched(records[0].key, b"not json", 40)
    work = fold([*records, poison], SOURCE, customers, model(), "")
    assert (work.repeated, len(work.dead_letters)) == (40, 1)
    assert customers.close() == {}
    store.close()


def test_whoever_is_new_is_among_the_customers_before_she_is_stored(store: Store) -> None:
    customers = Customers(store)
    records = [Fetched(key, value, n) for n, (_, key, value) in enumerate(orders(60, 20))]
    everyone: set[bytes] = set()
    for first in range(0, 60, 20):
        fold(records[first : first + 20], SOURCE, customers, model(), "")
        everyone |= {record.key for record in records[first : first + 20]}
        assert sorted(customers.keys()) == sorted(everyone)
        customers.close()
        assert sorted(customers.keys()) == sorted(everyone)
        customers.stored(first)
    assert sorted(customers.keys()) == sorted(everyone)
    store.close()


def test_two_groups_on_their_way_are_stored_one_after_the_other_and_the_later_is_what_is_seen(store: Store) -> None:
    one, customers = model(), Customers(store, at_hand=0)
    records = [Fetched(key, value, n) for n, (_, key, value) in enumerate(orders(60, 10))]
    closed = []
    for first in (0, 30):
        fold(records[first : first + 30], SOURCE, customers, one, "")
        closed.append(customers.close())
    assert closed[0].keys() & closed[1].keys()
    for key, record in {**closed[0], **closed[1]}.items():
        seen = customers.look(key)
        assert seen is not None
        assert to_bytes(seen) == record
    for number, group in enumerate(closed):
        customers.stored(number)
        assert {key: store.get(key) for key in group} == group
    store.close()


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 60), st.sampled_from([0, 3, 1000]))
def test_however_a_load_is_cut_and_however_many_stay_at_hand_the_customers_are_the_same(
    seed: int, size: int, at_hand: int
) -> None:
    one: Model = model()
    records = [Fetched(key, value, n) for n, (_, key, value) in enumerate(orders(120, 8, first=seed * 1000))]
    whole, parts = Customers(MemoryStore()), Customers(MemoryStore(), at_hand)
    changes = fold(records, SOURCE, whole, one, "").changes
    cut = []
    for first in range(0, len(records), size):
        cut += fold(records[first : first + size], SOURCE, parts, one, "").changes
        if first % 2:
            parts.close()
            parts.stored(first)
    assert cut == changes
    keys = {record.key for record in records}
    assert {k: to_bytes(c) for k in keys if (c := parts.look(k))} == {
        k: to_bytes(c) for k in keys if (c := whole.look(k))
    }


def test_a_record_is_replaced_only_as_it_was_read_and_she_is_not_kept_at_hand(store: Store) -> None:
    customers = Customers(store)
    (_, key, value), *_ = orders(1, 1)
    fold([Fetched(key, value, 0)], SOURCE, customers, model(), "")
    for current in (customers.record, lambda key: customers.close()[key]):  # open, then on her way
        first = current(key)
        assert first is not None
        other = from_bytes(first)
        other.revision += 1
        assert not customers.replace(key, to_bytes(other), first)
        assert customers.replace(key, first, to_bytes(other))
        assert not customers.replace(key, first, first), "it is not as it was any more"
        assert not customers.live
        assert customers.look(key) == other
        assert customers.record(key) == to_bytes(other)
        assert customers.markers([key], lambda record: True) == [], "she is being worked on"
        assert customers.keys() == customers.anew == [key]
    assert customers.close() == {key: to_bytes(other)}
    assert customers.close() == {}
    assert not customers.replace(b"nobody", b"", b"")
    assert customers.record(b"nobody") is None
    store.close()


def test_an_event_after_a_replacement_goes_on_from_it(store: Store) -> None:
    customers = Customers(store)
    records = [Fetched(key, value, n) for n, (_, key, value) in enumerate(orders(2, 1))]
    fold(records[:1], SOURCE, customers, model(), "")
    key = records[0].key
    before = customers.record(key)
    assert before is not None
    other = from_bytes(before)
    other.revision += 1000
    assert customers.replace(key, before, to_bytes(other))
    assert customers.anew == [key]
    fold(records[1:], SOURCE, customers, model(), "")
    assert customers.anew == [], "an event came after it"
    closed = customers.close()[key]
    assert closed is not None
    assert from_bytes(closed).revision == 1002
    customers.drop(key)
    assert customers.record(key) is None
    assert not customers.replace(key, closed, closed)
    store.close()
