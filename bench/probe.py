"""Watching the changes from outside: a consumer that notes when each became readable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from bench import job
from bench.oracle import change_id


@dataclass
class Probe:
    """Reads `segment-changes` from its start in a thread. `on_first` is called, in it, at the first change."""

    kafka: str
    partitions: int
    on_first: Callable[[], None] = lambda: None
    times: list[float] = field(default_factory=list)
    """Monotonic seconds at which each change was read."""
    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Key and value, in the order of their partitions."""
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self._ids: dict[str, float] = {}
        self._looked = 0
        self._stop = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": "bench-probe",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                "topic.metadata.refresh.interval.ms": 1000,
            }
        )
        self._consumer.assign([TopicPartition(job.CHANGES, p, OFFSET_BEGINNING) for p in range(self.partitions)])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poll, clock = self._consumer.poll, time.monotonic
        try:
            while not self._stop.is_set():
                message = poll(0.1)
                if message is None:
                    continue
                now = clock()
                if message.error():
                    raise KafkaException(message.error())
                if not self.records:
                    self.on_first()
                self.records.append((message.key() or b"", message.value() or b""))
                self.times.append(now)
        except BaseException as error:
            self.error = error

    @property
    def seen(self) -> dict[str, float]:
        """Change id -> when it was first read; the first call after new records decodes their ids."""
        if self.error is not None:
            raise self.error
        for i in range(self._looked, len(self.times)):
            self._ids.setdefault(change_id(self.records[i][1]).change_id, self.times[i])
            self._looked = i + 1
        return self._ids

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(10)
        self._consumer.close()
