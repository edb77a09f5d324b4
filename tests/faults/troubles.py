"""More faults: of workers, of Redis, of models and of the changelog, and of several brokers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import redis

from schemas import topics
from schemas.customer import FORMAT
from segstream import kafka
from tests.faults.scenarios import PATIENCE, Fault, Stage, owns
from tests.schemas.models import sealed
from tests.waiting import wait_for

SESSION: Final = 6.0
"""Seconds of the workers' session in these runs."""


def _rolling_restart(stage: Stage) -> None:
    for second, place in ((5, "a"), (12, "b"), (19, "c")):
        stage.at(second)
        stage.crew.leave(place)
        stage.crew.join(place).wait_ready(PATIENCE)


def _one_three_one(stage: Stage) -> None:
    stage.at(4)
    for place in ("b", "c"):
        stage.crew.join(place)
    for place in ("b", "c"):
        stage.crew.at(place).wait_ready(PATIENCE)
    stage.at(18)
    stage.crew.leave("a")
    stage.crew.leave("b")
    owns(stage.crew.at("c"), 4)


def _asleep(stage: Stage) -> None:
    stage.at(6)
    sleeper = stage.crew.suspend("a")
    stage.after(2.5 * SESSION)
    stage.crew.resume(sleeper)
    stage.at(25)


def _redis_killed(stage: Stage) -> None:
    stage.at(5)
    stage.redis.kill()
    stage.after(8)
    stage.redis.start()


def _redis_emptied(stage: Stage) -> None:
    stage.at(5)
    stage.redis.kill()
    shutil.rmtree(stage.redis.directory)
    stage.redis.start()
    stage.at(12)


def redis_client(stage: Stage) -> redis.Redis:
    """A client of our own."""
    return redis.Redis.from_url(stage.redis.url, socket_timeout=30)


def _redis_full(stage: Stage) -> None:
    stage.at(4)
    client = redis_client(stage)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    stage.at(14)
    client.config_set("maxmemory", "0")


def _redis_slow(stage: Stage) -> None:
    client = redis_client(stage)
    for second in (4, 11):
        stage.at(second)
        client.execute_command("CLIENT", "PAUSE", "6000", "ALL")


def _redis_old(stage: Stage) -> None:
    """A failover to a replica that has the data of some seconds ago."""
    stage.at(5)
    client = redis_client(stage)
    client.config_set("appendfsync", "always")
    old = stage.redis.directory.with_name("redis-replica")
    shutil.copytree(stage.redis.directory, old)
    stage.at(12)
    stage.redis.kill()
    shutil.rmtree(stage.redis.directory)
    old.rename(stage.redis.directory)
    stage.redis.start()
    # Whoever was written meanwhile is written again: that is what an operator does after such a failover.
    redis_client(stage).delete("segstream:projected")
    stage.at(15)


