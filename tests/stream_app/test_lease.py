"""A worker that slept longer than its session writes nothing over its successor."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator

from schemas import topics
from segstream import kafka
from stream_app.fastlane.lease import Lease, LeasedCoordinator, LeaseLost
from stream_app.health import Condition, judge
from tests.installation import Installation, orders
from tests.waiting import wait_for

SLEEPER = """
import os, pathlib, signal
from schemas import topics
from stream_app import outbox
send = outbox.send
async def sleeps_before_the_changelog(client, out):
    switch = pathlib.Path({path!r})
    if topics.USERS.name in out and switch.exists():
        switch.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
    return await send(client, out)
outbox.send = sleeps_before_the_changelog
"""

FORGOTTEN = """
import asyncio, pathlib
from schemas import topics
from stream_app import app
from stream_app.fastlane.batches import Record
from stream_app.outbox import Piece
from stream_app.work import Work
start = app.Worker._start
async def hooked(worker):
    await start(worker)
    asks, asked = worker.lease.wait, asyncio.Event()
    async def noted():
        asked.set()
        await asks()
    async def forgotten():
        while not pathlib.Path({path!r}).exists():
            await asyncio.sleep(0.02)
        worker.lease.lose()
        block = (topics.DRIFT_BLOCKS.name, 0, Record(None, b"on its way"))
        await worker.outbox.submit(Piece(Work(partition=0), acknowledge=lambda: None, extra=(block,), size=0))
        worker.lease.wait = noted
        await asked.wait()
        thread = worker.app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(thread._consumer._coordinator.reset_generation)
        pathlib.Path({path!r}).unlink()
    worker._guarded(forgotten())
app.Worker._start = hooked
"""


def test_who_was_given_up_with_nothing_but_drifts_blocks_on_their_way_joins_again(
    shop: Installation, tmp_path: Path
) -> None:
    one = shop.prepare()
    switch = tmp_path / "switch"
    worker = shop.worker(FORGOTTEN.format(path=str(switch)), SEGSTREAM_STALL_TIMEOUT="16").wait_ready()
    shop.produce(orders(500, 50))
    shop.caught_up()
    switch.touch()
    wait_for(lambda: not switch.exists(), "the group has given it up while a block waits to be sent", 180)
    worker.wait_ready()
    shop.produce(orders(500, 50, first=500))
    shop.caught_up()
    shop.assert_exact(one)
    assert b"on its way" in [message.value() for message in kafka.read(shop.settings, topics.DRIFT_BLOCKS.name)]


def test_who_wakes_after_its_session_in_the_middle_of_a_send_writes_nothing(shop: Installation, tmp_path: Path) -> None:
    one = shop.prepare()
    switch = tmp_path / "switch"
    sleeper = shop.worker(SLEEPER.format(path=str(switch))).wait_ready()
    shop.produce(orders(500, 50))
    shop.caught_up()
    switch.touch()
    shop.produce(orders(500, 50, first=500))
    wait_for(lambda: not switch.exists(), "it sleeps with customers in hand", 180)
    successor = shop.worker().wait_ready()
    shop.produce(orders(1000, 50, first=1000))
    shop.caught_up()
    shop.assert_exact(one)
    os.kill(sleeper.process.pid, signal.SIGCONT)
    wait_for(lambda: sleeper.process.poll() is not None, "it ends: what it had in hand is another's", 180)
    assert sleeper.process.returncode == 70
    assert "has given this worker up" in sleeper.log.read_text()
    shop.assert_exact(one)
    successor.kill()
    shop.worker().wait_ready()
    shop.produce(orders(200, 50, first=2000))
    shop.caught_up()
    shop.assert_exact(one)


def test_a_lease_holds_for_a_part_of_the_session_from_when_the_heartbeat_was_sent() -> None:
    now = [0.0]
    lease = Lease(clock=lambda: now[0])
    lost: list[LeaseLost] = []
    lease.on_lost = lost.append
    lease.take(0.0, 10.0)
    now[0] = 7.4
    assert lease.holds
    lease.renew(1.0, 10.0)  # answered late: it counts from when it was sent
    now[0] = 8.6
    assert not lease.holds
    lease.renew(8.5, 10.0)
    assert lease.holds
    lease.lose()
    assert (lease.holds, len(lost)) == (False, 1)
    lease.renew(8.6, 10.0)
    assert not lease.holds, "a heartbeat under way does not bring back what is another's"
    lease.take(8.6, 10.0)
    assert lease.holds


def test_who_may_write_nothing_is_not_ready_and_whose_customers_wait_says_so() -> None:
    well = Condition(
        started=True, recovering=False, owned=frozenset({0}), progress={}, model_id="m-1", model_refused="", redis_error="",
        projection_error="", leased=True,
    )  # fmt: skip
    assert judge(well).ready
    assert judge(replace(well, leased=False)).reasons == [
        "the consumer group has not answered lately: nothing may be written"
    ]
    waiting = judge(replace(well, rounds_error="its process has ended"))
    assert (waiting.ready, waiting.degraded) == (True, ["customers wait to be decided anew: its process has ended"])


def test_only_the_group_that_gives_customers_keeps_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    lease = Lease("segstream", lambda: now[0])
    lost: list[LeaseLost] = []
    lease.on_lost = lost.append
    lease.take(0.0, 10.0)
    now[0] = 20.0

    async def known(self: GroupCoordinator) -> bool:
        return True

    async def forgotten(self: GroupCoordinator) -> bool:
        self.member_id = ""
        return False

    def heartbeat(group: str) -> None:
        coordinator = LeasedCoordinator.__new__(LeasedCoordinator)
        coordinator.lease, coordinator.group_id, coordinator.member_id = lease, group, "m"
        coordinator._session_timeout_ms = 3_600_000
        asyncio.run(coordinator._do_heartbeat())

    for answer in (known, forgotten):
        monkeypatch.setattr(GroupCoordinator, "_do_heartbeat", answer)
        heartbeat("segstream-drift")
        assert (lease.holds, lost) == (False, [])
    heartbeat("segstream")
    assert len(lost) == 1
