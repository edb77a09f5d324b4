"""Someone who reads the changes as they come, as a campaign tool would, and notes how long none came."""

from __future__ import annotations

import threading
import time

from confluent_kafka import Consumer, TopicPartition

from schemas import topics
from schemas.settings import Settings
from segstream import kafka


class Watcher:
    """Reads the changes in a thread; `pause` is the longest time between one change and the next, seconds."""

    def __init__(self, settings: Settings) -> None:
        self.pause = 0.0
        self.changes = 0
        self._ended = threading.Event()
        self._partitions = kafka.partition_counts(settings)[topics.CHANGES.name]
        self._client = Consumer(
            {
                "bootstrap.servers": settings.kafka,
                "group.id": "watcher",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 200,
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> Watcher:
        """Watch from the beginning of the topic."""
        self._client.assign([TopicPartition(topics.CHANGES.name, p, 0) for p in range(self._partitions)])
        self._thread.start()
        return self

    def end(self) -> None:
        """Watch no longer."""
        self._ended.set()
        self._thread.join()
        self._client.close()

    def _watch(self) -> None:
        last = 0.0
        while not self._ended.is_set():
            came = sum(message.error() is None for message in self._client.consume(1000, timeout=0.05))
            if came:
                now = time.monotonic()
                if last:
                    self.pause = max(self.pause, now - last)
                last = now
                self.changes += came
