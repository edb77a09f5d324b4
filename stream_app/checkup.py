"""How a worker is: looked at from outside, for its health, its gauges, and what it reports to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.vitals import Vitals
from stream_app.health import INPUTS, Condition, Progress, Verdict, judge

if TYPE_CHECKING:
    from stream_app.app import Worker
    from stream_app.fastlane.transport import ChunkConsumer


def condition(worker: Worker) -> Condition:
    """What is known about a worker now."""
    consumer: ChunkConsumer = worker.app.consumer  # type: ignore[assignment]
    owned, ends = worker.store.owned, worker.app.monitor.tp_end_offsets
    for tp in consumer.assignment() if owned else ():
        if tp.topic in INPUTS:
            progress = worker.progress.setdefault(tp, Progress(consumer.sought.get(tp, 0)))
            progress.end = ends.get(tp) or 0
    state = worker.watch.state
    return Condition(
        started=bool(owned),
        recovering=worker.app.in_recovery,
        owned=owned,
        leased=worker.lease.holds,
        progress={f"{tp.topic}-{tp.partition}": progress for tp, progress in worker.progress.items()},
        model_id=worker.model.id if worker.model else None,
        model_refused=state.refused,
        redis_error=state.redis_error,
        projection_error=worker.projection.error,
        rounds_error=worker.rounds.error,
        stalled=worker.watchdog.reasons,
    )


def vitals(worker: Worker) -> Vitals:
    """What others are told of its model; the reporter adds time and counters."""
    state = worker.watch.state
    return Vitals(
        worker=worker.reporter.name(),
        at=0,
        model_id=worker.model.id if worker.model else "",
        refused_id=state.refused_id,
        refused=state.refused,
    )


def is_unready(worker: Worker) -> bool:
    """Not doing its work, though nothing is being restored: a start or a rebalance is no model's fault."""
    found = condition(worker)
    return found.started and not found.recovering and not judge(found).ready


def verdict(worker: Worker) -> tuple[Condition, Verdict]:
    """The condition and what it means; brings the gauges up to date."""
    found = condition(worker)
    judged = judge(found)
    metrics, restored = worker.metrics, worker.restored()
    metrics.ready.set(judged.ready)
    metrics.restored.set(restored.records)
    metrics.to_restore.set(restored.remaining)
    metrics.customers.set(worker.known)
    metrics.expired.set(worker.app.consumer.expired)  # type: ignore[attr-defined]
    return found, judged
