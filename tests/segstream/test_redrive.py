"""Dead letters are sent again by reason, each once, and none for ever."""

from __future__ import annotations

import json

import psutil
from confluent_kafka import Producer

from schemas import topics
from segstream import kafka
from segstream.redrive import redrive
from tests.installation import Installation, order, orders

BOTH = [topic.name for topic in topics.INPUTS]


def letters(shop: Installation, source: str, errors: list[str]) -> None:
    """Dead letters as a worker writes them, of a message that can be used now."""
    client = Producer({"bootstrap.servers": shop.kafka})
    for number, error in enumerate(errors):
        _, key, value = order(1, number)
        headers: list[tuple[str, str | bytes | None]] = [("error", error.encode())]
        client.produce(topics.dead_letter_topic(source), value, key, headers=headers, partition=number % 2)
    assert client.flush(30) == 0


def arrived(shop: Installation, source: str) -> int:
    return sum(1 for _ in kafka.read(shop.settings, source))


def test_letters_of_one_error_are_sent_again_without_the_others_and_each_once(shop: Installation) -> None:
    kafka.create(shop.settings)
    letters(shop, "orders", ["InvalidEvent", "TooLate", "InvalidEvent", "TooLate", "TooLate"])
    assert redrive(shop.settings, BOTH, only="TooLate", dry_run=True).sent == 3
    assert arrived(shop, "orders") == 0
    assert redrive(shop.settings, BOTH, only="TooLate").errors == {"TooLate": 3}
    assert redrive(shop.settings, BOTH, only="TooLate").sent == 0
    assert redrive(shop.settings, BOTH).errors == {"InvalidEvent": 2}, "they were passed over, not forgotten"
    assert redrive(shop.settings, BOTH).sent == 0
    letters(shop, "orders", ["TooLate"])
    assert redrive(shop.settings, BOTH).errors == {"TooLate": 1}
    assert arrived(shop, "orders") == 6


def test_what_comes_back_again_and_again_is_left_after_so_many_times(shop: Installation) -> None:
    shop.prepare()
    shop.worker().wait_ready()
    shop.produce([(topics.ORDERS.name, b"1", b"broken")])
    shop.caught_up()
    sent = []
    for _ in range(5):
        sent.append(redrive(shop.settings, BOTH, most=3).sent)
        shop.caught_up()
    assert sent == [1, 1, 1, 0, 0]
    assert [letter["segstream_attempt"] for letter in shop.dead_letters()] == ["0", "1", "2", "3"]


def test_a_burst_of_bad_events_stops_no_good_one_and_does_not_fill_the_memory(shop: Installation) -> None:
    one = shop.prepare()
    worker = shop.worker().wait_ready()
    shop.produce(orders(500, 50))
    shop.caught_up()
    before = resident(worker.process.pid)
    junk = json.dumps({"type": "track", "padding": "x" * 4000}).encode()
    bad = ((topics.ORDERS.name, str(n % 50).encode(), junk) for n in range(30_000))
    good = iter(orders(500, 50, first=500))
    mixed = (
        message
        for number, letter in enumerate(bad)
        for message in ([letter, next(good)] if number % 60 == 0 else [letter])
    )
    shop.produce(mixed)
    shop.caught_up(300)
    shop.assert_exact(one)
    assert worker.metric("segstream_dead_letters_total") == 30_000
    assert resident(worker.process.pid) - before < 120 * 1024 * 1024, "as much as it was sent"
    lines = worker.log.read_text().splitlines()
    assert len(lines) < 3_000, "a line for each group, not for each letter"


def resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