def _artifacts_corrupt(stage: Stage) -> None:
    """An artifact with one byte wrong, once in each sixteenth of it; each is refused, and the model in use goes on."""
    shop = stage.shop
    good, data = sealed()
    for region in range(16):
        place = (2 * region + 1) * len(data) // 32
        damaged = data[:place] + bytes([data[place] ^ 0x11]) + data[place + 1 :]
        name = f"m-bad{region:09}"
        shop.registry.publish(name, damaged, at=time.time_ns() // 1000, by="test")
        worker = stage.crew.at("a")
        wait_for(lambda name=name, log=worker.log: name in log.read_text(), f"{name} is refused", PATIENCE)  # type: ignore[misc]
        assert worker.ready()["model_id"] == good
        assert "refused" in str(worker.ready()["degraded"])
    shop.registry.publish(good, data, at=time.time_ns() // 1000, by="test")  # only so many versions are kept


def _stranger_in_the_changelog(stage: Stage) -> None:
    """A record of another application under a customer's key: workers stop rather than overwrite it, and go on once it is mended."""
    shop = stage.shop
    stage.at(5)
    stage.crew.kill("a")
    stage.after(1)
    key = b"7"
    partition = kafka.partition_of(key, shop.settings.partitions)
    good = [message.value() for message in kafka.of_key(shop.settings, topics.USERS.name, key)][-1]

    def write(value: bytes) -> None:
        client = kafka.producer(shop.settings)
        client.produce(topics.USERS.name, value, key, partition=partition)
        assert client.flush(30) == 0

    write(b"\x93\x01 of another format")
    stage.crew.join("a")
    wait_for(lambda: 70 in stage.crew.restarts, "a worker stops at it", PATIENCE)
    assert "UnreadableState" in _said(stage)
    write(msgspec.msgpack.encode([FORMAT - 1, [], 0]))
    wait_for(lambda: f"it is of format {FORMAT - 1}" in _said(stage), "the next one stops at an older format", PATIENCE)
    write(good)
    wait_for(lambda: bool(stage.crew.at("a").ready().get("ready")), "it goes on", PATIENCE)


def _said(stage: Stage) -> str:
    return "".join(worker.log.read_text() for worker in stage.shop.workers)


def _leader_then_coordinator(stage: Stage) -> None:
    stage.at(6)
    stage.bounce(stage.cluster.leader(), after=3)
    stage.after(3)
    stage.bounce(stage.cluster.coordinator(stage.shop.settings.app_id), after=3)


def _cut_off(stage: Stage) -> None:
    stage.at(6)
    for proxy in stage.cluster.proxies:
        proxy.cut()
    stage.after(3 * SESSION)
    for proxy in stage.cluster.proxies:
        proxy.thaw()
    stage.after(5)


def _cut_off_from_one(stage: Stage) -> None:
    stage.at(6)
    proxy = stage.cluster.proxies[stage.cluster.leader().number - 1]
    proxy.cut()
    stage.after(3 * SESSION)
    proxy.thaw()
    stage.after(3)


def _slow(stage: Stage) -> None:
    stage.at(4)
    for proxy in stage.cluster.proxies:
        proxy.delay = 0.5
    stage.at(16)
    for proxy in stage.cluster.proxies:
        proxy.delay = 0.0


@contextmanager
def _through_doors(stage: Stage) -> Iterator[None]:
    """The worker at place a reaches the brokers through proxies."""
    stage.crew.environments["a"] = {"SEGSTREAM_KAFKA": stage.cluster.doors}
    try:
        yield
    finally:
        for proxy in stage.cluster.proxies:
            proxy.delay = 0.0
            proxy.thaw()


def nobody_ended(stage: Stage) -> list[str]:
    """No worker ended by itself."""
    return [f"a worker ended by itself with {code}" for code in stage.crew.restarts]


TROUBLES: Final = (
    Fault(
        name="rolling-restart", text="each of three workers is stopped and started again, one after the other",
        workers=("a", "b", "c"), rate=1000, seconds=26, customers=10_000, inflict=_rolling_restart,
    ),
    Fault(
        name="one-three-one", text="two workers join at 4 s, two of the three leave at 18 s",
        workers=("a",), rate=1000, seconds=24, customers=10_000, inflict=_one_three_one,
    ),
    Fault(
        name="asleep", text="SIGSTOP of one of two workers for two and a half sessions, then SIGCONT",
        workers=("a", "b"), rate=1000, seconds=26, customers=10_000, inflict=_asleep,
    ),
    Fault(
        name="redis-killed", text="kill -9 of Redis at 5 s, started again 8 s later",
        workers=("a",), rate=1000, seconds=16, customers=5000, inflict=_redis_killed,
    ),
    Fault(
        name="redis-emptied", text="kill -9 of Redis at 5 s, started again without its data",
        workers=("a",), rate=1000, seconds=14, customers=5000, inflict=_redis_emptied,
    ),
    Fault(
        name="redis-full", text="Redis takes no writes for 10 s (maxmemory)",
        workers=("a",), rate=1000, seconds=16, customers=5000, inflict=_redis_full,
    ),
    Fault(
        name="redis-slow", text="Redis answers nobody for 6 s, twice",
        workers=("a",), rate=1000, seconds=18, customers=5000, inflict=_redis_slow,
    ),
    Fault(
        name="redis-old", text="Redis comes back with the data of 7 s ago, and the mark of the projection is deleted",
        workers=("a",), rate=1000, seconds=16, customers=5000, inflict=_redis_old,
    ),
    Fault(
        name="artifact-corrupt", text="artifacts with one byte wrong, in each of 16 regions, are published under load",
        workers=("a",), rate=1000, seconds=10, customers=3000, inflict=_artifacts_corrupt,
    ),
    Fault(
        name="stranger-in-the-changelog", text="a foreign record under a customer's key in the changelog, then one of an older format, later mended",
        workers=("a",), rate=500, seconds=12, customers=50, inflict=_stranger_in_the_changelog,
    ),
    Fault(
        name="cut-off", text="the network between one of two workers and all three brokers is cut for three sessions",
        workers=("a", "b"), rate=1000, seconds=28, customers=5000, inflict=_cut_off, arrange=_through_doors, cluster=True,
    ),
    Fault(
        name="cut-off-from-one", text="the network between one of two workers and one of three brokers, which leads a partition, is cut for three sessions",
        workers=("a", "b"), rate=1000, seconds=28, customers=5000, inflict=_cut_off_from_one, arrange=_through_doors, cluster=True,
    ),
    Fault(
        name="broker-slow", text="whatever passes between one of two workers and the brokers takes half a second longer, for 12 s",
        workers=("a", "b"), rate=1000, seconds=20, customers=5000, inflict=_slow, arrange=_through_doors, check=nobody_ended, cluster=True,
    ),
    Fault(
        name="three-brokers",
        text="three brokers, three copies: kill -9 of a partition's leader at 6 s, then of the group's coordinator, each started again after 3 s",
        workers=("a", "b"), rate=500, seconds=20, customers=2000, inflict=_leader_then_coordinator, cluster=True,
    ),
)  # fmt: skip
