"""Model versions in Redis: published once, never changed, one of them active, at most one a candidate beside it.

Every step is one atomic script and leaves a log entry. Whoever gives a fencing token is refused unless it is the latest one: a trainer
that slept while another took over changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis

from schemas import shadow
from schemas.shadow import Comparison

KEEP: Final = 5
"""How many versions are kept beside the active one."""


class RegistryConflict(RuntimeError):
    """Someone else was faster, or the version is not what it should be: look again before trying again."""


class Fenced(RuntimeError):
    """Another trainer has taken over: stop, and begin anew from what it has recorded."""


_FENCE: Final = """
local fence = redis.call('GET', KEYS[6]) or ''
if ARGV[1] ~= '' and ARGV[1] ~= fence then return {'fenced', fence} end
local active = redis.call('GET', KEYS[1]) or ''
"""
_TRIM: Final = """
local function trim(keep, prefix, used)
  local all = redis.call('ZRANGE', KEYS[4], 0, -1)
  local excess = #all - keep - 1
  for _, id in ipairs(all) do
    if excess <= 0 then break end
    if id ~= used[1] and id ~= used[2] and id ~= used[3] then
      redis.call('ZREM', KEYS[4], id)
      redis.call('DEL', prefix .. id)
      excess = excess - 1
    end
  end
end
"""
_ACTIVATE: Final = (
    """
-- KEYS: active, artifact, log, versions, candidate, fence
-- ARGV: token ('' = a person), id, bytes ('' = must be there), action, by, reason, at, keep, channel, prefix, expected ('*' = any)
"""
    + _FENCE
    + _TRIM
    + """
if ARGV[11] ~= '*' and active ~= ARGV[11] then return {'conflict', active} end
local there = redis.call('GET', KEYS[2])
if ARGV[3] == '' then
  if not there then return {'missing', active} end
elseif there and there ~= ARGV[3] then return {'other', active}
elseif not there then redis.call('SET', KEYS[2], ARGV[3]) end
redis.call('ZADD', KEYS[4], 'NX', ARGV[7], ARGV[2])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '1000', '*', 'action', ARGV[4], 'model_id', ARGV[2], 'before', active, 'by', ARGV[5], 'reason', ARGV[6], 'at', ARGV[7])
if redis.call('HGET', KEYS[5], 'model_id') == ARGV[2] then redis.call('DEL', KEYS[5]) end
trim(tonumber(ARGV[8]), ARGV[10], {ARGV[2], active, redis.call('HGET', KEYS[5], 'model_id')})
redis.call('PUBLISH', ARGV[9], ARGV[2])
return {'ok', active}
"""
)
_NOMINATE: Final = (
    """
-- KEYS: as above   ARGV: token, id, bytes, expected, by, reason, at, channel, run, keep, prefix
"""
    + _FENCE
    + _TRIM
    + """
if active ~= ARGV[4] then return {'conflict', active} end
if active == ARGV[2] then return {'same', active} end
local there = redis.call('GET', KEYS[2])
if there and there ~= ARGV[3] then return {'other', active} end
local before = redis.call('HMGET', KEYS[5], 'model_id', 'run_id')
if there and before[1] == ARGV[2] and before[2] == ARGV[9] then return {'ok', active} end
redis.call('SET', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[4], 'NX', ARGV[7], ARGV[2])
redis.call('DEL', KEYS[5])
redis.call('HSET', KEYS[5], 'model_id', ARGV[2], 'run_id', ARGV[9], 'base', active, 'at', ARGV[7])
redis.call('XADD', KEYS[3], 'MAXLEN', '1000', '*', 'action', 'candidate', 'model_id', ARGV[2], 'before', active,
  'by', ARGV[5], 'reason', ARGV[6], 'at', ARGV[7])
trim(tonumber(ARGV[10]), ARGV[11], {ARGV[2], active, false})
redis.call('PUBLISH', ARGV[8], ARGV[2])
return {'ok', active}
"""
)
_WITHDRAW: Final = (
    """
