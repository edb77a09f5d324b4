"""What a partition's former owner learns when it comes back: whose records others have written meanwhile, and only those."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import faust
import pytest

from stream_app.fastlane.batches import Record
from stream_app.fastlane.table import PartitionStore
from stream_app.stores import MemoryStore
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Log
from tests.waiting import wait_for


@pytest.fixture
def store() -> PartitionStore:
    app = faust.App("overtaken", broker="kafka://127.0.0.1:1")
    made = PartitionStore("memory://", app, app.Table("users"))
    made.open_store = lambda partition: MemoryStore()
    return made


def read(store: PartitionStore, partition: int, offset: int, *keys: bytes) -> None:
    """A chunk of the changelog."""
    records = [SimpleNamespace(key=key, value=b"v") for key in keys]
    message: Any = SimpleNamespace(partition=partition, offset=offset, value=records)
    store.apply_changelog_batch([SimpleNamespace(message=message)], None, None)


def noting(store: PartitionStore) -> dict[int, list[bytes]]:
    """What is told from now on whenever partitions are owned."""
    told: dict[int, list[bytes]] = {}
    store.on_owned = lambda owned: told.update({p: sorted(keys) for p, keys in store.overtaken.items() if p in owned})
    return told


def owning(store: PartitionStore, *partitions: int) -> dict[int, list[bytes]]:
    """What is told when these are owned from now on."""
    told = noting(store)
    store._recovered = frozenset(partitions)
    store.own()
    return told


def test_what_was_never_owned_is_not_told_apart(store: PartitionStore) -> None:
    read(store, 0, 9, b"a", b"b")
    assert owning(store, 0) == {}


def test_records_of_others_are_told_once_when_the_partition_comes_back(store: PartitionStore) -> None:
    owning(store, 0, 1)
    store.release()
    read(store, 0, 19, b"a", b"b")
    store.release()  # a rebalance overtakes the recovery
    read(store, 0, 29, b"b", b"c")
    assert owning(store, 0, 1) == {0: [b"a", b"b", b"c"]}
    store.release()
    assert owning(store, 0, 1) == {}


def test_a_partition_that_somebody_else_owned_for_a_whole_assignment_is_a_new_one(store: PartitionStore) -> None:
    owning(store, 0, 1)
    owning(store, 1)
    read(store, 0, 19, b"a")
    assert owning(store, 0, 1) == {}


def test_a_member_that_missed_an_assignment_is_told_what_others_wrote(log: Log, member: Members) -> None:
    topic = log.create("orders", 4)
    changelog = log.create("changelog", 4, cleanup_policy="compact")
    stays = member(topic, tables=(changelog,), partitions=4).start()
    returns = member(topic, tables=(changelog,), partitions=4).start()
    assert returns.store is not None
    kept = returns.store
    wait_for(lambda: len(stays.assigned) == len(kept.owned) == 2, "the partitions are shared")
    held, told = kept.owned, noting(kept)
    back = threading.Event()
    returns.consumer._thread.thread_loop.call_soon_threadsafe(back.wait)  # no heartbeat until then
    try:
        wait_for(lambda: len(stays.assigned) == 4 and stays.is_ready, "the other one is taken for dead", 60)
        records = {partition: [Record(b"of %d" % partition, b"v")] for partition in range(4)}
        stays.send(changelog, records)
    finally:
        back.set()
    wait_for(lambda: bool(told) and len(stays.assigned) == len(kept.owned) == 2, "the partitions are shared again")
    came_back = kept.owned & held
    assert came_back
    assert came_back <= told.keys() <= held, "of what is new to it, everything is written anyway"
    assert told == {p: [b"of %d" % p] for p in told}
