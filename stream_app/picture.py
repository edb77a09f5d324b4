"""What Redis shows of customers: the rows made from them, and how they are written, guarded by sequence.

A row is written only over an older one, so that it does not matter which of two comes first, nor who writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
import redis.asyncio

from schemas.customer import Customer, from_bytes
from schemas.features import raw
from schemas.membership import FIELDS, Membership, erased_key, sizes_key, to_values, touched_key, user_key
from schemas.model import Model
from schemas.times import rfc3339
from stream_app.anew import Row

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


class Rendered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Customers as Redis is to show them."""

    shown: int
    """How many have a row."""
    rows: bytes
    """Their rows: user id and values (msgpack)."""
    erased: list[tuple[str, int, int]]
    """Who is to be forgotten: user id, sequence, revision."""


class Rows:
    """Rows in the making."""

    def __init__(self, model: Model, projected_at: str) -> None:
        self._model = model
        self._projected_at = projected_at
        self._rows: list[list[str]] = []
        self._erased: list[tuple[str, int, int]] = []

    def add(self, key: bytes, customer: Customer) -> None:
        """Another customer; she has no row where she has not been decided."""
        if customer.segment is not None:
            row = membership(key.decode(), customer, self._model, self._projected_at)
            self._rows.append([row.user_id, *to_values(row)])
        elif customer.is_erased:
            self._erased.append((key.decode(), customer.sequence, customer.revision))

    def rendered(self) -> Rendered:
        """All of them."""
        return Rendered(len(self._rows), _encode(self._rows), self._erased)


def render(records: Iterable[Row], model: Model, projected_at: str) -> Rendered:
    """Customers from their records. Raises schemas.customer.UnreadableState where one cannot be read."""
    rows = Rows(model, projected_at)
    for key, record in records:
        rows.add(key, from_bytes(record))
    return rows.rendered()


class Picture:
    """The customers in Redis."""

    def __init__(self, client: redis.asyncio.Redis, prefix: str) -> None:
        self._users = user_key(prefix, "")
        self._keys = [sizes_key(prefix), touched_key(prefix), erased_key(prefix, "")]
        self._names = _encode(FIELDS)
        self._project = client.register_script(_PROJECT)
        self._forget = client.register_script(_FORGET)

    async def write(self, rendered: Rendered) -> None:
        """Show them. Raises redis.RedisError, OSError."""
        if rendered.erased:
            await self._forget(keys=self._keys, args=[self._users, GUARD, _encode(rendered.erased)])
        if rendered.shown:
            await self._project(keys=self._keys, args=[self._users, self._names, rendered.rows])


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
