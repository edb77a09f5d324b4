"""The consumer in the loop of the work: it has no thread, ends nobody else's tasks, and a failure reaches whoever starts it."""

from __future__ import annotations

import asyncio
import threading

import faust
import pytest
from aiokafka.errors import KafkaConnectionError
from mode.threads import WorkerThread

from stream_app.fastlane.transport import ChunkConsumer, ChunkTransport
from tests.fastlane.conftest import Members
from tests.fastlane.lane import Log


def test_what_fetches_and_what_keeps_the_membership_runs_in_the_loop_of_the_work(log: Log, member: Members) -> None:
    one = member(log.create("orders", 1)).start()

    async def running() -> set[str]:
        return {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]

    assert {"Fetcher._fetch_requests_routine", "GroupCoordinator._heartbeat_routine"} <= one.call(running())
    assert not [thread for thread in threading.enumerate() if isinstance(thread, WorkerThread)]


def test_what_else_runs_in_the_loop_outlives_the_consumer(log: Log, member: Members) -> None:
    one = member(log.create("orders", 1)).start()

    async def outlives() -> bool:
        other = asyncio.ensure_future(asyncio.Event().wait())
        await one.consumer.stop()
        served, going_on = one.consumer._thread._thread.task.done(), not other.done()
        other.cancel()
        return bool(served and going_on)

    assert one.call(outlives())


def test_a_consumer_that_cannot_start_tells_whoever_starts_it_and_is_closed() -> None:
    async def law() -> None:
        app = faust.App("nobody", broker="kafka://127.0.0.1:1", web_enabled=False, store="memory://")
        app._transport = ChunkTransport(app.conf.broker_consumer, app)
        consumer: ChunkConsumer = app._new_consumer()  # type: ignore[assignment]
        with pytest.raises(KafkaConnectionError):
            await asyncio.wait_for(consumer.start(), 30)
        await asyncio.wait({consumer._thread._thread.task}, timeout=30)
        assert consumer._thread._consumer is not None
        assert consumer._thread._consumer._closed

    asyncio.run(law())
