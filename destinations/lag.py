"""How far each destination is behind, asked of Kafka by a thread that no receiver can hold up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from destinations import clients
from destinations.configuration import Destination
from destinations.metrics import Metrics, Standing
from destinations.subscription import TOPICS
from schemas import offsets
from schemas.settings import Settings

INTERVAL: Final = 5.0

_log: Final = structlog.get_logger(__name__)


def behind(client: Consumer, topic: str) -> int:
    """Records of a topic that the client's group has not committed. Raises KafkaException."""
    listed = client.list_topics(topic, timeout=clients.TIMEOUT).topics[topic]
    places = [(topic, partition) for partition in listed.partitions]
    if not places:
        return 0
    done = client.committed([TopicPartition(*place) for place in places], timeout=clients.TIMEOUT)
    ends, begins = (ask(client, places, clients.TIMEOUT) for ask in (offsets.ends, offsets.begins))
    reached = {(part.topic, part.partition): part.offset for part in done}
    return sum(max(0, end - max(reached[place], begins[place])) for place, end in ends.items())


class LagWatch:
    """Asks every few seconds."""

    def __init__(
        self,
        settings: Settings,
        watched: Sequence[tuple[Destination, Standing]],
        metrics: Metrics,
        stop: threading.Event,
    ) -> None:
        self._watched = watched
        self._metrics = metrics
        self._stop = stop
        self._clients = {one.name: clients.consumer(settings, one.name) for one, _ in watched}
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for one, standing in self._watched:
                try:
                    standing.lag = behind(self._clients[one.name], TOPICS[one.wants])
                    self._metrics.lag.labels(one.name).set(standing.lag)
                except KafkaException as error:
                    standing.lag = None
                    _log.warning("lag unknown", destination=one.name, error=error.args[0].name())
            self._stop.wait(INTERVAL)
