"""More faults: of workers, of Redis, of what is sent, of models and of the changelog, and of several brokers."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator
from typing import Any, Final

import redis
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from schemas import topics
from segstream import kafka
from tests.faults.scenarios import PATIENCE, Fault, Message, Stage, owns
from tests.installation import Installation
from tests.schemas.models import sealed
from tests.waiting import wait_for

SESSION: Final = 6.0
"""Seconds of the workers' session in these runs."""
BIG: Final = 10_000_000


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


def _killed_once(stage: Stage) -> None:
    stage.at(7)
    stage.crew.kill("a")
    stage.crew.join("a").wait_ready(PATIENCE)


def _redis_killed(stage: Stage) -> None:
    assert stage.redis is not None
    stage.at(5)
    stage.redis.kill()
    stage.after(8)
    stage.redis.start()


def _redis_emptied(stage: Stage) -> None:
    assert stage.redis is not None
    stage.at(5)
    stage.redis.kill()
    shutil.rmtree(stage.redis.directory)
    stage.redis.start()
    stage.at(12)


def _client(stage: Stage) -> redis.Redis:
    assert stage.redis is not None
    return redis.Redis.from_url(stage.redis.url, socket_timeout=30)


def _redis_full(stage: Stage) -> None:
    stage.at(4)
    client = _client(stage)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    stage.at(14)
    client.config_set("maxmemory", "0")


def _redis_slow(stage: Stage) -> None:
    client = _client(stage)
    for second in (4, 11):
        stage.at(second)
        client.execute_command("CLIENT", "PAUSE", "6000", "ALL")


def _redis_old(stage: Stage) -> None:
    """A failover to a replica that has the data of some seconds ago."""
    assert stage.redis is not None
    stage.at(5)
    client = _client(stage)
    client.config_set("appendfsync", "always")
    old = stage.redis.directory.with_name("redis-replica")
    shutil.copytree(stage.redis.directory, old)
    stage.at(12)
    stage.redis.kill()
    shutil.rmtree(stage.redis.directory)
    old.rename(stage.redis.directory)
    stage.redis.start()
    # Whoever was written meanwhile is written again: that is what an operator does after such a failover.
    _client(stage).delete("segstream:projected")
    stage.at(15)


_POISON: Final = (
    b"not json",
    b"",
    b"[" * 100_000,
    b"\xff\xfe\x00",
    b'{"type":"track","event":"Order Completed","userId":"1","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1,"total":"NaN"}}',
    b'{"type":"track","event":"Order Completed","userId":"no such key","timestamp":"2026-01-01T00:00:00Z","properties":{"order_id":1}}',
    b'{"type":"track","event":"User Deleted","userId":"1","timestamp":"2026-01-01T00:00:00Z","properties":{"until":"2099-01-01T00:00:00Z","signature":"x"}}',
)


def _poisoned(messages: Iterator[Message]) -> Iterator[Message]:
    """Every tenth message is one that nobody can use."""
    bad = itertools.cycle(_POISON)
    for number, message in enumerate(messages):
        yield message
        if number % 9 == 0:
            yield message[0], b"1", next(bad)


def _ten_megabytes(stage: Stage) -> None:
    """One message of 10 MB among the others, on a topic that takes such ones."""
    shop = stage.crew.shop
    stage.at(4)
    entry = ConfigEntry("max.message.bytes", str(2 * BIG), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topics.ORDERS.name, incremental_configs=[entry])
    admin = kafka.admin(shop.settings)  # it must live until the answer is there
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    client = Producer({"bootstrap.servers": shop.kafka, "partitioner": "murmur2_random", "message.max.bytes": 2 * BIG})
    body = json.dumps({"type": "track", "padding": "x" * BIG}).encode()

    def stored(error: Any, message: Any) -> None:
        assert error is None, error
        shop.produced.append((message.topic(), message.partition(), message.offset(), message.key(), message.value()))

    client.produce(topics.ORDERS.name, body, b"1", on_delivery=stored)
    assert client.flush(60) == 0
    _killed_once(stage)


def _letters(shop: Installation) -> list[str]:
    """Each bad message is among the dead letters, under its place."""
    bad = [row for row in shop.produced if row[4] in _POISON or len(row[4]) > BIG]
    there = {
        (row["source_topic"], int(row["source_partition"]), int(row["source_offset"])) for row in shop.dead_letters()
    }
    missing = [row[:3] for row in bad if row[:3] not in there]
    return [f"{len(missing)} of {len(bad)} bad messages are not among the dead letters"] if missing or not bad else []


def _shuffled(messages: Iterator[Message]) -> Iterator[Message]:
    """Every message three times, within 600 in any order."""
    while part := list(itertools.islice(messages, 200)):
        yield from random.Random(len(part)).sample(part * 3, 3 * len(part))


