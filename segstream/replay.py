"""`segstream replay`: the warehouse's history as events, so that the stream knows every customer."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from schemas.settings import Settings
from segstream.outcome import No


class Interrupted(No):
    """Stopped on request; what was sent is stored."""


def replay(
    settings: Settings,
    source: str,
    url: str,
    params: dict[str, str],
    *,
    rate: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Send the history to Kafka in time order; how many of each topic, and how long it took.

    The events are the same each time, so that an interrupted replay is simply run again. Raises Interrupted on SIGINT or SIGTERM.
    """
    from batch_trainer import history
    from batch_trainer.warehouse import open_warehouse
    from schemas import topics
    from segstream import kafka

    kafka.require(settings, *(topic.name for topic in topics.INPUTS))
    stop = threading.Event()
    failures: list[str] = []
    sent: Counter[str] = Counter()
    begun = time.monotonic()
    with open_warehouse(url, source, params) as warehouse, _stoppable(stop):
        total = history.count(warehouse)
        producer = kafka.producer(
            settings, **{"linger.ms": 20, "compression.type": "lz4", "queue.buffering.max.messages": 200_000}
        )

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failures.append(str(error))

        for number, (topic, key, value, _) in enumerate(history.events(warehouse), start=1):
            if stop.is_set() or failures:
                break
            _produce(producer, topic, key, value, delivered)
            sent[topic] += 1
            if number % 500 == 0:
                producer.poll(0)
                progress(number, total)
                if rate:
                    stop.wait(max(0.0, begun + number / rate - time.monotonic()))
        left = producer.flush(120)
    if failures or left:
        raise kafka.KafkaUnreachable(f"Kafka did not take every event ({failures[:1] or left}); run the replay again")
    if stop.is_set():
        raise Interrupted(
            f"stopped after {sum(sent.values())} of {total} events; run it again, the result will be the same"
        )
    progress(total, total)
    return {"events": sum(sent.values()), "topics": dict(sent), "seconds": round(time.monotonic() - begun, 2)}


def _produce(producer: Any, topic: str, key: bytes, value: bytes, delivered: Callable[[Any, Any], None]) -> None:
    while True:
        try:
            producer.produce(topic, value, key, on_delivery=delivered)
            return
        except BufferError:  # the client's queue is full: let it drain
            producer.poll(0.1)


class _stoppable:
    """SIGINT and SIGTERM set an event for the time of a block (in the main thread; elsewhere nothing is changed)."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda *_: self._stop.set())

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
