"""Whether the worker does its work, in words: judged by progress, not by being alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from faust.types import TP

from schemas import topics
from stream_app.fastlane.table import PartitionStore
from stream_app.fastlane.transport import ChunkConsumer
from stream_app.watchdog import Standing

INPUTS: Final = {topic.name for topic in topics.INPUTS}


@dataclass(slots=True)
class Progress:
    """How far one source partition is: next offset to be acknowledged, and the end of the log as last fetched."""

    acknowledged: int
    end: int = 0

    @property
    def lag(self) -> int:
        """Offsets not yet acknowledged."""
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
    rounds_error: str = ""
    leased: bool = True
    """Whether something may be written: the group has answered lately."""
    stalled: tuple[str, ...] = ()
    """What the watchdog has to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Ready or not and why; `degraded` names what is wrong but does not keep events from being handled."""

    ready: bool
    reasons: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)


def judge(condition: Condition) -> Verdict:
    """The verdict on a worker.

    >>> judge(Condition(started=True, recovering=True, owned=frozenset(), progress={}, model_id="m-1", model_refused="",
    ...                 redis_error="", projection_error="")).reasons
    ['customers are being restored from the changelog']
    """
    reasons = list(condition.stalled)
    if not condition.started:
        reasons.append("not yet a member of the consumer group")
    elif condition.recovering:
        reasons.append("customers are being restored from the changelog")
    elif not condition.leased:
        reasons.append("the consumer group has not answered lately: nothing may be written")
    if condition.model_id is None:
        reasons.append("no model yet: `segstream train --publish`")
    degraded = []
    if condition.model_refused:
        degraded.append(f"the active model was refused, the old one is kept: {condition.model_refused}")
    if condition.redis_error:
        degraded.append(f"the model registry gives no model: {condition.redis_error}")
    if condition.projection_error:
        degraded.append(f"customers wait to be written to redis: {condition.projection_error}")
    if condition.rounds_error:
        degraded.append(f"customers wait to be decided anew: {condition.rounds_error}")
    return Verdict(ready=not reasons, reasons=reasons, degraded=degraded)


def standing(consumer: ChunkConsumer, store: PartitionStore, progress: Mapping[TP, Progress]) -> Standing:
    """How far everything is, for the watchdog: called from its thread, so that nothing is looked at twice."""
    owned, sought, committed = store.owned, consumer.sought, consumer.committed()
    sources = [tp for tp in consumer.assignment() if tp.topic in INPUTS]
    known = dict(progress)
    done = {tp: known[tp].acknowledged if tp in known else sought.get(tp, 0) for tp in sources}
    return Standing(
        acknowledged={(tp.topic, tp.partition): at for tp, at in done.items() if tp.partition in owned},
        committed={(tp.topic, tp.partition): committed.get(tp, sought.get(tp, 0)) for tp in sources},
        restoring=bool(sources) and not owned,
        restored=store.recovered,
        assigned=bool(sources),
        member_id=consumer.member_id,
    )
