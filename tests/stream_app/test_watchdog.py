"""A worker that does not get on says so and ends itself; one that only has to wait does neither."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from subprocess import TimeoutExpired

import pytest

from sandbox.kafka import Kafka, missing_tools
from sandbox.process import free_port
from sandbox.redis import Redis
from tests.faults.proxy import FETCH, Proxy
from tests.installation import Installation, WorkerProcess, orders
from tests.waiting import wait_for

PATIENCE = {"SEGSTREAM_STALL_TIMEOUT": "16"}
SLOW = 180.0
"""Seconds that a wait may last: the machine may be as slow as it likes."""
HOOK = """
import asyncio, pathlib, time
from stream_app import app
start = app.Worker._start
async def hooked(worker):
    await start(worker)
    async def wait():
        while not pathlib.Path({path!r}).exists():
            await asyncio.sleep(0.1)
        {then}
    worker._guarded(wait())
app.Worker._start = hooked
"""
pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"not on the PATH: {', '.join(missing_tools())}")


def hooked(shop: Installation, switch: Path, then: str) -> WorkerProcess:
    """A worker in whose event loop something happens once the file is there."""
    return shop.worker(HOOK.format(path=str(switch), then=then), **PATIENCE)


def ends_itself(worker: WorkerProcess, because: str, task: str = "task ") -> None:
    wait_for(lambda: worker.process.poll() is not None, "it ends itself", SLOW)
    said = worker.log.read_text()
    assert worker.process.returncode == 70, said[-3000:]
    assert because in said
    assert "thread watchdog" in said, "the stacks of the threads"
    assert task in said, "and of the tasks"


def goes_on_exactly(shop: Installation) -> None:
    """A successor makes of it what a plain computation makes of it."""
    shop.worker().wait_ready()
    shop.caught_up()
    shop.assert_exact(shop.publish())


def test_a_held_event_loop_is_seen_from_outside_it(shop: Installation, tmp_path: Path) -> None:
    shop.prepare()
    worker = hooked(shop, tmp_path / "switch", "time.sleep(300)").wait_ready()
    shop.produce(orders(500, 50))
    (tmp_path / "switch").touch()
    shop.produce(orders(500, 50, first=500))
    ends_itself(worker, "the event loop has been held")
    goes_on_exactly(shop)


def test_a_worker_that_the_group_has_forgotten_is_seen(shop: Installation, tmp_path: Path) -> None:
    shop.prepare()
    thread = "thread = worker.app.consumer._thread; k = thread._consumer._coordinator"
    forget = f"{thread}; [thread.thread_loop.call_soon_threadsafe(t.cancel) for t in (k._coordination_task, k._heartbeat_task)]"
    worker = hooked(shop, tmp_path / "switch", forget).wait_ready()
    (tmp_path / "switch").touch()
    ends_itself(worker, "does not know this worker")


def test_a_worker_that_cannot_finish_what_it_has_in_hand_ends_all_the_same_when_it_is_told_to(
    shop: Installation, tmp_path: Path
) -> None:
    shop.prepare()
    never = "worker.outbox.drain = asyncio.Event().wait; (pathlib.Path({!r})).touch()".format(str(tmp_path / "done"))
    worker = hooked(shop, tmp_path / "switch", never).wait_ready()
    (tmp_path / "switch").touch()
    wait_for((tmp_path / "done").exists, "nothing is ever drained", SLOW)
    worker.process.send_signal(signal.SIGTERM)
    wait_for(lambda: worker.process.poll() is not None, "it ends")
    assert worker.process.returncode == 70
    assert "told to stop and does not end" in worker.log.read_text()


def test_a_broker_that_does_not_answer_is_waited_for(shop: Installation, own_kafka: Kafka) -> None:
    one = shop.prepare()
    worker = shop.worker(**PATIENCE).wait_ready()
    shop.produce(orders(500, 50))
    shop.caught_up()
    assert own_kafka.identity is not None
    os.kill(own_kafka.identity.pid, signal.SIGSTOP)
    try:
        wait_for(
            lambda: any("no Kafka broker answers" in text for text in worker.ready()["reasons"]), "it is told", SLOW
        )
        assert worker.ready()["ready"] is False
        with pytest.raises(TimeoutExpired):
            worker.process.wait(20)  # longer than it would stand still where a broker answers
    finally:
        os.kill(own_kafka.identity.pid, signal.SIGCONT)
    worker.wait_ready()
    shop.produce(orders(500, 50, first=500))
    shop.caught_up()
    shop.assert_exact(one)
    assert "the worker ends" not in worker.log.read_text()


class ProxiedKafka(Kafka):
    """A broker that tells its clients the address of the proxy before it."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.behind = free_port()

    def _command(self) -> list[str]:
        command = super()._command()
        properties = self.directory / "server.properties"
        text = properties.read_text()
        properties.write_text(
            text.replace(
                f"listeners=PLAINTEXT://127.0.0.1:{self.port},", f"listeners=PLAINTEXT://127.0.0.1:{self.behind},", 1
            )
        )
        return command


def test_a_fetch_that_is_never_answered_is_seen_while_the_broker_answers_others(
    own_redis: Redis, tmp_path: Path
) -> None:
    broker = ProxiedKafka(tmp_path / "kafka")
    assert broker.port is not None
    proxy = Proxy(broker.port, broker.behind)
    shop = Installation(tmp_path / "home", broker.bootstrap, own_redis.url)
    try:
        broker.start()
        shop.prepare()
        worker = shop.worker(**PATIENCE).wait_ready()
        shop.produce(orders(500, 50))
        shop.caught_up()
        assert proxy.freeze(FETCH) > 0
        shop.produce(orders(500, 50, first=500))
        ends_itself(worker, "records wait and none was acknowledged")
        proxy.thaw()
        goes_on_exactly(shop)
    finally:
        shop.close()
        broker.stop()
        proxy.close()