def _artifacts_corrupt(stage: Stage) -> None:
    """An artifact with one byte wrong, once in each sixteenth of it; each is refused, and the model in use goes on."""
    shop = stage.crew.shop
    good, data = sealed()
    for region in range(16):
        place = (2 * region + 1) * len(data) // 32
        damaged = data[:place] + bytes([data[place] ^ 0x11]) + data[place + 1 :]
        name = f"m-bad{region:09}"
        shop.registry.publish(name, damaged, at=time.time_ns() // 1000, by="test")
        worker = stage.crew.at("a")
        wait_for(
            lambda name=name, worker=worker: name in str(worker.ready().get("degraded")), f"{name} is refused", PATIENCE
        )  # type: ignore[misc]
        assert worker.ready()["model_id"] == good
    shop.registry.activate(good, at=time.time_ns() // 1000, by="test")


def _stranger_in_the_changelog(stage: Stage) -> None:
    """A record of another application under a customer's key: workers stop rather than overwrite it, and go on once it is mended."""
    shop = stage.crew.shop
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
    assert "UnreadableState" in "".join(worker.log.read_text() for worker in shop.workers)
    write(good)
    wait_for(lambda: bool(stage.crew.at("a").ready().get("ready")), "it goes on", PATIENCE)


def _leader_then_coordinator(stage: Stage) -> None:
    assert stage.cluster is not None
    stage.at(6)
    stage.bounce(stage.cluster.leader(), after=3)
    stage.after(3)
    stage.bounce(stage.cluster.coordinator(stage.crew.shop.settings.app_id), after=3)


def _cut_off(stage: Stage) -> None:
    assert stage.cluster is not None
    stage.at(6)
    for proxy in stage.cluster.proxies:
        proxy.cut()
    stage.after(3 * SESSION)
    for proxy in stage.cluster.proxies:
        proxy.thaw()
    stage.after(5)


TROUBLES: Final = (
    Fault(
        name="rolling-restart", text="each of three workers is stopped and started again, one after the other",
        workers=("a", "b", "c"), rate=2000, seconds=26, customers=10_000, inflict=_rolling_restart,
    ),
    Fault(
        name="one-three-one", text="two workers join at 4 s, two of the three leave at 18 s",
        workers=("a",), rate=2000, seconds=24, customers=10_000, inflict=_one_three_one,
    ),
    Fault(
        name="asleep", text="SIGSTOP of one of two workers for two and a half sessions, then SIGCONT",
        workers=("a", "b"), rate=2000, seconds=26, customers=10_000, inflict=_asleep,
    ),
    Fault(
        name="redis-killed", text="kill -9 of Redis at 5 s, started again 8 s later",
        workers=("a",), rate=2000, seconds=16, customers=5000, inflict=_redis_killed,
    ),
    Fault(
        name="redis-emptied", text="kill -9 of Redis at 5 s, started again without its data",
        workers=("a",), rate=2000, seconds=14, customers=5000, inflict=_redis_emptied,
    ),
    Fault(
        name="redis-full", text="Redis takes no writes for 10 s (maxmemory)",
        workers=("a",), rate=2000, seconds=16, customers=5000, inflict=_redis_full,
    ),
    Fault(
        name="redis-slow", text="Redis answers nobody for 6 s, twice",
        workers=("a",), rate=2000, seconds=18, customers=5000, inflict=_redis_slow,
    ),
    Fault(
        name="redis-old", text="Redis comes back with the data of 7 s ago, and the mark of the projection is deleted",
        workers=("a",), rate=2000, seconds=16, customers=5000, inflict=_redis_old,
    ),
    Fault(
        name="poisoned", text="every tenth message cannot be used; kill -9 of the only worker at 7 s",
        workers=("a",), rate=2000, seconds=14, customers=5000, inflict=_killed_once, mixed=_poisoned, check=_letters,
    ),
    Fault(
        name="ten-megabytes", text="a message of 10 MB at 4 s; kill -9 of the only worker at 7 s",
        workers=("a",), rate=1000, seconds=14, customers=5000, inflict=_ten_megabytes, check=_letters,
    ),
    Fault(
        name="one-hot-key", text="all orders are one customer's; kill -9 of the only worker at 7 s",
        workers=("a",), rate=1000, seconds=14, customers=1, inflict=_killed_once,
    ),
    Fault(
        name="thrice-and-shuffled", text="every order comes three times and out of order; kill -9 of the only worker at 7 s",
        workers=("a",), rate=2000, seconds=14, customers=3000, inflict=_killed_once, mixed=_shuffled,
    ),
    Fault(
        name="artifact-corrupt", text="artifacts with one byte wrong, in each of 16 regions, are published under load",
        workers=("a",), rate=1000, seconds=10, customers=3000, inflict=_artifacts_corrupt,
    ),
    Fault(
        name="stranger-in-the-changelog", text="a foreign record under a customer's key in the changelog, later mended",
        workers=("a",), rate=500, seconds=12, customers=50, inflict=_stranger_in_the_changelog,
    ),
    Fault(
        name="cut-off", text="the network between one of two workers and the broker is cut for three sessions",
        workers=("a", "b"), rate=2000, seconds=30, customers=10_000, inflict=_cut_off, behind_door=("a",),
    ),
    Fault(
        name="three-brokers",
        text="three brokers, three copies: kill -9 of a partition's leader at 6 s, then of the group's coordinator, each started again after 3 s",
        workers=("a", "b"), rate=500, seconds=20, customers=2000, inflict=_leader_then_coordinator, brokers=3,
    ),
)  # fmt: skip
