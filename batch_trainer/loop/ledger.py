"""The loop's memory in Redis: whose turn it is (a lock with a fencing token), the state, and what people have asked for.

Every write names its token and is refused once another trainer has taken the lock: whoever sleeps through her turn, or is
cut off, changes nothing afterwards, however long ago she read what she acts upon.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import redis

from batch_trainer.loop import state
from batch_trainer.loop.state import Request, State
from schemas.registry import Fenced, fence_key

HOLD: Final = 30_000
"""Milliseconds that the lock is held beyond its last renewal."""

_ACQUIRE: Final = """
-- KEYS: lock, fence   ARGV: owner, hold
if redis.call('EXISTS', KEYS[1]) == 1 then return '' end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- By the clock, so that it grows even where Redis has lost the last one.
local token = string.format('%.0f', math.max(tonumber(redis.call('GET', KEYS[2]) or '0') + 1, now))
redis.call('SET', KEYS[2], token)
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. token, 'PX', ARGV[2])
return token
"""
_RENEW: Final = """
-- KEYS: lock, fence   ARGV: owner, hold, token
if redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[3], 'PX', ARGV[2])
return 1
"""
_RELEASE: Final = """
-- KEYS: lock, fence   ARGV: owner, token
if redis.call('GET', KEYS[1]) == ARGV[1] .. ' ' .. ARGV[2] then redis.call('DEL', KEYS[1]) end
return 1
"""
_SAVE: Final = """
-- KEYS: state, fence, requests   ARGV: token, state, answered...
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
for i = 3, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
return 1
"""


class Ledger:
    """The memory of one installation's loop, as one trainer (`owner`) has it. Errors of Redis pass through as redis.RedisError."""

    def __init__(self, client: redis.Redis, prefix: str, owner: str, hold: int = HOLD) -> None:
        self._redis = client
        self._owner = owner
        self._hold = hold
        self._lock = f"{prefix}trainer:lock"
        self._fence = fence_key(prefix)
        self._state = f"{prefix}trainer:state"
        self._requests = f"{prefix}trainer:requests"
        self._acquire = client.register_script(_ACQUIRE)
        self._renew = client.register_script(_RENEW)
        self._release = client.register_script(_RELEASE)
        self._save = client.register_script(_SAVE)

    def acquire(self) -> str | None:
        """Take the lock; the token, larger than any before. None where another trainer holds it."""
        found: Any = self._acquire(keys=[self._lock, self._fence], args=[self._owner, self._hold])
        return found.decode() or None

    def renew(self, token: str) -> None:
        """Hold the lock longer; also where it ran out and nobody else has taken it. Raises Fenced where somebody has."""
        if not self._renew(keys=[self._lock, self._fence], args=[self._owner, self._hold, token]):
            raise Fenced("another trainer has taken over")

    def release(self, token: str) -> None:
        """Give the lock back, so that the next trainer need not wait for it to run out."""
        self._release(keys=[self._lock, self._fence], args=[self._owner, token])

    def holder(self) -> str | None:
        """Who holds the lock now."""
        found: Any = self._redis.get(self._lock)
        return found.decode().rpartition(" ")[0] if found else None

    def load(self) -> State:
        """What is remembered."""
        found: Any = self._redis.get(self._state)
        return state.decode(found)

    def save(self, value: State, token: str, answered: Iterable[str] = ()) -> None:
        """Remember, and forget the requests that are answered, in one step. Raises Fenced."""
        arguments: list[str | bytes] = [token, state.encode(value), *answered]
        if not self._save(keys=[self._state, self._fence, self._requests], args=arguments):
            raise Fenced("another trainer has taken over")

    def ask(self, request: Request) -> None:
        """Leave a request for whoever holds the lock, now or later."""
        self._redis.hset(self._requests, request.request_id, msgspec.json.encode(request))

    def requests(self) -> tuple[Request, ...]:
        """The requests that nobody has answered, the oldest first."""
        found: Any = self._redis.hvals(self._requests)
        return tuple(sorted((msgspec.json.decode(data, type=Request) for data in found), key=lambda r: r.at))
