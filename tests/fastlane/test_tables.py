"""The table of the lane: what was sent to the changelog is there again after a restart."""

from __future__ import annotations

from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream_app.fastlane.batches import Record
from stream_app.fastlane.transport import MAX_CHUNK
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Log, Member, count, rows
from tests.waiting import wait_for


def latest(records: list[Record]) -> dict[bytes, bytes]:
    """The last value of each key that was not deleted."""
    found = {record.key: record.value for record in records}
    return {key: value for key, value in found.items() if value is not None and key is not None}


def test_a_batch_of_any_size_is_stored_in_order_and_its_last_offset_told(log: Log, member: Members) -> None:
    topic = log.create("orders")
    out = log.create("out", max_message_bytes="1000000")
    one = member(topic).start()
    sizes = [10, 20_000, 5, 16_000, 100_000, 1] + [100] * 3_000
    records = {
        partition: [Record(b"%d" % n, b"x" * size, [("h", b"v")]) for n, size in enumerate(sizes)]
        for partition in (0, 2)
    }
    assert one.send(out, records) == {0: len(sizes) - 1, 2: len(sizes) - 1}
    found = log.read(out)
    assert [row.value for row in found[TP(out, 0)]] == [record.value for record in records[0]]
    assert [row.value for row in found[TP(out, 2)]] == [record.value for record in records[2]]
    assert one.send(out, {}) == {}


def test_a_successor_finds_the_latest_record_of_every_key_and_no_deleted_one(log: Log, member: Members) -> None:
    topic = log.create("orders")
    changelog = log.create("changelog", cleanup_policy="compact")
    one = member(topic, tables=(changelog,)).start()
    records = {
        partition: [
            Record(b"%d" % (n % 700), None if n % 5 == 0 else b"%d of %d" % (n, partition))
            for n in range(4 * MAX_CHUNK + partition)
        ]
        for partition in range(3)
    }
    one.send(changelog, records)
    one.stop()
    two = member(topic, tables=(changelog,)).start()
    assert two.stored == {partition: latest(found) for partition, found in records.items()}


@pytest.mark.parametrize("standbys", [0, 1])
def test_moved_partitions_are_complete_where_they_are_and_a_survivor_has_them_all(
    log: Log, member: Members, standbys: int
) -> None:
    topic = log.create("orders", 4)
    changelog = log.create("changelog", 4, cleanup_policy="compact")
    more: dict[str, Any] = {"tables": (changelog,), "partitions": 4, "table_standby_replicas": standbys}
    one = member(topic, **more).start()
    first = {p: [Record(b"%d" % n, b"%d" % n) for n in range(1_000)] for p in range(4)}
    one.send(changelog, first)
    two = member(topic, **more).start()
    wait_for(lambda: len(one.assigned) == len(two.assigned) == 2, "the partitions are shared")
    expected = {partition: latest(found) for partition, found in first.items()}

    def complete(who: Member) -> bool:
        return all(who.stored.get(tp.partition) == expected[tp.partition] for tp in who.assigned)

    wait_for(lambda: complete(one) and complete(two), "both have what they own")
    if not standbys:
        assert one.stored | two.stored == expected
        assert one.stored.keys() == {tp.partition for tp in one.assigned}, "what has moved is forgotten"
    second = {p: [Record(b"%d" % n, b"later" if n % 3 else None) for n in range(300)] for p in range(4)}
    one.send(changelog, second)
    expected = {p: latest(first[p] + second[p]) for p in range(4)}
    one.stop()
    wait_for(lambda: len(two.assigned) == 4, "the survivor has taken over")
    wait_for(lambda: two.stored == expected, "with every customer as stored last")


def test_a_recovery_that_another_rebalance_has_overtaken_gives_no_partition(log: Log, member: Members) -> None:
    topic = log.create("orders")
    changelog = log.create("changelog", cleanup_policy="compact")
    one = member(topic, tables=(changelog,)).start()
    assert one.store is not None
    assert one.store.owned == {0, 1, 2}
    one.soon(one.store.release)  # a rebalance begins, and the recovery before it ends with the new assignment
    one.call(one.store.on_recovery_completed({TP(changelog, 1)}, set()))
    assert one.store.owned == frozenset()
    one.call(one.consumer.perform_seek())
    assert one.store.owned == {1}, "with the seek that follows a recovery in force it is ours"
    one.call(one.store.on_recovery_completed(set(), set()))
    assert one.store.owned == frozenset()


@pytest.mark.parametrize("assigned_again", [False, True])
def test_a_seek_that_a_rebalance_has_overtaken_gives_no_partition(
    log: Log, member: Members, assigned_again: bool
) -> None:
    topic = log.create("orders")
    changelog = log.create("changelog", cleanup_policy="compact")
    one = member(topic, tables=(changelog,)).start()
    assert one.store is not None
    inner = one.consumer.earliest_offsets
    marks: list[frozenset[int]] = []

    async def overtaken(*tps: TP) -> Any:
        """Between the two seeks of a perform_seek the partitions are revoked (and assigned again)."""
        found = await inner(*tps)
        one.consumer.earliest_offsets = inner  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            for name in ("on_partitions_revoked", "on_partitions_assigned"):
                patch.setattr(driver.Consumer, name, nothing)
            await one.consumer.on_partitions_revoked(set(one.assigned))
            if assigned_again:
                await one.consumer.on_partitions_assigned(set(one.assigned), 1)
        return found

    async def nothing(*args: Any) -> None:
        """What Faust does in a rebalance is not wanted here."""

    async def seek() -> None:
        one.consumer.earliest_offsets = overtaken  # type: ignore[method-assign,assignment]
        await one.consumer.perform_seek()
        assert one.store is not None
        marks.append(one.store.owned)
        assert one.consumer._next.keys() & one.assigned == set()
        one.consumer._revoked = False
        await one.consumer.perform_seek()

    one.call(seek())
    assert marks == [frozenset()]
    assert one.store.owned == {0, 1, 2}
    log.produce(topic, (b"%d" % n for n in range(30)))
    wait_for(lambda: count(one.done) >= 30, "the work goes on")
    assert rows(one.done) == log.read(topic)
