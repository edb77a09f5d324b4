"""Members come and go: nothing is lost, nothing out of order, and what was not done is done by whoever comes next."""

from __future__ import annotations

import asyncio
import threading

from stream_app.fastlane.transport import MAX_CHUNK, ChunkMessage
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Done, Log, Member, count, offsets, rows
from tests.waiting import wait_for


class Gate:
    """Work that waits until the gate is opened; counts who waits."""

    def __init__(self, first: int = 0) -> None:
        self.open = threading.Event()
        self.first = first
        """So many chunks go through before the gate matters."""
        self.waiting = 0

    async def __call__(self, member: Member, message: ChunkMessage) -> bool:
        if self.first > 0:
            self.first -= 1
            return True
        self.waiting += 1
        while not self.open.is_set():
            await asyncio.sleep(0.005)
        self.waiting -= 1
        return True


def test_a_second_member_joins_while_a_chunk_is_worked_on(log: Log, member: Members) -> None:
    topic = log.create("orders", 4)
    log.produce(topic, (b"%d" % n for n in range(12_000)), 4)
    gate, done = Gate(first=3), list[Done]()
    one = member(topic, done=done, work=gate, partitions=4).start()
    wait_for(lambda: gate.waiting == 1, "a chunk is being worked on")
    two = member(topic, done=done, partitions=4)
    joining = threading.Thread(target=two.start)
    joining.start()
    wait_for(lambda: one.app.rebalancing, "the group rebalances")
    assert gate.waiting == 1, "the chunk is still being worked on"
    gate.open.set()
    joining.join()
    wait_for(lambda: len(one.assigned) == len(two.assigned) == 2, "the partitions are shared")
    log.produce(topic, (b"more %d" % n for n in range(4_000)), 4)
    wait_for(lambda: count(done) >= 16_000, "everything is delivered")
    assert rows(done) == log.read(topic, partitions=4), "all of it, once, in order, over both members"
    assert {chunk.member for chunk in done} == {one.name, two.name}


def test_members_that_join_and_leave_again_and_again_under_load(log: Log, member: Members) -> None:
    topic = log.create("orders", 4)
    done: list[Done] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            log.produce(topic, (b"%d" % n for n in range(500)), 4)

    one = member(topic, done=done, partitions=4).start()
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            two = member(topic, done=done, partitions=4).start()
            wait_for(lambda two=two: len(two.assigned) == 2, "the partitions are shared")  # type: ignore[misc]
            so_far = count(done)
            wait_for(lambda so_far=so_far: count(done) > so_far + 2_000, "the work goes on")  # type: ignore[misc]
            one.stop()
            one = two
    finally:
        ended.set()
        thread.join()
    expected = log.read(topic, partitions=4)
    wait_for(lambda: count(done) >= sum(map(len, expected.values())), "everything is delivered")
    assert rows(done) == expected


def test_a_stop_in_mid_load_leaves_a_successor_nothing_to_repeat(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(60_000)))
    one = member(topic).start()
    wait_for(lambda: count(one.done) > 3 * MAX_CHUNK, "some is done")
    one.stop()
    assert 0 < count(one.done) < 60_000, "the stop must come in mid-load, or this shows nothing"
    ends = {tp: found[-1] + 1 for tp, found in one.offsets.items()}
    assert log.committed(one.group, topic) == ends
    two = member(topic, done=one.done).start()
    wait_for(lambda: count(two.done) >= 60_000, "the rest is delivered")
    assert rows(two.done) == log.read(topic)


def test_a_stop_commits_what_was_acknowledged_while_another_commit_was_under_way(log: Log, member: Members) -> None:
    topic = log.create("orders", 1)
    log.produce(topic, [b"first"], 1)
    one = member(topic, partitions=1).start()
    wait_for(lambda: count(one.done) == 1, "the first is done")
    commit, under_way, let_go = one.consumer._commit_offsets, asyncio.Event(), threading.Event()

    async def slow(found: object, **more: object) -> object:
        under_way.set()
        while not let_go.is_set():
            await asyncio.sleep(0.005)
        return await commit(found, **more)  # type: ignore[arg-type]

    one.consumer._commit_offsets = slow  # type: ignore[method-assign,assignment]
    log.produce(topic, [b"second"], 1)
    wait_for(under_way.is_set, "a commit is under way")
    log.produce(topic, [b"third"], 1)
    wait_for(lambda: count(one.done) == 3, "the third is done after that commit has begun")
    stopping = threading.Thread(target=one.stop)
    stopping.start()
    wait_for(lambda: one.consumer.should_stop, "the consumer is stopping")
    let_go.set()
    stopping.join()
    assert log.committed(one.group, topic, partitions=1) == dict.fromkeys(one.offsets, 3)


def test_what_was_skipped_is_never_committed_and_comes_again(log: Log, member: Members) -> None:
    topic = log.create("orders")
    log.produce(topic, (b"%d" % n for n in range(9_000)))
    through = 4
    skipped = threading.Event()

    async def skips_the_rest(member: Member, message: ChunkMessage) -> bool:
        """As Faust's streams skip what is left when a rebalance begins."""
        if count(member.done) >= through * MAX_CHUNK:
            skipped.set()
            return False
        return True

    one = member(topic, work=skips_the_rest).start()
    wait_for(skipped.is_set, "chunks are skipped")
    one.stop()
    done = one.done
    assert log.committed(one.group, topic) == {tp: found[-1] + 1 for tp, found in offsets(done).items()}
    two = member(topic, done=done).start()
    wait_for(lambda: count(two.done) >= 9_000, "the rest is delivered")
    assert rows(two.done) == log.read(topic)


def test_the_committed_offset_does_not_pass_a_skipped_chunk_when_later_ones_are_done(log: Log, member: Members) -> None:
    topic = log.create("orders", 1)
    log.produce(topic, (b"%d" % n for n in range(5 * MAX_CHUNK)), 1)
    seen: list[int] = []

    async def skips_the_third(member: Member, message: ChunkMessage) -> bool:
        seen.append(message.begin)
        return len(seen) != 3

    one = member(topic, work=skips_the_third, partitions=1).start()
    wait_for(lambda: sum(len(chunk.rows) for chunk in one.done) > 3 * MAX_CHUNK, "later chunks are done")
    one.stop()
    assert list(log.committed(one.group, topic, partitions=1).values()) == [seen[2]]


def test_what_was_not_done_comes_again_after_a_rebalance(log: Log, member: Members) -> None:
    topic = log.create("orders", 2)
    log.produce(topic, (b"%d" % n for n in range(2_000)), 2)
    refuse = threading.Event()
    refuse.set()
    refused = threading.Event()

    async def refuses(member: Member, message: ChunkMessage) -> bool:
        if refuse.is_set():
            refused.set()
            return False
        return True

    one = member(topic, work=refuses, partitions=2).start()
    wait_for(refused.is_set, "chunks are skipped")
    refuse.clear()
    two = member(topic, done=one.done, partitions=2).start()
    wait_for(lambda: len(one.assigned) == len(two.assigned) == 1, "the partitions are shared")
    wait_for(lambda: count(one.done) >= 2_000, "what was skipped is done")
    assert {tp: sorted(set(found)) for tp, found in rows(one.done).items()} == log.read(topic, partitions=2)
