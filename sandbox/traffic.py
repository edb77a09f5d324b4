"""Live traffic: the shop's happenings sent to Kafka at a steady rate; only what Kafka acknowledged counts as happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer

from sandbox.events import message
from sandbox.shop import Happening, Shop


class Traffic:
    """A thread that lets the shop live. `delivered` holds what Kafka has acknowledged, in the order of production."""

    def __init__(self, bootstrap: str, shop: Shop, rate: float, clock: Callable[[], int]) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",  # as Java and aiokafka, so that a customer's topics agree on her partition
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 1,
                "log_level": 2,
            }
        )
        self._shop = shop
        self._rate = rate
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._sent: list[Happening] = []
        self._acknowledged: set[int] = set()
        self._failed: set[int] = set()
        self.produced_at: dict[str, int] = {}
        """When each record was handed to the client, microseconds, by "topic:partition:offset"."""
        self.error = ""

    def start(self) -> None:
        """Let it happen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait until everything sent is acknowledged or has failed."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._producer.flush(60)

    @property
    def count(self) -> int:
        """How many are acknowledged."""
        return len(self._acknowledged)

    def delivered(self, since: int = 0) -> tuple[list[Happening], int]:
        """What was acknowledged among those sent after the first `since`, and the `since` to go on from.

        Waits for the answer to everything sent until now; what has none within a minute is left for the next call.
        """
        upto = len(self._sent)
        self._producer.flush(60)
        answered = self._acknowledged | self._failed
        upto = next((i for i in range(since, upto) if i not in answered), upto)
        return [self._sent[i] for i in range(since, upto) if i in self._acknowledged], upto

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set() and not self.error:  # a refund of an order that was lost would be no one's
            due = int((time.monotonic() - begun) * self._rate) - len(self._sent)
            for _ in range(due):
                if self._stop.is_set():
                    break
                self._send()
            self._producer.poll(0)
            self._stop.wait(min(0.02, 1 / self._rate))

    def _send(self) -> None:
        now = self._clock()
        happening = self._shop.live(now)
        topic, key, value = message(happening)
        index = len(self._sent)

        def delivered(error: Any, stored: Any) -> None:
            if error is not None:
                self._failed.add(index)
                self.error = str(error)
                return
            self._acknowledged.add(index)
            self.produced_at[f"{stored.topic()}:{stored.partition()}:{stored.offset()}"] = now

        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=delivered)
                break
            except BufferError:  # the client's queue is full: Kafka is slower than the rate, or away
                self._producer.poll(0.1)
                if self._stop.is_set():
                    return
        self._sent.append(happening)  # only now: `delivered` must not count what the client has not taken
