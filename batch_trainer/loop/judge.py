"""Two judgements, both on numbers alone: of a candidate by live customers, and of the workers after it was activated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from batch_trainer.gates import Gate
from batch_trainer.loop.state import Policy, Run
from schemas.artifact import Reference
from schemas.model import Model
from schemas.shadow import Comparison
from schemas.vitals import Vitals, rates

ENOUGH: Final = 200
"""Events by which rates are compared at the earliest."""
CHANGES: Final = 0.05
"""Changes per event that are nobody's concern, however few there were before."""
FAULTS: Final = 0.001
"""Share of events on which a decision may fail, beyond the share before."""
LARGEST: Final = 0.9
"""Share of the customers in one segment beyond which segments tell nothing any more."""
_SIGNAL: Final = "log_distance"
_UNKNOWN: Final = Reference(n=0, mean=0.0, std=1.0)


def away(model: Model | None, log_distance: float) -> float:
    """How far live customers lie from what a model has learnt, in standard deviations of its log distance.

    Distances of two models are in units of their own; this is not. A model without reference is measured in logarithms alone.
    """
    known = _UNKNOWN if model is None else model.artifact.reference.get(_SIGNAL, _UNKNOWN)
    return (log_distance - known.mean) / (known.std if known.std > 0.0 else 1.0)


def shadow(found: Comparison, active: Model | None, candidate: Model | None, policy: Policy) -> tuple[Gate, ...]:
    """The gates of a candidate, by the customers that both models were tried on."""
    before, after = away(active, found.log_distance_before), away(candidate, found.log_distance_after)
    largest = tuple(max(side.values(), default=0.0) for side in (found.mix() if found.customers else ({}, {})))
    return (
        Gate(
            name="shadow_sample",
            threshold=policy.sample,
            value=found.customers,
            holds=found.customers >= policy.sample,
            meaning="live customers seen by both models; wait longer, or sample more of them (shadow_one_in, shadow_rate)",
        ),
        Gate(
            name="shadow_moved_share",
            threshold=policy.max_moved,
            value=found.share,
            holds=found.share <= policy.max_moved,
            meaning="share of the live customers who would change segment; `segstream models shadow` says from where to where",
        ),
        Gate(
            name="shadow_distance",
            threshold=before + policy.worse_distance,
            value=after,
            holds=after <= before + policy.worse_distance,
            meaning="how far live customers lie from what the model has learnt (standard deviations), against the active model",
        ),
        Gate(
            name="shadow_mix",
            threshold=max(LARGEST, largest[0]),
            value=largest[1],
            holds=largest[1] <= max(LARGEST, largest[0]),
            meaning="share of the largest segment among live customers; beyond it the segments tell nothing any more",
        ),
    )


def health(run: Run, reports: Sequence[Vitals], policy: Policy, now: int) -> tuple[str, ...]:
    """What has become worse since the candidate was activated, in words; empty where nothing has.

    The rates since then are held against those while it was in the shadow.
    """
    found = [f"{r.worker} refuses it: {r.refused}" for r in reports if r.refused_id == run.candidate]
    found += [
        f"{r.worker} has not been ready for {r.unready_for:.0f} s" for r in reports if r.unready_for > policy.unready
    ]
    if run.switched and not reports and now - run.since > policy.unready * 1_000_000:
        found.append("no worker reports any more")
    before, after = rates(run.before, run.switched), rates(run.switched, reports)
    if after.events < ENOUGH:
        return tuple(found)
    bounds: dict[str, tuple[str, float]] = {
        "dead_letters": ("messages became dead letters", policy.dead_letters + before.per_event("dead_letters")),
        "faults": ("decisions failed", FAULTS + before.per_event("faults")),
        "changes": (
            "customers changed segment per event",
            max(CHANGES, policy.changes * before.per_event("changes")) if before.events >= ENOUGH else 1.0,
        ),
    }
    for name, (words, bound) in bounds.items():
        share = after.per_event(name)
        if share > bound:
            found.append(f"{words}: {share:.2%} of {after.events} events, at most {bound:.2%}")
    return tuple(found)


def told(run: Run, reports: Sequence[Vitals]) -> dict[str, Any]:
    """The rates before and after, for the record."""
    pair = {"before": rates(run.before, run.switched), "after": rates(run.switched, reports)}
    return {name: {field: getattr(r, field) for field in r.__struct_fields__} for name, r in pair.items()}