-- KEYS: as above   ARGV: token, id, by, reason, at, channel
"""
    + _FENCE
    + """
if redis.call('HGET', KEYS[5], 'model_id') ~= ARGV[2] then return {'ok', active} end
redis.call('DEL', KEYS[5])
redis.call('XADD', KEYS[3], 'MAXLEN', '1000', '*', 'action', 'withdrawn', 'model_id', ARGV[2], 'before', active,
  'by', ARGV[3], 'reason', ARGV[4], 'at', ARGV[5])
redis.call('PUBLISH', ARGV[6], ARGV[2])
return {'ok', active}
"""
)
_NOT_ACTIVE: Final = ("candidate", "withdrawn")
"""Steps that leave the active model as it is."""


def fence_key(prefix: str) -> str:
    """The Redis key of the latest fencing token.

    >>> fence_key("segstream:")
    'segstream:trainer:fence'
    """
    return f"{prefix}trainer:fence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version that workers score beside the active one, to be judged before it may take its place."""

    model_id: str
    run_id: str
    """The trainer's run that it came of."""
    base: str | None
    """The version that was active then: the candidate is judged against it, and replaces nothing else."""
    at: int
    """Microseconds UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One step in the life of the models."""

    action: str
    model_id: str
    before: str | None
    by: str
    reason: str
    at: int
    """Microseconds UTC."""


