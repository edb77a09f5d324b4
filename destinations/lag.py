"""How far each destination is behind, asked of Kafka by a thread that no receiver can hold up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from destinations import clients
from destinations.configuration import Destination
from destinations.metrics import Metrics, Standing
from destinations.subscription import TOPICS
from schemas import offsets
from schemas.settings import Settings

INTERVAL: Final = 5.0

_log: Final = structlog.get_logger(__name__)


def behind(client: AdminClient, settings: Settings, one: Destination) -> int:
    """Records of a destination's topic that it has not committed. Raises KafkaException."""
    topic, group = TOPICS[one.wants], clients.group(settings, one.name)
    listed = client.list_topics(topic, timeout=clients.TIMEOUT).topics[topic]
    parts = [TopicPartition(topic, partition) for partition in listed.partitions]
    if not parts:
        return 0
    asked = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, parts)])
    places = [(topic, part.partition) for part in parts]
    ends, begins = (ask(client, places, clients.TIMEOUT) for ask in (offsets.ends, offsets.begins))
    done = {(topic, part.partition): part.offset for part in asked[group].result().topic_partitions or ()}
    return sum(max(0, end - max(done.get(place, 0), begins[place])) for place, end in ends.items())


class LagWatch:
    """Asks every few seconds."""

    def __init__(
        self,
        settings: Settings,
        watched: Sequence[tuple[Destination, Standing]],
        metrics: Metrics,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._watched = watched
        self._metrics = metrics
        self._stop = stop
        self._admin = AdminClient(clients.base(settings))
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    def start(self) -> None:
        """Start asking."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for one, standing in self._watched:
                try:
                    standing.lag = behind(self._admin, self._settings, one)
                    self._metrics.lag.labels(one.name).set(standing.lag)
                except KafkaException as error:
                    standing.lag = None
                    _log.warning("lag unknown", destination=one.name, error=error.args[0].name())
            self._stop.wait(INTERVAL)
