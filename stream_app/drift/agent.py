"""The one owner of the drift check among all workers: follows `drift-blocks`, keeps its state in Kafka, tells alerts.

The partition belongs to one worker of a consumer group of its own. A new owner goes on from the last state that was kept (`drift-state`) and folds
what came after it; alerts that stand on `drift-alerts` already are not sent again. Trouble here never stops the stream: it is logged, shown in
the metrics, and tried again.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any, Final

import aiokafka
import msgspec
import redis
import structlog
from aiokafka.errors import KafkaError

from schemas import changes as outgoing
from schemas import connections, topics
from schemas.changes import DriftAlert
from schemas.drift import decode, encode, standing_key
from schemas.settings import Settings
from stream_app.drift.detectors import Thresholds
from stream_app.drift.monitor import Monitor, to_bytes
from stream_app.fastlane.batches import Record, send
from stream_app.metrics import Metrics

KEEP_EVERY: Final = 60.0
"""Seconds between states that are kept; a new owner folds what is newer."""
AGAIN: Final = 5.0
"""Seconds after trouble with Kafka."""
SHOW_EVERY: Final = 2.0
"""Seconds between looks at it in Redis and in the metrics."""
BATCH: Final = 200
"""Blocks that are folded before anybody else has the loop again."""

_log: Final = structlog.get_logger(__name__)
_BLOCKS: Final = aiokafka.TopicPartition(topics.DRIFT_BLOCKS.name, 0)
_STATE: Final = aiokafka.TopicPartition(topics.DRIFT_STATE.name, 0)
_ALERTS: Final = aiokafka.TopicPartition(topics.DRIFT_ALERTS.name, 0)


class _Ownership(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes that the partition has changed hands: whoever has it now begins from what Kafka keeps."""

    def __init__(self) -> None:
        self.changes = 0

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """It may be another's."""
        self.changes += 1

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """It may be ours."""
        self.changes += 1