class Registry:
    """The models of one installation. Errors of Redis pass through as redis.RedisError."""

    def __init__(self, client: redis.Redis, prefix: str = "segstream:") -> None:
        self._redis = client
        self._root = prefix
        self._prefix = f"{prefix}model:"
        self.active_key = f"{self._prefix}active"
        self.channel = f"{self._prefix}hint"
        self._log = f"{self._prefix}log"
        self._versions = f"{self._prefix}versions"
        self._candidate = f"{self._prefix}candidate"
        self._fence = fence_key(prefix)
        self._activate = client.register_script(_ACTIVATE)
        self._nominate = client.register_script(_NOMINATE)
        self._withdraw = client.register_script(_WITHDRAW)

    def publish(
        self, model_id: str, sealed: bytes, *, at: int, by: str, expected: str | None = "*", reason: str = ""
    ) -> str | None:
        """Store a version and make it the active one; returns the id that was active before.

        `expected` is the id that must be active now (None: no model at all, "*": whatever). Raises RegistryConflict otherwise,
        or where other bytes are stored under this id.
        """
        if not sealed:
            raise ValueError("an artifact cannot be empty")
        return self._run("published", model_id, sealed, at=at, by=by, expected=expected, reason=reason)

    def activate(
        self,
        model_id: str,
        *,
        at: int,
        by: str,
        expected: str | None = "*",
        reason: str = "",
        action: str = "activated",
        token: str = "",
    ) -> str | None:
        """Make a stored version the active one; returns the id that was active before.

        Raises RegistryConflict where it isn't stored, Fenced where a `token` is given that is not the latest.
        """
        return self._run(action, model_id, b"", at=at, by=by, expected=expected, reason=reason, token=token)

    def nominate(
        self, model_id: str, sealed: bytes, *, run_id: str, base: str | None, at: int, by: str, reason: str, token: str
    ) -> None:
        """Store a version and make it the candidate; doing it again changes nothing.

        Raises RegistryConflict where another version than `base` is active, where it is the active one itself, or where other bytes
        are stored under this id; Fenced where the token is not the latest.
        """
        args: list[Any] = [
            token,
            model_id,
            sealed,
            base or "",
            by,
            reason,
            at,
            self.channel,
            run_id,
            KEEP,
            self._prefix,
        ]
        self._judge(self._nominate(keys=self._keys(model_id), args=args), model_id, base)

    def withdraw(self, model_id: str, *, at: int, by: str, reason: str, token: str) -> None:
        """Take the candidate back; nothing is done where another one or none is there. Raises Fenced."""
        args: list[Any] = [token, model_id, by, reason, at, self.channel]
        self._judge(self._withdraw(keys=self._keys(model_id), args=args), model_id, None)

    def candidate(self) -> Candidate | None:
        """The candidate, None where there is none."""
        found: Any = self._redis.hgetall(self._candidate)
        if not found:
            return None
        fields = {name.decode(): value.decode() for name, value in found.items()}
        return Candidate(
            model_id=fields["model_id"], run_id=fields["run_id"], base=fields["base"] or None, at=int(fields["at"])
        )

    def trial(self, candidate: Candidate) -> Comparison:
        """A candidate and its base by the live customers that both were tried on until now."""
        return shadow.read(self._redis, self._root, candidate.run_id)

    def rollback(self, *, at: int, by: str, reason: str = "") -> str:
        """Make the version active that was so before the present one; returns its id. Raises RegistryConflict where there is none."""
        active = self.active()
        for entry in self.history():
            if entry.action in _NOT_ACTIVE or entry.model_id != active:
                continue
            if entry.before and entry.before != active and self.load(entry.before):
                self.activate(entry.before, at=at, by=by, expected=active, reason=reason, action="rolled-back")
                return entry.before
        raise RegistryConflict("there is no earlier model to go back to")

    def _run(
        self,
        action: str,
        model_id: str,
        sealed: bytes,
        *,
        at: int,
        by: str,
        expected: str | None,
        reason: str,
        token: str = "",
    ) -> str | None:
        args: list[Any] = [token, model_id, sealed, action, by, reason, at, KEEP, self.channel, self._prefix]
        return self._judge(self._activate(keys=self._keys(model_id), args=[*args, expected or ""]), model_id, expected)

    def _keys(self, model_id: str) -> list[str]:
        return [
            self.active_key,
            self._prefix + model_id,
            self._log,
            self._versions,
            self._candidate,
            self._fence,
        ]

    def _judge(self, answer: list[bytes], model_id: str, expected: str | None) -> str | None:
        verdict, before = (part.decode() for part in answer)
        if verdict == "fenced":
            raise Fenced(f"another trainer has taken over (its token is {before or 'lost'}): nothing was changed")
        if verdict == "conflict":
            raise RegistryConflict(
                f"the active model is {before or 'none'}, not {expected or 'none'}: someone has published meanwhile"
            )
        if verdict == "same":
            raise RegistryConflict(f"{model_id} is the active model already: the training has found nothing new")
        if verdict == "missing":
            raise RegistryConflict(f"model {model_id} is not stored here; `segstream models list` shows what is")
        if verdict == "other":
            raise RegistryConflict(
                f"other bytes are already stored as {model_id}; a published version is never changed"
            )
        return before or None

    def active(self) -> str | None:
        """The id of the active model."""
        value = self._redis.get(self.active_key)
        return value.decode() if value else None  # type: ignore[union-attr]

    def load(self, model_id: str) -> bytes | None:
        """The signed artifact of a version, None where it isn't stored."""
        return self._redis.get(self._prefix + model_id)  # type: ignore[return-value]

    def versions(self) -> list[tuple[str, int]]:
        """The stored versions and when they were published (microseconds), latest first."""
        found: Any = self._redis.zrevrange(self._versions, 0, -1, withscores=True)
        return [(name.decode(), int(score)) for name, score in found]

    def history(self, count: int = 100) -> list[LogEntry]:
        """The latest steps, latest first."""
        entries: Any = self._redis.xrevrange(self._log, count=count)
        return [_entry({k.decode(): v.decode() for k, v in fields.items()}) for _, fields in entries]


def _entry(fields: dict[str, str]) -> LogEntry:
    return LogEntry(
        action=fields["action"],
        model_id=fields["model_id"],
        before=fields["before"] or None,
        by=fields["by"],
        reason=fields["reason"],
        at=int(fields["at"]),
    )
