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
        self.produced_at: dict[str, int] = {}
        """When each record was handed to the client, microseconds, by "topic:partition:offset"."""
        self.error = ""

    def start(self) -> None:
        """Let it happen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait until everything sent is acknowledged or has failed."""
        self._stop.set()
        self._thread.join()
        self._producer.flush(60)

    @property
    def count(self) -> int:
        """How many are acknowledged."""
        return len(self._acknowledged)

    def delivered(self, since: int = 0) -> tuple[list[Happening], int]:
        """What was acknowledged among those sent after the first `since`, and how many were sent in all.

        Waits for the acknowledgement of everything sent until now.
        """
        upto = len(self._sent)
        self._producer.flush(60)
        return [self._sent[i] for i in range(since, upto) if i in self._acknowledged], upto

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - begun) * self._rate) - len(self._sent)
            for _ in range(due):
                self._send()
            self._producer.poll(0)
            self._stop.wait(min(0.02, 1 / self._rate))

    def _send(self) -> None:
        now = self._clock()
        happening = self._shop.live(now)
        topic, key, value = message(happening)
        index = len(self._sent)
        self._sent.append(happening)

        def delivered(error: Any, stored: Any) -> None:
            if error is not None:
                self.error = str(error)
                return
            self._acknowledged.add(index)
            self.produced_at[f"{stored.topic()}:{stored.partition()}:{stored.offset()}"] = now

        self._producer.produce(topic, value, key, on_delivery=delivered)
