"""Back-pressure: what is in flight is bounded, and an acknowledgement lets the fetch go on at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from stream_app.fastlane.transport import MAX_CHUNK, MAX_IN_FLIGHT, ChunkMessage
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Log, Member, count, rows
from tests.waiting import wait_for


def test_nothing_is_fetched_while_enough_is_in_flight_and_one_acknowledgement_wakes_the_fetch(
    log: Log, member: Members
) -> None:
    topic = log.create("orders", 1)
    total = (MAX_IN_FLIGHT + 10) * MAX_CHUNK
    log.produce(topic, (b"%d" % n for n in range(total)), 1, linger_ms=50)
    let_through = threading.Semaphore(0)

    async def held(member: Member, message: ChunkMessage) -> bool:
        while not let_through.acquire(blocking=False):
            await asyncio.sleep(0.005)
        return True

    one = member(topic, work=held, partitions=1, broker_max_poll_records=MAX_CHUNK).start()
    wait_for(lambda: len(one.consumer._in_flight) >= MAX_IN_FLIGHT, "enough is in flight")
    fetch, fetches = one.consumer._wait_next_records, []

    async def counted(timeout: float) -> Any:
        fetches.append(timeout)
        return await fetch(timeout)

    one.consumer._wait_next_records = counted  # type: ignore[method-assign]

    async def fetched(timeout: float) -> list[Any]:
        return [found async for found in one.consumer.getmany(timeout=timeout)]

    assert one.call(fetched(0.5)) == []
    assert len(one.consumer._in_flight) == MAX_IN_FLIGHT
    assert fetches == []

    async def woken() -> None:
        waiting = asyncio.ensure_future(fetched(timeout=3600.0))
        await asyncio.sleep(0)
        let_through.release()
        await asyncio.wait_for(waiting, 30)

    one.call(woken())
    wait_for(lambda: bool(fetches), "the consumer fetches again")
    let_through.release(10_000)
    wait_for(lambda: count(one.done) >= total, "everything is delivered")
    assert rows(one.done) == log.read(topic, partitions=1)


def test_a_rebalance_does_not_wait_for_room(log: Log, member: Members) -> None:
    topic = log.create("orders", 2)
    log.produce(topic, (b"%d" % n for n in range(40 * MAX_CHUNK)), 2, linger_ms=50)
    opened = threading.Event()

    async def held(member: Member, message: ChunkMessage) -> bool:
        while not opened.is_set():
            await asyncio.sleep(0.005)
        return True

    one = member(topic, work=held, partitions=2).start()
    wait_for(lambda: len(one.consumer._in_flight) >= MAX_IN_FLIGHT, "enough is in flight")
    two = member(topic, done=one.done, partitions=2)
    joining = threading.Thread(target=two.start)
    joining.start()
    wait_for(lambda: one.app.rebalancing, "the group rebalances")
    opened.set()
    joining.join()
    wait_for(lambda: count(one.done) >= 40 * MAX_CHUNK, "everything is delivered")
    assert rows(one.done) == log.read(topic, partitions=2)
