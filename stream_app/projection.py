"""Redis as a picture of the state: written behind the stream, guarded by sequence, rebuilt whenever it was away or wiped.

Only keys are queued; rows are made from the live customers when they are written, so that an outage costs no memory beyond the set of
changed keys and the latest state is what arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import redis
import redis.asyncio
import structlog

from schemas.customer import Customer, from_bytes
from schemas.features import facts, raw
from schemas.membership import Membership, sizes_key, to_fields, user_key
from schemas.model import Model
from schemas.times import rfc3339
from stream_app.metrics import Metrics

BATCH: Final = 250
"""Customers per round trip: about 5 ms of the event loop."""

_PROJECT: Final = """
-- KEYS: user hash, sizes hash   ARGV: sequence, revision, segment, then field, value, ...
local at = redis.call('HMGET', KEYS[1], 'sequence', 'revision', 'segment')
if at[1] then
  local s, r = tonumber(at[1]), tonumber(at[2])
  if s > tonumber(ARGV[1]) or (s == tonumber(ARGV[1]) and r >= tonumber(ARGV[2])) then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
if at[3] ~= ARGV[3] then
  if at[3] then redis.call('HINCRBY', KEYS[2], at[3], -1) end
  redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
end
return 1
"""

_log: Final = structlog.get_logger(__name__)


class Projection:
    """Writes changed customers to Redis, in the background."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        metrics: Metrics,
        *,
        interval: float,
        clock: Callable[[], int],
        customers: Callable[[int], dict[bytes, Any] | None],
        model: Callable[[], Model | None],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._marker = f"{prefix}projected"
        self._metrics = metrics
        self._interval = interval
        self._clock = clock
        self._customers = customers
        self._model = model
        self._script = client.register_script(_PROJECT)
        self._dirty: dict[int, dict[bytes, None]] = {}
        self._owned: frozenset[int] = frozenset()
        self._unmarked: set[int] = set()
        self.error = ""
        """Why the last write failed; empty where it did not."""

    def touch(self, partition: int, keys: Iterable[bytes]) -> None:
        """These customers have changed."""
        self._dirty.setdefault(partition, {}).update(dict.fromkeys(keys))

    def own(self, partitions: frozenset[int]) -> None:
        """These partitions are ours now: whatever their last owner could not write any more is written again."""
        for partition in [p for p in self._dirty if p not in partitions]:
            del self._dirty[partition]
        for partition in partitions - self._owned:
            self._touch_all(partition)
        self._owned = partitions
        self._unmarked = set(partitions)

    def _touch_all(self, partition: int) -> None:
        self.touch(partition, list(self._customers(partition) or ()))

    @property
    def pending(self) -> int:
        """Customers still to be written."""
        return sum(map(len, self._dirty.values()))

    async def run(self) -> None:
        """Write for ever; an outage of Redis is waited out with growing pauses."""
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            try:
                await self._round()
                if self.error:
                    _log.info("redis is back", pending=self.pending)
                self.error = ""
                self._metrics.redis_up.set(1)
                pause = self._interval
            except (redis.RedisError, OSError) as error:
                if not self.error:
                    _log.warning(
                        "redis takes no projection; the stream goes on", error=str(error), pending=self.pending
                    )
                self.error = str(error) or type(error).__name__
                self._metrics.redis_up.set(0)
                pause = min(max(pause * 2, 0.1), 5.0)
            self._metrics.unprojected.set(self.pending)

    async def _round(self) -> None:
        if self._model() is None:
            return
        await self._rebuild_if_wiped()
        for partition in list(self._dirty):
            while keys := self._take(partition):
                try:
                    await self._write(partition, keys)
                except (redis.RedisError, OSError):
                    self.touch(partition, keys)
                    raise

    async def _rebuild_if_wiped(self) -> None:
        """A marker per partition tells whether this Redis has seen our projection: a restarted empty one has not."""
        if not self._owned:
            return
        marks: Any = await self._client.hmget(self._marker, [str(p) for p in sorted(self._owned)])  # type: ignore[misc]
        for partition, mark in zip(sorted(self._owned), marks, strict=True):
            if mark is None:
                if partition not in self._unmarked:
                    _log.warning("redis has lost the projection; writing it again", partition=partition)
                    self._touch_all(partition)
                await self._client.hset(self._marker, str(partition), str(self._clock()))  # type: ignore[misc]
            self._unmarked.discard(partition)

    def _take(self, partition: int) -> list[bytes]:
        dirty = self._dirty.get(partition)
        if not dirty:
            self._dirty.pop(partition, None)
            return []
        keys = list(dirty)[:BATCH] if len(dirty) > BATCH else list(dirty)
        for key in keys:
            del dirty[key]
        return keys

    async def _write(self, partition: int, keys: list[bytes]) -> None:
        customers = self._customers(partition)
        model = self._model()
        if customers is None or model is None:
            return
        projected_at = rfc3339(self._clock())
        pipeline = self._client.pipeline(transaction=False)
        written = 0
        for key in keys:
            customer = customers.get(key)
            if customer.__class__ is bytes:
                customer = from_bytes(customer)  # stays bytes in the table: reading is no reason to keep it unpacked
            if customer is None or customer.segment is None:
                continue
            row = membership(key.decode(), customer, model, projected_at)
            fields = [part for pair in to_fields(row).items() for part in pair]
            await self._script(
                keys=[user_key(self._prefix, row.user_id), sizes_key(self._prefix)],
                args=[row.sequence, row.revision, row.segment, *fields],
                client=pipeline,
            )
            written += 1
        if written:
            await pipeline.execute()
            self._metrics.projected.inc(written)


def membership(user_id: str, customer: Customer, model: Model, projected_at: str) -> Membership:
    """The row of a customer who has been decided."""
    segment = customer.segment or ""
    return Membership(
        user_id=user_id,
        segment=segment,
        name=model.names.get(segment, segment),
        nearest=customer.nearest or segment,
        margin=customer.margin,
        model_id=customer.model_id,
        sequence=customer.sequence,
        revision=customer.revision,
        event_time=rfc3339(customer.profile.event_time),
        projected_at=projected_at,
        features=raw(model.feature_names, facts(customer.profile)),
    )
