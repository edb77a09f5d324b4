"""Live traffic counts what Kafka has acknowledged: all of it, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from sandbox import traffic as module
from sandbox.traffic import Traffic
from tests.sandbox.shops import NOW, small
from tests.waiting import wait_for


class Stored:
    """Where a record lies."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset


class FakeProducer:
    """A client whose broker answers when the test says so."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.refusals = 0
        self.error: str | None = None
        self.taken: list[Callable[[Any, Any], None]] = []
        self.answered = 0
        self.flushes_in_vain = 0

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        self.entered.set()
        self.gate.wait()
        if self.refusals:
            self.refusals -= 1
            raise BufferError("Local: Queue full")
        self.taken.append(on_delivery)

    def poll(self, timeout: float) -> int:
        return 0

    def flush(self, timeout: float) -> int:
        if self.flushes_in_vain:
            self.flushes_in_vain -= 1
            return len(self.taken) - self.answered
        while self.answered < len(self.taken):
            self.taken[self.answered](self.error, Stored(self.answered))
            self.answered += 1
        return 0


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    monkeypatch.setattr(module, "Producer", FakeProducer)
    return Traffic("nowhere:1", small(), 500.0, lambda: NOW)


def client(traffic: Traffic) -> FakeProducer:
    found = traffic._producer
    assert isinstance(found, FakeProducer)
    return found


def test_what_is_asked_for_while_it_is_being_sent_is_told_the_next_time(traffic: Traffic) -> None:
    fake = client(traffic)
    traffic.start()
    assert fake.entered.wait(10)
    first, upto = traffic.delivered()
    fake.gate.set()
    wait_for(lambda: len(fake.taken) > 20, "twenty records taken")
    traffic.stop()
    rest, _ = traffic.delivered(upto)
    assert len(first) + len(rest) == len(fake.taken) == traffic.count
    assert [*first, *rest] == _story(len(fake.taken))


def test_what_has_no_answer_yet_is_told_when_it_has_one(traffic: Traffic) -> None:
    fake = client(traffic)
    fake.gate.set()
    traffic.start()
    wait_for(lambda: len(fake.taken) > 20, "twenty records taken")
    fake.flushes_in_vain = 1
    first, upto = traffic.delivered()
    assert (first, upto) == ([], 0)
    traffic.stop()
    rest, _ = traffic.delivered(upto)
    assert rest == _story(len(fake.taken))


def test_a_full_queue_delays_but_loses_nothing(traffic: Traffic) -> None:
    fake = client(traffic)
    fake.refusals = 5
    fake.gate.set()
    traffic.start()
    wait_for(lambda: len(fake.taken) > 5, "five records taken")
    traffic.stop()
    assert traffic.delivered()[0] == _story(len(fake.taken))


def test_a_refused_record_does_not_count_and_ends_the_traffic(traffic: Traffic) -> None:
    fake = client(traffic)
    fake.error = "broker says no"
    fake.gate.set()
    traffic.start()
    wait_for(lambda: bool(fake.taken), "a record taken")
    happened, _ = traffic.delivered()
    assert (happened, traffic.count, traffic.error) == ([], 0, "broker says no")
    traffic._thread.join(10)
    assert not traffic._thread.is_alive()
    traffic.stop()


def test_stopping_what_was_never_started_is_no_error(traffic: Traffic) -> None:
    traffic.stop()
    assert traffic.delivered() == ([], 0)


def _story(count: int) -> list[Any]:
    """What the same shop does in its first `count` live happenings."""
    shop = small()
    return [shop.live(NOW) for _ in range(count)]
