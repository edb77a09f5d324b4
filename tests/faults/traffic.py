"""What is sent: what nobody can use, what is too large, too much, too often, out of order, of one customer, or from the future."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from schemas import topics
from schemas.events import InvalidEvent, UserDeleted, decode
from segstream import kafka
from tests.faults.scenarios import PATIENCE, Fault, Message, Stage
from tests.installation import order

BIG: Final = 10_000_000


def _killed_once(stage: Stage) -> None:
    stage.at(7)
    stage.crew.kill("a")
    stage.crew.join("a").wait_ready(PATIENCE)


POISON: Final = (
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
    bad = itertools.cycle(POISON)
    for number, message in enumerate(messages):
        yield message
        if number % 9 == 0:
            yield message[0], b"1", next(bad)


def _ten_megabytes(stage: Stage) -> None:
    """One message of 10 MB among the others, on a topic that takes such ones."""
    shop = stage.shop
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
        shop.acknowledged((message.topic(), message.partition(), message.offset(), message.key(), message.value()))

    client.produce(topics.ORDERS.name, body, b"1", on_delivery=stored)
    assert client.flush(60) == 0
    _killed_once(stage)


def letters(stage: Stage) -> list[str]:
    """Each bad message is among the dead letters, under its place."""
    bad = [row for row in stage.shop.produced if _is_bad(row[3], row[4])]
    there = {
        (row["source_topic"], int(row["source_partition"]), int(row["source_offset"]))
        for row in stage.shop.dead_letters()
    }
    missing = [row[:3] for row in bad if row[:3] not in there]
    return [f"{len(missing)} of {len(bad)} bad messages are not among the dead letters"] if missing or not bad else []


def _is_bad(key: bytes, value: bytes) -> bool:
    try:
        return isinstance(decode(key, value), UserDeleted)  # unsigned, all of them
    except InvalidEvent:
        return True


def _shuffled(messages: Iterator[Message]) -> Iterator[Message]:
    """Every message three times, within 600 in any order."""
    while part := list(itertools.islice(messages, 200)):
        yield from random.Random(len(part)).sample(part * 3, 3 * len(part))


_TIMES: Final = ("2027-06-01T00:00:00Z", "2099-12-31T23:59:59Z", "2100-01-01T00:00:01Z", "9999-12-31T23:59:59Z")
"""The last two are further away than anything that is believed."""


def _from_the_future(messages: Iterator[Message]) -> Iterator[Message]:
    """Beside each tenth order one of the same customer that says it was made long after today."""
    times = itertools.cycle(_TIMES)
    for number, message in enumerate(messages):
        yield message
        if number % 9 == 0:
            yield order(int(message[1]), 10_000_000 + number, timestamp=next(times))


BURST: Final = 1_000_000
"""Customers of whom nothing was heard before, all at once."""


def _burst(messages: Iterator[Message]) -> Iterator[Message]:
    """In the middle of the orders one of each of very many others."""
    yield from itertools.islice(messages, 4000)
    yield from (order(1_000_000 + number, 20_000_000 + number) for number in range(BURST))
    yield from messages


TRAFFIC: Final = (
    Fault(
        name="poisoned", text="every tenth message cannot be used; kill -9 of the only worker at 7 s",
        workers=("a",), rate=1000, seconds=12, customers=5000, inflict=_killed_once, mixed=_poisoned, check=letters,
    ),
    Fault(
        name="ten-megabytes", text="a message of 10 MB at 4 s; kill -9 of the only worker at 7 s",
        workers=("a",), rate=1000, seconds=12, customers=5000, inflict=_ten_megabytes, check=letters,
    ),
    Fault(
        name="one-hot-key", text="all orders are one customer's; kill -9 of the only worker at 7 s",
        workers=("a",), rate=1000, seconds=12, customers=1, inflict=_killed_once,
    ),
    Fault(
        name="thrice-and-shuffled", text="every order comes three times and out of order; kill -9 of the only worker at 7 s",
        workers=("a",), rate=1000, seconds=12, customers=3000, inflict=_killed_once, mixed=_shuffled,
    ),
    Fault(
        name="from-the-future", text="every tenth order is dated a year ahead, 73 years ahead, or beyond 2100 (refused); kill -9 of the only worker at 7 s",
        workers=("a",), rate=1000, seconds=12, customers=3000, inflict=_killed_once, mixed=_from_the_future, check=letters,
    ),
    Fault(
        name="burst", text="a million customers order for the first time, as fast as they can be sent; kill -9 of one of two workers at 7 s",
        workers=("a", "b"), rate=100_000, seconds=11, customers=1000, inflict=_killed_once, mixed=_burst,
    ),
)  # fmt: skip
