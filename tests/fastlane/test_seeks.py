"""Seeks: work begins where it should, and nothing fetched before a seek is delivered behind it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream_app.fastlane.transport import ChunkMessage
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Done, Log, Member, count, rows
from tests.waiting import wait_for


def assert_no_hole(done: list[Done], sought: list[dict[TP, int]]) -> None:
    """In every epoch a partition goes on without a hole from where it was sought to, which is no farther than work had ever come."""
    stands: dict[TP, int] = {}
    farthest: dict[TP, int] = {}
    epochs: dict[TP, int] = {}
    for chunk in done:
        if epochs.get(chunk.tp) == chunk.epoch:
            assert chunk.begin == stands[chunk.tp]
        else:
            # What was done before an earlier seek may have been acknowledged after it: then this one leads beyond what was done again.
            at = farthest.get(chunk.tp, 0)
            assert chunk.begin <= at, f"{chunk.tp}: a hole between {at} and {chunk.begin}"
            assert chunk.begin in {one[chunk.tp] for one in sought}
        epochs[chunk.tp] = chunk.epoch
        stands[chunk.tp] = chunk.rows[-1].offset + 1
        farthest[chunk.tp] = max(stands[chunk.tp], farthest.get(chunk.tp, 0))


def note_seeks(one: Member) -> list[dict[TP, int]]:
    """Every set of positions that the member seeks to, from now on and the one in force."""
    sought = [dict(one.consumer.sought)]
    original = one.consumer.perform_seek

    async def noted() -> None:
        await original()
        sought.append(dict(one.consumer.sought))

    one.consumer.perform_seek = noted  # type: ignore[method-assign]
    return sought


def test_seeks_in_mid_stream_deliver_again_from_the_committed_offset_without_a_hole(log: Log, member: Members) -> None:
    topic = log.create("orders")
    one = member(topic).start()
    sought = note_seeks(one)
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            log.produce(topic, (b"%d" % n for n in range(300)))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for number in range(10):
            wait_for(lambda n=number: count(one.done) > n * 300, "the work goes on")  # type: ignore[misc]
            one.call(one.consumer.perform_seek())
    finally:
        ended.set()
        thread.join()
    expected = log.read(topic)
    ends = {tp: found[-1].offset for tp, found in expected.items()}

    def reached() -> bool:
        found = one.offsets
        return all(tp in found and found[tp][-1] == end for tp, end in ends.items())

    wait_for(reached, "the end is reached")
    assert_no_hole(one.done, sought)
    assert {tp: sorted(set(found)) for tp, found in rows(one.done).items()} == expected


def test_records_fetched_before_a_seek_are_not_delivered_behind_it(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(6_000)))
    one = member(topic).start()
    wait_for(lambda: count(one.done) >= 6_000, "all so far is delivered")
    wait_for(lambda: sum(log.committed(one.group, topic).values()) == 6_000, "and committed")
    committed = rows(one.done)
    sought = note_seeks(one)
    fetch = one.consumer._wait_next_records
    crossed = threading.Event()

    async def crossed_by_a_seek(timeout: float) -> Any:
        records, active = await fetch(timeout)
        if records and not crossed.is_set():
            crossed.set()
            await one.consumer.perform_seek()
        return records, active

    one.consumer._wait_next_records = crossed_by_a_seek  # type: ignore[method-assign]
    log.produce(topic, (b"more %d" % n for n in range(6_000)))
    wait_for(crossed.is_set, "a seek has crossed a fetch")
    expected = log.read(topic)
    ends = {tp: found[-1].offset for tp, found in expected.items()}
    wait_for(lambda: all(one.offsets[tp][-1] == end for tp, end in ends.items()), "everything is delivered")
    assert_no_hole(one.done, sought)
    delivered = rows(one.done)
    assert {tp: sorted(set(found)) for tp, found in delivered.items()} == expected
    for tp, before in committed.items():
        again = [row for row in delivered[tp] if row.offset <= before[-1].offset]
        assert again == before, "what was committed is not repeated"


def test_a_seek_that_ends_while_a_fetch_is_under_way_loses_nothing(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(6_000)))
    one = member(topic).start()
    wait_for(lambda: count(one.done) >= 6_000, "all so far is delivered")
    wait_for(lambda: sum(log.committed(one.group, topic).values()) == 6_000, "and committed")
    inner = one.consumer.earliest_offsets
    delivered_meanwhile = threading.Event()

    async def fetched_meanwhile(*tps: TP) -> Any:
        """Between the two seeks of a perform_seek more records come and are fetched."""
        found = await inner(*tps)
        log.produce(topic, (b"more %d" % n for n in range(3_000)))
        records = await one.consumer._getmany(active_partitions=set(one.assigned), timeout=10)
        assert records
        delivered_meanwhile.set()
        return found

    one.consumer.earliest_offsets = fetched_meanwhile  # type: ignore[method-assign,assignment]
    try:
        one.call(one.consumer.perform_seek())
    finally:
        one.consumer.earliest_offsets = inner  # type: ignore[method-assign]
    assert delivered_meanwhile.is_set()
    wait_for(lambda: count(one.done) >= 9_000, "everything is delivered")
    assert rows(one.done) == log.read(topic)


def test_a_seek_where_nothing_is_committed_goes_back_to_the_beginning(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(300)))
    refused: set[TP] = set()
    ready = threading.Event()

    async def refuses_at_first(member: Member, message: ChunkMessage) -> bool:
        if not ready.is_set():
            refused.add(message.tp)
        return ready.is_set()

    one = member(topic, work=refuses_at_first).start()
    wait_for(lambda: len(refused) == 3, "something of every partition was fetched and not done")
    ready.set()
    one.call(one.consumer.perform_seek())
    wait_for(lambda: count(one.done) >= 300, "everything is delivered")
    assert rows(one.done) == log.read(topic)


def test_a_group_that_has_committed_nothing_begins_at_the_beginning(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(300)))
    one = member(topic).start()
    wait_for(lambda: count(one.done) >= 300, "everything is delivered")
    assert rows(one.done) == log.read(topic)
    assert one.consumer.expired == 0


def test_a_group_that_has_committed_offset_zero_begins_at_the_beginning(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(300)))
    one = member(topic)
    log.commit(one.group, {TP(topic, p): 0 for p in range(3)})
    one.start()
    wait_for(lambda: count(one.done) >= 300, "everything is delivered")
    assert rows(one.done) == log.read(topic)


def test_work_begins_where_the_group_has_committed(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(300)))
    one = member(topic)
    start = {TP(topic, 0): 40, TP(topic, 1): 100}
    log.commit(one.group, start)
    one.start()
    expected = {tp: found[start.get(tp, 0) :] for tp, found in log.read(topic).items()}
    wait_for(lambda: count(one.done) >= 160, "the rest is delivered")
    log.produce(topic, [b"more"])
    wait_for(lambda: count(one.done) >= 161, "and what comes")
    expected[TP(topic, 0)].append(log.read(topic)[TP(topic, 0)][-1])
    assert rows(one.done) == {tp: found for tp, found in expected.items() if found}


def test_what_retention_has_deleted_unread_is_counted_and_the_work_goes_on(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(300)))
    one = member(topic)
    log.commit(one.group, {TP(topic, 0): 10, TP(topic, 1): 60})
    log.delete_before({TP(topic, 0): 50, TP(topic, 1): 50, TP(topic, 2): 50})
    one.start()
    wait_for(lambda: count(one.done) >= 140, "what is left is delivered")
    assert one.consumer.expired == 40, (
        "of partition 0; partition 1 had read further, and of partition 2 nothing is known"
    )
    expected = log.read(topic)
    expected[TP(topic, 1)] = expected[TP(topic, 1)][10:]
    assert rows(one.done) == expected


def test_what_retention_has_deleted_is_counted_also_where_offset_zero_is_committed(log: Log, member: Members) -> None:
    topic = log.create("orders", 1)
    log.produce(topic, (b"%d" % n for n in range(100)), 1)
    one = member(topic, partitions=1)
    log.commit(one.group, {TP(topic, 0): 0})
    log.delete_before({TP(topic, 0): 30})
    one.start()
    wait_for(lambda: count(one.done) >= 70, "what is left is delivered")
    assert one.consumer.expired == 30
    assert rows(one.done) == log.read(topic, partitions=1)


def test_what_retention_deletes_before_a_member_at_work_has_read_it_is_counted(log: Log, member: Members) -> None:
    topic = log.create("orders", 1)
    log.produce(topic, [b"first"], 1)
    opened = threading.Event()

    async def held(member: Member, message: ChunkMessage) -> bool:
        while not opened.is_set():
            await asyncio.sleep(0.005)
        return True

    one = member(topic, partitions=1, work=held).start()
    wait_for(lambda: one.in_flight == 1, "the first is worked on")
    fetch, fetching = one.consumer._wait_next_records, threading.Event()

    async def held_too(timeout: float) -> Any:
        if not fetching.is_set():
            fetching.set()
            while not opened.is_set():
                await asyncio.sleep(0.005)
            await one.consumer._rewind([TP(topic, 0)])  # whatever was fetched in the background is fetched again
        return await fetch(timeout)

    one.consumer._wait_next_records = held_too  # type: ignore[method-assign]
    wait_for(fetching.is_set, "the next fetch waits")
    log.produce(topic, (b"%d" % n for n in range(99)), 1)
    # Or an answer on its way, with records that are deleted only now, would arrive behind the rewind: these would have been read.
    fetched = one.consumer._thread._consumer._fetcher._records
    wait_for(lambda: TP(topic, 0) in fetched, "the next records have been fetched in the background")
    log.delete_before({TP(topic, 0): 40})
    opened.set()
    wait_for(lambda: count(one.done) >= 61, "what is left is delivered")
    assert one.consumer.expired == 39
    assert [row.offset for row in rows(one.done)[TP(topic, 0)]] == [0, *range(40, 100)]


def test_a_position_that_is_still_asked_for_ends_no_member(
    log: Log, member: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = log.create("orders", 1)
    log.produce(topic, [b"first"], 1)
    one = member(topic, partitions=1).start()
    wait_for(lambda: count(one.done) == 1, "it has a position")
    looked: list[TP] = []

    def look(thread: object, now: float, tp: TP) -> None:
        looked.append(tp)
        raise AssertionError("aiokafka has no position")

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "verify_event_path", look)
    assert one.consumer.assignment()
    one.call(one.consumer.verify_all_partitions_active())
    assert looked == []


def test_a_topic_that_was_deleted_and_created_anew_is_read_from_its_beginning_and_committed(
    log: Log, member: Members
) -> None:
    topic = log.create("orders", 1)
    log.produce(topic, (b"%d" % n for n in range(10)), 1)
    one = member(topic, partitions=1)
    log.commit(one.group, {TP(topic, 0): 1000})
    one.start()
    wait_for(lambda: count(one.done) >= 10, "everything is delivered")
    wait_for(lambda: log.committed(one.group, topic, partitions=1) == {TP(topic, 0): 10}, "and committed")
    assert one.consumer.expired == 0
