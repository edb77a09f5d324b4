"""Model versions in Redis: published once, never changed, one of them active; every step is one atomic script and leaves a log entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import redis

KEEP: Final = 5
"""How many versions are kept beside the active one."""


class RegistryConflict(RuntimeError):
    """Someone else was faster, or the version is not what it should be: look again before trying again."""


_ACTIVATE: Final = """
-- KEYS: active, artifact, log, versions   ARGV: expected ('*' = any), id, bytes ('' = must be there), action, by, reason, at, keep, channel, prefix
local active = redis.call('GET', KEYS[1]) or ''
if ARGV[1] ~= '*' and active ~= ARGV[1] then return {'conflict', active} end
local there = redis.call('GET', KEYS[2])
if ARGV[3] == '' then
  if not there then return {'missing', active} end
elseif there and there ~= ARGV[3] then return {'other', active}
elseif not there then redis.call('SET', KEYS[2], ARGV[3]) end
redis.call('ZADD', KEYS[4], 'NX', ARGV[7], ARGV[2])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '1000', '*', 'action', ARGV[4], 'model_id', ARGV[2], 'before', active, 'by', ARGV[5], 'reason', ARGV[6], 'at', ARGV[7])
local all = redis.call('ZRANGE', KEYS[4], 0, -1)
local excess = #all - tonumber(ARGV[8]) - 1
for _, id in ipairs(all) do
  if excess <= 0 then break end
  if id ~= ARGV[2] and id ~= active then
    redis.call('ZREM', KEYS[4], id)
    redis.call('DEL', ARGV[10] .. id)
    excess = excess - 1
  end
end
redis.call('PUBLISH', ARGV[9], ARGV[2])
return {'ok', active}
"""


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
        self._prefix = f"{prefix}model:"
        self.active_key = f"{self._prefix}active"
        self.channel = f"{self._prefix}hint"
        self._log = f"{self._prefix}log"
        self._versions = f"{self._prefix}versions"
        self._activate = client.register_script(_ACTIVATE)

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
    ) -> str | None:
        """Make a stored version the active one; returns the id that was active before. Raises RegistryConflict where it isn't stored."""
        return self._run(action, model_id, b"", at=at, by=by, expected=expected, reason=reason)

    def rollback(self, *, at: int, by: str, reason: str = "") -> str:
        """Make the version active that was so before the present one; returns its id. Raises RegistryConflict where there is none."""
        active = self.active()
        for entry in self.history():
            if entry.model_id == active and entry.before and entry.before != active and self.load(entry.before):
                self.activate(entry.before, at=at, by=by, expected=active, reason=reason, action="rolled-back")
                return entry.before
        raise RegistryConflict("there is no earlier model to go back to")

    def _run(
        self, action: str, model_id: str, sealed: bytes, *, at: int, by: str, expected: str | None, reason: str
    ) -> str | None:
        keys = [self.active_key, self._prefix + model_id, self._log, self._versions]
        args: list[Any] = [expected or "", model_id, sealed, action, by, reason, at, KEEP, self.channel, self._prefix]
        verdict, before = (part.decode() for part in self._activate(keys=keys, args=args))
        if verdict == "conflict":
            raise RegistryConflict(
                f"the active model is {before or 'none'}, not {expected or 'none'}: someone has published meanwhile"
            )
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