class DriftAgent:
    """A task in each worker; one of them has the partition."""

    def __init__(
        self, settings: Settings, client: Callable[[], Any], metrics: Metrics, clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._limits = Thresholds()
        self._cooldown = int(settings.drift_cooldown * 1_000_000)
        self.monitor: Monitor | None = None
        """None where another worker has it."""
        self._told: set[str] = set()
        self._redis = connections.redis_async(settings)

    async def run(self) -> None:
        """Follow the blocks for ever."""
        while True:
            try:
                await self._follow()
            except Exception as error:  # the customers' segments matter more
                unexpected = not isinstance(error, (KafkaError, OSError))
                _log.warning(
                    "the drift check is tried again", error=repr(error), exc_info=error if unexpected else None
                )
                self.monitor = None
                self._metrics.drift_owner.set(0)
                self._metrics.drift_errors.inc()
                await asyncio.sleep(AGAIN)

    def _consumer(self, group: str | None) -> Any:
        s = self._settings
        return aiokafka.AIOKafkaConsumer(
            **connections.kafka_async(s),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(s.session_timeout * 1000),
            heartbeat_interval_ms=max(300, int(s.session_timeout * 200)),
            max_poll_interval_ms=86_400_000,
            max_partition_fetch_bytes=topics.MAX_RECORD,
        )

    async def _follow(self) -> None:
        consumer, listener = self._consumer(f"{self._settings.app_id}-drift"), _Ownership()
        consumer.subscribe([topics.DRIFT_BLOCKS.name], listener=listener)
        await consumer.start()
        try:
            seen, kept, shown = -1, 0.0, 0.0
            while True:
                if seen != listener.changes:
                    seen = listener.changes
                    await self._take_over(consumer)
                    kept = self._now()
                batch = await consumer.getmany(timeout_ms=500, max_records=BATCH)
                if seen != listener.changes:
                    continue
                for records in batch.values():
                    await self._fold(records)
                if self.monitor is not None and self._now() - shown >= SHOW_EVERY:
                    shown = self._now()
                    await self._show()
                if self.monitor is not None and self._now() - kept >= KEEP_EVERY:
                    kept = self._now()
                    await self._keep()
        finally:
            await consumer.stop()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _take_over(self, consumer: Any) -> None:
        """Be the owner, or not: the state as it was kept, the alerts that were told."""
        self.monitor = None
        self._metrics.drift_owner.set(0)
        if _BLOCKS not in consumer.assignment():
            return
        reader = self._consumer(None)
        await reader.start()
        try:
            states = await _tail(reader, _STATE, 1)
            told = await _tail(reader, _ALERTS, None)
        finally:
            await reader.stop()
        del reader
        # Its client refers to itself, and with it stays what its connection has read, some MiB after each rebalance: nearly everything here
        # is freed without the collector, which so never comes to its oldest generation.
        gc.collect()
        self._told = {outgoing.decode_alert(record.value).event_id for record in told}
        self.monitor = self._remembered(states)
        begin = (await consumer.beginning_offsets([_BLOCKS]))[_BLOCKS]
        end = (await consumer.end_offsets([_BLOCKS]))[_BLOCKS]
        if not begin <= self.monitor.state.position <= end:
            if self.monitor.state.position > end:  # of a topic that is gone
                self.monitor = Monitor(None, self._limits, self._cooldown)
            self.monitor.state.position = begin
        consumer.seek(_BLOCKS, self.monitor.state.position)
        self._metrics.drift_owner.set(1)
        _log.info("the drift check is ours", position=self.monitor.state.position, alerts_told=len(self._told))

    def _remembered(self, states: list[Any]) -> Monitor:
        try:
            return Monitor.from_bytes(states[-1].value, self._limits, self._cooldown)
        except (IndexError, msgspec.MsgspecError) as error:  # none, or of another version: the blocks tell it again
            if states:
                _log.warning("the state of the drift check cannot be read", error=str(error))
            return Monitor(None, self._limits, self._cooldown)

    async def _fold(self, records: Any) -> None:
        monitor = self.monitor
        if monitor is None:
            return
        for record in records:
            if record.offset < monitor.state.position:
                continue
            try:
                block = decode(record.value)
            except msgspec.MsgspecError as error:
                _log.warning("not a block", offset=record.offset, error=str(error))
                self._metrics.drift_errors.inc()
                continue
            if alerts := monitor.fold(block):
                await self._tell(alerts)
            monitor.state.position = record.offset + 1  # behind what it has caused: a crash between folds it again
        self._metrics.drift_blocks.inc(len(records))

    async def _tell(self, alerts: list[DriftAlert]) -> None:
        new = [alert for alert in alerts if alert.event_id not in self._told]
        if not new:
            return
        now = self._clock()
        records = [
            Record(
                alert.alert_id.encode(),
                outgoing.encode(alert),
                outgoing.headers(alert, alert.event_id, alert.signal, now),
            )
            for alert in new
        ]
        await send(self._client(), {topics.DRIFT_ALERTS.name: {0: records}})
        for alert in new:
            self._told.add(alert.event_id)
            self._metrics.alerts.labels(alert.signal).inc(alert.status == "opened")
            _log.warning(
                "drift alert", status=alert.status, level=alert.level, signal=alert.signal, feature=alert.feature
            )

    async def _keep(self) -> None:
        assert self.monitor is not None
        record = Record(b"state", to_bytes(self.monitor.state))
        await send(self._client(), {topics.DRIFT_STATE.name: {0: [record]}})

    async def _show(self) -> None:
        assert self.monitor is not None
        standing = self.monitor.standing()
        psi = {look.name: look.psi for look in standing.looks()}
        self._metrics.show_drift(psi, [one.level for one in standing.open])
        try:
            await self._redis.set(standing_key(self._settings.prefix), encode(standing))
        except redis.RedisError as error:  # a projection like any other
            _log.info("the drift check cannot be shown", error=str(error))


async def _tail(reader: Any, place: aiokafka.TopicPartition, most: int | None) -> list[Any]:
    """The last records of a partition (None: all of them)."""
    reader.assign([place])
    begin = (await reader.beginning_offsets([place]))[place]
    end = (await reader.end_offsets([place]))[place]
    first = begin if most is None else max(begin, end - most)
    found: list[Any] = []
    reader.seek(place, first)
    while await reader.position(place) < end:
        batch = await reader.getmany(timeout_ms=1000)
        found += [record for records in batch.values() for record in records]
    return found
