"""How far each destination is behind, asked of Kafka by a thread that no receiver can hold up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition, admin
from confluent_kafka.admin import AdminClient

from destinations import clients
from destinations.configuration import Destination
from destinations.metrics import Metrics, Standing
from destinations.subscription import TOPICS
from schemas.settings import Settings

INTERVAL: Final = 5.0
_LATEST: Final = admin.OffsetSpec.latest()  # type: ignore[attr-defined,no-untyped-call]
_EARLIEST: Final = admin.OffsetSpec.earliest()  # type: ignore[attr-defined,no-untyped-call]

_log: Final = structlog.get_logger(__name__)


def behind(client: AdminClient, settings: Settings, one: Destination) -> int:
    """Records of a destination's topic that it has not committed. Raises KafkaException."""
    topic, group = TOPICS[one.wants], clients.group(settings, one.name)
    listed = client.list_topics(topic, timeout=clients.TIMEOUT).topics[topic]
    parts = [TopicPartition(topic, partition) for partition in listed.partitions]
    if not parts:
        return 0
    asked = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, parts)])
    ends = client.list_offsets(dict.fromkeys(parts, _LATEST), request_timeout=clients.TIMEOUT)
    firsts = client.list_offsets(dict.fromkeys(parts, _EARLIEST), request_timeout=clients.TIMEOUT)
    done = {part.partition: part.offset for part in asked[group].result().topic_partitions or ()}
    low = {part.partition: future.result().offset for part, future in firsts.items()}
    return sum(
        max(0, future.result().offset - max(done.get(part.partition, 0), low[part.partition]))
        for part, future in ends.items()
    )


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
