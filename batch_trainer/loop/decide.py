"""What to do next: a function of what the loop remembers, what it sees, its policy and the time. Everything it decides is data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from batch_trainer.gates import Gate, failing
from batch_trainer.loop import judge
from batch_trainer.loop.alerts import Alert, Reason, reasons
from batch_trainer.loop.state import SECOND, Phase, Policy, Request, Run, State, builtins, run_id
from schemas.changes import ModelEvent, ModelStep
from schemas.model import Model
from schemas.registry import Candidate
from schemas.shadow import Comparison
from schemas.times import parse_rfc3339, rfc3339
from schemas.vitals import Vitals

ATTEMPTS: Final = 3
"""A training that was begun so often and never came to an end is given up."""
RETRY: Final = 3600 * SECOND
"""After a training that failed the next one may come so soon, unless the minimum gap is shorter."""
BY: Final = "trainer"
NOBODY: Final = Comparison(customers=0, moved=0, matrix=(), log_distance_before=0.0, log_distance_after=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The world as it is now."""

    active: str | None = None
    model: Model | None = None
    """The active model, None where there is none or where it cannot be read."""
    alerts: tuple[Alert, ...] = ()
    """Those open."""
    requests: tuple[Request, ...] = ()
    candidate: Candidate | None = None
    shadowed: Model | None = None
    """The candidate's model."""
    comparison: Comparison = NOBODY
    vitals: tuple[Vitals, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Nothing to do yet."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The state is another one now; `answered` requests need not be kept."""

    state: State
    answered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train, or go on with it: the result is for `trained` or `failed`."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """Make the candidate the active model, in place of the run's base and of no other."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Take the candidate back."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """Make the run's base the active model again, in place of the candidate and of no other."""

    run: Run


Action = Rest | Record | Train | Activate | Withdraw | RollBack


def decide(state: State, seen: Seen, policy: Policy, now: int) -> Action:
    """The next step; `now` in microseconds."""
    run = state.run
    if run is None:
        return _whether_to_train(state, seen, policy, now)
    match run.phase:
        case "training":
            return _training(state, run, seen, now)
        case "shadowing":
            return _shadowing(state, run, seen, policy, now)
        case "activating":
            return Activate(run=run)
        case "refusing":
            return Withdraw(run=run)
        case "probation":
            return _probation(state, run, seen, policy, now)
        case "rolling-back":
            return RollBack(run=run)


def _whether_to_train(state: State, seen: Seen, policy: Policy, now: int) -> Action:
    asked = [Reason(kind="hand", text=f"{r.reason} ({r.by})", source=r.request_id) for r in seen.requests]
    found = [*asked, *reasons(seen.alerts, seen.active), *_by_the_clock(state, seen, policy, now)]
    if not found:
        return Rest(why="no reason to train")
    if not asked and now < state.not_before:
        return Rest(why=f"there is a reason to train, but not before {rfc3339(state.not_before)}: {found[0].text}")
    run = Run(run_id=run_id(found, now), reasons=tuple(found), started_at=now, since=now)
    begun = msgspec.structs.replace(state, run=run, not_before=now + policy.min_gap, trained_at=now)
    details = {"reasons": builtins(run.reasons)}
    told = tell(begun, run, "training-started", now, run.reason, model_id=seen.active or "", details=details)
    return Record(state=told, answered=tuple(r.request_id for r in seen.requests))


def _by_the_clock(state: State, seen: Seen, policy: Policy, now: int) -> list[Reason]:
    if seen.active is None:
        return [Reason(kind="none", text="there is no model yet")]
    found = []
    if seen.model is not None and policy.max_age:
        age = now - parse_rfc3339(seen.model.artifact.trained_at)
        if age > policy.max_age:
            found.append(Reason(kind="age", text=f"{seen.active} is {age / SECOND / 86_400:.1f} days old"))
    if policy.schedule and now - state.trained_at >= policy.schedule:
        found.append(Reason(kind="schedule", text=f"every {policy.schedule / SECOND:.0f} s"))
    return found


def _training(state: State, run: Run, seen: Seen, now: int) -> Action:
    if seen.candidate is not None and seen.candidate.run_id == run.run_id:
        # Published, and recorded only now: whoever published it did not get that far.
        return Record(state=nominated(state, run, seen.candidate, seen.vitals, now))
    if run.attempts >= ATTEMPTS:
        reason = f"the training was interrupted {run.attempts} times"
        return Record(state=_ended(tell(state, run, "training-abandoned", now, reason), now, retry=True))
    return Train(run=run)


def attempted(state: State, run: Run) -> State:
    """One more training is begun for the run."""
    return msgspec.structs.replace(state, run=msgspec.structs.replace(run, attempts=run.attempts + 1))


def refused(state: State, run: Run, model_id: str, gates: Sequence[Gate], reason: str, now: int) -> State:
    """The training came to a model that the gates do not let through."""
    details = {"gates": builtins(tuple(g for g in gates if not g.holds))}
    return _ended(tell(state, run, "training-refused", now, reason, model_id=model_id, details=details), now)


def failed(state: State, run: Run, reason: str, now: int) -> State:
    """The training came to no model."""
    return _ended(tell(state, run, "training-failed", now, reason), now, retry=True)


def nominated(state: State, run: Run, entry: Candidate, reports: tuple[Vitals, ...], now: int) -> State:
    """The candidate is published, and workers begin to try it."""
    run = _on(run, "shadowing", now, base=entry.base, candidate=entry.model_id, before=reports)
    state = msgspec.structs.replace(state, run=run)
    return tell(state, run, "candidate-published", now, run.reason, details={"base": entry.base})


def _shadowing(state: State, run: Run, seen: Seen, policy: Policy, now: int) -> Action:
    if seen.active != run.base:
        reason = f"{seen.active or 'no model'} was activated meanwhile, {run.candidate} was tried against {run.base}"
        return Record(state=_resolved(state, run, "refusing", reason, now))
    if run.base is None:
        return Record(state=_resolved(state, run, "activating", "there was no model to compare it with", now))
    waited, found = now - run.since, seen.comparison
    enough = found.customers >= policy.sample and waited >= policy.shadow_for
    if not enough and waited < policy.shadow_timeout:
        return Rest(why=f"in the shadow: {found.customers} of {policy.sample} customers, {waited / SECOND:.0f} s")
    gates = judge.shadow(found, seen.model, seen.shadowed, policy)
    reason = failing(gates) or "every gate holds"
    details = {"comparison": builtins(found), "gates": builtins(gates)}
    state = tell(state, run, "shadow-compared", now, reason, details=details)
    return Record(state=_resolved(state, run, "refusing" if failing(gates) else "activating", reason, now, seen.vitals))


def _resolved(state: State, run: Run, phase: Phase, reason: str, now: int, reports: tuple[Vitals, ...] = ()) -> State:
    return msgspec.structs.replace(state, run=_on(run, phase, now, verdict=reason, switched=reports))


def activated(state: State, run: Run, now: int) -> State:
    """The candidate is the active model; the time begins in which it may be taken back."""
    state = msgspec.structs.replace(state, run=_on(run, "probation", now))
    return tell(state, run, "activated", now, run.verdict, details={"before": run.base})


def overtaken(state: State, run: Run, reason: str, now: int) -> State:
    """Somebody else switched models in the moment before the candidate was to be activated."""
    return _resolved(state, run, "refusing", reason, now)


def withdrawn(state: State, run: Run, now: int) -> State:
    """The candidate is taken back, and the old model stays."""
    return _ended(tell(state, run, "activation-refused", now, run.verdict), now)


def _probation(state: State, run: Run, seen: Seen, policy: Policy, now: int) -> Action:
    if seen.active != run.candidate:
        reason = f"{seen.active or 'no model'} was activated meanwhile"
        return Record(state=_ended(tell(state, run, "confirmed", now, reason), now))
    details = judge.told(run, seen.vitals)
    worse = judge.health(run, seen.vitals, policy, now)
    if worse and run.base is not None:
        return Record(state=_resolved(state, run, "rolling-back", "; ".join(worse), now, run.switched))
    if now - run.since < policy.rollback_within:
        return Rest(why=f"{run.candidate} is active and watched: {(now - run.since) / SECOND:.0f} s")
    reason = "; ".join(worse) or "nothing has become worse"
    return Record(state=_ended(tell(state, run, "confirmed", now, reason, details=details), now))


def rolled_back(state: State, run: Run, now: int) -> State:
    """The model from before is active again."""
    details = {"before": run.candidate}
    told = tell(state, run, "rolled-back", now, run.verdict, model_id=run.base or "", details=details)
    return _ended(told, now)


def kept(state: State, run: Run, error: str, now: int) -> State:
    """The candidate should have been taken back and could not be: somebody has switched, or the model from before is gone."""
    return _ended(tell(state, run, "confirmed", now, f"{run.verdict}; not rolled back: {error}"), now)


def told(state: State) -> State:
    """The first of the untold steps is told."""
    return msgspec.structs.replace(state, untold=state.untold[1:])


def tell(
    state: State,
    run: Run,
    action: ModelStep,
    now: int,
    reason: str,
    *,
    model_id: str | None = None,
    details: dict[str, Any] | None = None,
) -> State:
    """The state with a step that `model-events` is to be told of."""
    event = ModelEvent(
        action=action,
        model_id=run.candidate if model_id is None else model_id,
        at=rfc3339(now),
        by=BY,
        reason=reason,
        run_id=run.run_id,
        details=details or {},
    )
    return msgspec.structs.replace(state, untold=(*state.untold, event))


def _on(run: Run, phase: Phase, now: int, **more: Any) -> Run:
    return msgspec.structs.replace(run, phase=phase, since=now, **more)


def _ended(state: State, now: int, *, retry: bool = False) -> State:
    not_before = min(state.not_before, now + RETRY) if retry else state.not_before
    return msgspec.structs.replace(state, run=None, not_before=not_before)
