"""Whether the worker does its work: judged by progress, not by being alive."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

STALLED_AFTER: Final = 60.0
"""Seconds without an acknowledged record, while there are some to read, after which a partition counts as stalled."""


@dataclass(slots=True)
class Progress:
    """How far one source partition is: next offset to be acknowledged, end of the log, when it last moved (monotonic seconds)."""

    acknowledged: int
    moved_at: float
    end: int = 0

    @property
    def lag(self) -> int:
        """Records not yet acknowledged."""
        return max(0, self.end - self.acknowledged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is known about a worker at one moment."""

    started: bool
    recovering: bool
    owned: frozenset[int]
    progress: dict[str, Progress]
    model_id: str | None
    model_refused: str
    redis_error: str
    projection_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Ready or not and why; `degraded` names what is wrong but does not keep events from being handled."""

    ready: bool
    reasons: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)


def judge(condition: Condition, now: float) -> Verdict:
    """The verdict on a worker; `now` in monotonic seconds.

    >>> judge(Condition(started=True, recovering=True, owned=frozenset(), progress={}, model_id="m-1", model_refused="",
    ...                 redis_error="", projection_error=""), 0.0).reasons
    ['customers are being restored from the changelog']
    """
    reasons = []
    if not condition.started:
        reasons.append("not yet a member of the consumer group")
    elif condition.recovering:
        reasons.append("customers are being restored from the changelog")
    if condition.model_id is None:
        reasons.append("no model yet: `segstream train --publish`")
    reasons += [
        f"{name}: {progress.lag} records wait and none was acknowledged for {now - progress.moved_at:.0f} s"
        for name, progress in sorted(condition.progress.items())
        if progress.lag and now - progress.moved_at > STALLED_AFTER
    ]
    degraded = []
    if condition.model_refused:
        degraded.append(f"the active model was refused, the old one is kept: {condition.model_refused}")
    if condition.redis_error:
        degraded.append(f"the model registry cannot be read: {condition.redis_error}")
    if condition.projection_error:
        degraded.append(f"redis takes no projection: {condition.projection_error}")
    return Verdict(ready=not reasons, reasons=reasons, degraded=degraded)
