"""Gaps in the offsets: those of the log are passed, those of a fetch that went astray are not."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer
from faust.types import TP

from schemas import offsets
from schemas.settings import Settings
from stream_app import logends
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Log, Member, count, rows
from tests.waiting import wait_for


def note_rewinds(one: Member) -> list[list[TP]]:
    """Every time that the member reads again what it has fetched."""
    rewinds: list[list[TP]] = []
    original = one.consumer._rewind

    async def noted(tps: Iterable[TP]) -> None:
        rewinds.append(list(tps))
        await original(rewinds[-1])

    one.consumer._rewind = noted  # type: ignore[method-assign]
    return rewinds


def transact(
    log: Log, client: Producer, topic: str, values: Iterable[bytes], commit: bool, partitions: int = 3
) -> None:
    """One transaction over the partitions; its records are in the log whether it is committed or aborted."""
    client.begin_transaction()
    for number, value in enumerate(values):
        client.produce(topic, value, partition=number % partitions)
    assert client.flush(30) == 0
    if commit:
        client.commit_transaction(30)
    else:
        client.abort_transaction(30)


def test_transactions_leave_gaps_and_every_record_comes_once(log: Log, member: Members) -> None:
    topic = log.create("orders")
    client = log.producer(transactional_id=log.name)
    client.init_transactions(30)
    one = member(topic).start()
    rewinds = note_rewinds(one)
    sent = 0
    for number in range(12):
        transact(log, client, topic, (b"%d of %d" % (n, number) for n in range(30)), commit=number % 3 != 0)
        sent += 30
        wait_for(lambda sent=sent: count(one.done) >= sent, "the transaction's records are delivered")  # type: ignore[misc]
    expected = log.read(topic)
    assert any(b.offset - a.offset > 1 for found in expected.values() for a, b in itertools.pairwise(found))
    assert rows(one.done) == expected
    assert len(rewinds) >= 3, "a gap before a fetch is looked at twice"
    wait_for(
        lambda: log.committed(one.group, topic) == {tp: f[-1].offset + 1 for tp, f in expected.items()}, "committed"
    )
    one.stop()
    two = member(topic, done=one.done).start()
    transact(log, client, topic, [b"last"] * 3, commit=True)
    wait_for(lambda: count(two.done) >= sent + 3, "the successor goes on behind the markers")
    assert rows(two.done) == log.read(topic)


def test_behind_the_last_record_of_a_transaction_nothing_waits(log: Log, member: Members) -> None:
    topic = log.create("orders", 1)
    client = log.producer(transactional_id=log.name)
    client.init_transactions(30)
    one = member(topic, partitions=1).start()
    transact(log, client, topic, [b"one"], commit=True, partitions=1)
    tp, place = TP(topic, 0), (topic, 0)
    wait_for(lambda: log.committed(one.group, topic, partitions=1) == {tp: 1}, "the record is committed")
    ends = logends.reader(Settings(kafka=log.bootstrap), "ends")
    try:
        assert offsets.ends(ends, {place}, 10) == {place: 2}, "behind it lies the marker"
        assert logends.without_records(ends, {place: 1}, {place: 2}, 10) == {place}
        assert logends.without_records(ends, {place: 0}, {place: 2}, 10) == set()
    finally:
        ends.close()


def test_a_compacted_log_is_read_over_its_gaps(log: Log, member: Members) -> None:
    topic = log.create(
        "latest",
        1,
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.001",
        max_compaction_lag_ms="1",
    )
    client = log.producer(linger_ms=0)
    for number in range(400):  # one key of four is never repeated: its records stay, all over the log
        key = b"%d" % number if number % 4 == 0 else b"again"
        client.produce(topic, b"%d" % number, key, partition=0, timestamp=1_000_000_000_000 + number * 1000)
        if number % 20 == 0:
            client.flush(30)
    assert client.flush(30) == 0

    def compacted() -> bool:
        return len(log.read(topic, partitions=1)[TP(topic, 0)]) < 200

    wait_for(compacted, "the log is compacted", 90)
    one = member(topic, partitions=1).start()
    expected = log.read(topic, partitions=1)
    wait_for(lambda: count(one.done) >= len(expected[TP(topic, 0)]), "everything is delivered")
    assert rows(one.done) == expected


def test_a_gap_that_is_not_in_the_log_is_read_again(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(300)))
    one = member(topic).start()
    wait_for(lambda: count(one.done) >= 300, "all so far is delivered")
    rewinds = note_rewinds(one)
    fetch = one.consumer._wait_next_records
    astray = threading.Event()

    async def loses_the_first(timeout: float) -> Any:
        """A fetch that begins behind where it should, once."""
        records, active = await fetch(timeout)
        if records and not astray.is_set():
            astray.set()
            records = {tp: found[1:] for tp, found in records.items() if found[1:]}
        return records, active

    one.consumer._wait_next_records = loses_the_first  # type: ignore[method-assign]
    log.produce(topic, (b"more %d" % n for n in range(300)), linger_ms=100)
    wait_for(astray.is_set, "a fetch went astray")
    wait_for(lambda: count(one.done) >= 600, "everything is delivered")
    assert rows(one.done) == log.read(topic)
    assert rewinds
