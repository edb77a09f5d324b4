"""Redis as a picture of the state: written behind the stream, guarded by sequence, rebuilt whenever it was away or wiped.

Only keys are queued; rows are made from the live customers when they are written, so that an outage costs no memory beyond the set of
changed keys and the latest state is what arrives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sized
from contextlib import suppress
from typing import Any, Final

import msgspec
import redis
import redis.asyncio
import structlog

from schemas.customer import Customer
from schemas.features import raw
from schemas.membership import FIELDS, Membership, erased_key, sizes_key, to_values, touched_key, user_key
from schemas.model import Model
from schemas.times import rfc3339
from stream_app.customers import Customers
from stream_app.metrics import Metrics

BATCH: Final = 200
"""Customers per round trip: about 6 ms of the event loop ..."""
SLICE: Final = 25
"""... in slices of so many, between which events have their turn; an event needs a dozen turns, so that beside events no more than one slice
at a time is written of those who can wait."""
YIELD: Final = 9.0
"""Beside events the projection then pauses this many times as long as it has worked: it takes a tenth of the process."""
LOOK_EVERY: Final = 1.0
"""Seconds between looks whether Redis has lost what was written."""

_PROJECT: Final = """
-- KEYS: sizes hash, stream of who was written, prefix of erasures
-- ARGV: prefix of the user hashes, names of the fields, rows: {user id, value, ...} (both msgpack)
local names, written = cmsgpack.unpack(ARGV[2]), {}
local place = {}
for i, name in ipairs(names) do place[name] = i + 1 end
for _, row in ipairs(cmsgpack.unpack(ARGV[3])) do
  local key = ARGV[1] .. row[1]
  local at = redis.call('HMGET', key, 'sequence', 'revision', 'segment', 'likely_segment', 'left')
  local sequence, revision = tonumber(row[place.sequence]), tonumber(row[place.revision])
  local s, r = tonumber(at[1] or -1), tonumber(at[2] or -1)
  if not at[1] then -- nobody, or someone who was erased: what was known of her before must not come back
    local erased = redis.call('HMGET', KEYS[3] .. redis.sha1hex(row[1]), 'sequence', 'revision')
    s, r = tonumber(erased[1] or -1), tonumber(erased[2] or -1)
  end
  if s < sequence or (s == sequence and r < revision) then
    local fields, gone = {}, {}
    for i, name in ipairs(names) do
      if row[i + 1] == '' then
        gone[#gone + 1] = name
      else
        fields[#fields + 1] = name
        fields[#fields + 1] = row[i + 1]
      end
    end
    redis.call('HSET', key, unpack(fields))
    if (at[4] or at[5]) and #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
    local segment = row[place.segment]
    if at[3] ~= segment then
      if at[3] then redis.call('HINCRBY', KEYS[1], at[3], -1) end
      redis.call('HINCRBY', KEYS[1], segment, 1)
    end
    written[#written + 1] = row[1]
  end
end
if #written > 0 then redis.call('XADD', KEYS[2], 'MAXLEN', '~', '5000', '*', 'ids', cmsgpack.pack(written)) end
return #written
"""

_FORGET: Final = """
-- KEYS: sizes hash, stream of who was written, prefix of erasures
-- ARGV: prefix of the user hashes, seconds to remember an erasure, rows: {user id, sequence, revision} (msgpack)
local written = {}
for _, row in ipairs(cmsgpack.unpack(ARGV[3])) do
  local key, erased = ARGV[1] .. row[1], KEYS[3] .. redis.sha1hex(row[1])
  local at = redis.call('HMGET', key, 'sequence', 'revision', 'segment')
  local s, r = tonumber(at[1] or -1), tonumber(at[2] or -1)
  if s < row[2] or (s == row[2] and r <= row[3]) then
    if at[3] then
      redis.call('HINCRBY', KEYS[1], at[3], -1)
      redis.call('DEL', key)
      written[#written + 1] = row[1]
    end
    redis.call('HSET', erased, 'sequence', row[2], 'revision', row[3])
    redis.call('EXPIRE', erased, ARGV[2])
  end
end
if #written > 0 then redis.call('XADD', KEYS[2], 'MAXLEN', '~', '5000', '*', 'ids', cmsgpack.pack(written)) end
return #written
"""

GUARD: Final = 86_400
"""Seconds in which Redis takes no older row of someone who was erased: far longer than a former owner may still be writing."""

_encode: Final = msgspec.msgpack.Encoder().encode
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
        customers: Callable[[int], Customers | None],
        model: Callable[[], Model | None],
        is_busy: Callable[[], bool],
        events_come: Callable[[], bool],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._marker = f"{prefix}projected"
        self._metrics = metrics
        self._interval = interval
        self._clock = clock
        self._customers = customers
        self._model = model
        self._is_busy = is_busy
        self._events_come = events_come
        self._script = client.register_script(_PROJECT)
        self._forget = client.register_script(_FORGET)
        self._names = _encode(FIELDS)
        self._dirty: dict[int, dict[bytes, None]] = {}
        self._backlog: dict[int, dict[bytes, None]] = {}
        """Those who can wait: decided anew without an event, or all of a partition that was gained, or lost by Redis; whoever has an event
        meanwhile is in `_dirty`."""
        self._owned: frozenset[int] = frozenset()
        self._unmarked: set[int] = set()
        self._touched = asyncio.Event()
        self._look_at = 0.0
        self.error = ""
        """Why the last write failed; empty where it did not."""

    def touch(self, partition: int, keys: Iterable[bytes], later: Collection[bytes] = ()) -> None:
        """These customers have changed; those of them who can wait go behind all others."""
        new = dict.fromkeys(keys)
        for key in later:
            del new[key]
        for waiting, some in ((self._dirty, new), (self._backlog, dict.fromkeys(later))):
            if some:
                waiting.setdefault(partition, {}).update(some)
        self._touched.set()

    def own(self, partitions: frozenset[int], overtaken: Mapping[int, Iterable[bytes]]) -> None:
        """These partitions are ours now, and whatever their last owner could not write any more is written again: new ones whole, of those
        that were ours before only the `overtaken`, whose records others have stored meanwhile."""
        for waiting in (self._dirty, self._backlog):
            for partition in [p for p in waiting if p not in partitions]:
                del waiting[partition]
        for partition in partitions - self._owned:
            self._touch_all(partition)
        for partition in partitions & overtaken.keys():
            self.touch(partition, overtaken[partition])
        self._owned = partitions
        self._unmarked = set(partitions)

    def _touch_all(self, partition: int) -> None:
        customers = self._customers(partition)
        if customers is not None:
            self._backlog[partition] = dict.fromkeys(customers.keys())
            self._touched.set()

    @property
    def pending(self) -> int:
        """Customers still to be written."""
        return sum(map(len, self._dirty.values())) + sum(map(len, self._backlog.values()))

    async def run(self) -> None:
        """Write for ever; an outage of Redis is waited out with growing pauses."""
        pause = self._interval
        while True:
            await asyncio.sleep(pause)
            try:
                with suppress(TimeoutError):  # something to write, or time to look after Redis
                    await asyncio.wait_for(self._touched.wait(), LOOK_EVERY)
                self._touched.clear()
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
                self._touched.set()
                pause = min(max(pause * 2, 0.1), 5.0)
            self._metrics.unprojected.set(self.pending)

    async def _round(self) -> None:
        if self._model() is None:
            return
        if time.monotonic() >= self._look_at:
            await self._rebuild_if_wiped()
            self._look_at = time.monotonic() + LOOK_EVERY
        while taken := self._take():
            began = time.monotonic()
            try:
                await self._write(taken)
            except (redis.RedisError, OSError):
                for partition, key in taken:
                    self.touch(partition, [key])
                raise
            if len(taken) < BATCH and not self._backlog:  # what came meanwhile goes together with what comes next
                return
            if self._is_busy() or (self._backlog and self._events_come()):
                await asyncio.sleep(YIELD * (time.monotonic() - began))

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

    def _take(self) -> list[tuple[int, bytes]]:
        """The next customers to write, with their partitions, an equal share of each: first those who have just had an event."""
        taken: list[tuple[int, bytes]] = []
        for waiting, most in ((self._dirty, BATCH), (self._backlog, SLICE if self._events_come() else BATCH)):
            for partition, share in _shares(waiting, max(0, most - len(taken))):
                keys = waiting[partition]
                taken += [(partition, keys.popitem()[0]) for _ in range(share)]
                if not keys:
                    del waiting[partition]
        return taken

    async def _write(self, taken: Iterable[tuple[int, bytes]]) -> None:
        model = self._model()
        if model is None:
            return
        projected_at = rfc3339(self._clock())
        rows: list[list[str]] = []
        erased: list[tuple[str, int, int]] = []
        for number, (partition, key) in enumerate(taken, 1):
            if not number % SLICE:
                await asyncio.sleep(0)
            customers = self._customers(partition)
            customer = None if customers is None else customers.look(key)
            if customer is not None and customer.segment is not None:
                row = membership(key.decode(), customer, model, projected_at)
                rows.append([row.user_id, *to_values(row)])
            elif customer is not None and customer.is_erased:
                erased.append((key.decode(), customer.sequence, customer.revision))
        prefix = user_key(self._prefix, "")
        names = [sizes_key(self._prefix), touched_key(self._prefix), erased_key(self._prefix, "")]
        if erased:
            await self._forget(keys=names, args=[prefix, GUARD, _encode(erased)])
        if rows:
            await self._script(keys=names, args=[prefix, self._names, _encode(rows)])
            self._metrics.projected.inc(len(rows))


def _shares(waiting: Mapping[int, Sized], room: int) -> list[tuple[int, int]]:
    """How many of each partition's customers go next: equal shares, and what the small ones leave goes to the large ones.

    >>> _shares({0: "abcdefgh", 1: "a", 2: ""}, 6)
    [(2, 0), (1, 1), (0, 5)]
    """
    shares = []
    for left, partition in zip(range(len(waiting), 0, -1), sorted(waiting, key=lambda p: len(waiting[p])), strict=True):
        share = min(len(waiting[partition]), -(-room // left))
        room -= share
        shares.append((partition, share))
    return shares


def membership(user_id: str, customer: Customer, model: Model, projected_at: str) -> Membership:
    """The row of a customer who has been decided."""
    segment = customer.segment or ""
    likely = model.likely(customer.profile)
    left_for = customer.way_back()
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
        features=raw(model.feature_names, customer.profile),
        likely_segment=likely and likely.segment,
        likely_name=likely and likely.name,
        likely_probability=likely and likely.probability,
        left=customer.left if left_for else None,
        left_for=left_for,
    )
