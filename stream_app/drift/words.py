"""Alerts in plain words: what happened, since when, how sure, who is affected, the evidence, and what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from schemas.artifact import Reference
from schemas.changes import DriftAlert, Evidence
from schemas.drift import Baseline, Tally
from schemas.features import FEATURES
from schemas.reference import MIX, parts
from schemas.times import rfc3339
from stream_app.drift.detectors import Finding
from stream_app.drift.incidents import CAUSES, Step

_NONE: Final = Reference(n=0, mean=0.0, std=0.0)
_SIGNALS: Final = {
    "segment_mix": "the mix of segments",
    "log_distance": "the distance to the segments' centres",
    "reconstruction": "the reconstruction error",
    "flips": "the rate of changes of segment",
    "invalid": "the share of unusable messages",
    "event_rate": "the number of events per hour",
    "lateness": "the share of late events",
}
_UPSTREAM: Final = "One field broke upstream: ask who sends it what was released since then; once it is mended, the alert resolves by itself."


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an alert is explained with: the model's expectations, and the events that show it."""

    known: Baseline
    tally: Tally


def alert(step: Step, context: Context, now: int, cooldown: int) -> DriftAlert:
    """The event that tells a step of an alert's life. Times in microseconds."""
    incident = step.incident
    lead = incident.lead
    ranked = sorted(
        incident.findings.values(), key=lambda f: (f.key != lead.key, f.signal not in CAUSES, -f.likely, f.key)
    )
    evidence = tuple(_evidence(finding, context) for finding in ranked)
    reference = context.known.sums.get(lead.signal, _NONE)
    share, segments = _affected(evidence[0], context)
    return DriftAlert(
        alert_id=incident.alert_id,
        level=incident.level,
        signal=lead.signal,
        model_id=incident.model_id,
        direction=lead.direction,
        partition=-1,
        statistic=lead.statistic,
        reference_mean=reference.mean,
        reference_std=reference.std,
        n=lead.n,
        event_time=rfc3339(context.tally.end or now),
        raised_at=rfc3339(now),
        cooldown_until=rfc3339(now + cooldown),
        message=_message(step, ranked, share, context),
        suggested_action=_action(step, ranked),
        status=step.status,
        feature=lead.feature or None,
        threshold=lead.threshold,
        first_seen=rfc3339(incident.first_seen),
        confidence=_confidence(lead),
        affected_share=share,
        affected_segments=segments,
        evidence=evidence,
    )


def _evidence(finding: Finding, context: Context) -> Evidence:
    name = MIX if finding.signal == "segment_mix" else finding.feature
    known, seen = context.known.features.get(name), context.tally.features.get(name)
    if known is None or seen is None or finding.signal not in (*CAUSES, "segment_mix"):
        return Evidence(
            signal=finding.signal, feature=finding.feature or None, statistic=finding.statistic, threshold=finding.threshold,
            n=finding.n, direction=finding.direction,
        )  # fmt: skip
    pieces, bins = parts(known, seen), known.bins
    names = context.known.names
    labelled = tuple(names.get(label, label) for label in bins) if name == MIX else bins
    top = sorted(range(len(pieces)), key=lambda i: -pieces[i])[:3]
    return Evidence(
        signal=finding.signal,
        feature=finding.feature or None,
        statistic=finding.statistic,
        threshold=finding.threshold,
        n=finding.n,
        direction=finding.direction,
        bins=labelled,
        reference=tuple(round(share, 4) for share in known.shares),
        current=tuple(round(count / max(1, seen.n), 4) for count in seen.bins),
        top=tuple(labelled[i] for i in top),
    )


def _affected(evidence: Evidence, context: Context) -> tuple[float, dict[str, float]]:
    """Share of events that lie elsewhere than they should, and the segments whose share has changed most (by id)."""
    if evidence.signal in ("nulls", "unseen", "invalid", "lateness", "flips"):
        share = evidence.statistic
    else:
        share = sum(max(0.0, now - then) for then, now in zip(evidence.reference, evidence.current, strict=True))
    known, seen = context.known.features.get(MIX), context.tally.features.get(MIX)
    if known is None or seen is None or not seen.n:
        return round(share, 4), {}
    moved = {
        label: round(count / seen.n - then, 4)
        for label, then, count in zip(known.labels, known.shares, seen.bins, strict=False)
    }
    largest = sorted(moved, key=lambda label: (-abs(moved[label]), label))[:3]
    noise = 2.0 / math.sqrt(seen.n)  # four standard deviations of a share, at most
    return round(share, 4), {label: moved[label] for label in largest if abs(moved[label]) >= max(0.02, noise)}


def called(name: str) -> str:
    """A feature or field as people call it.

    >>> called("gross_spend"), called("products.brand")
    ('gross spend', 'products.brand')
    """
    return FEATURES[name].label if name in FEATURES else name


def _message(step: Step, ranked: list[Finding], share: float, context: Context) -> str:
    if step.successor:
        return f"Over: model {step.successor} has taken over; what goes on is held against it, and told anew."
    if step.status == "resolved":
        return f"Over: {_what(ranked[0])} no longer shows in {step.incident.clean} windows in a row."
    lead, *others = ranked
    what = _what(lead)
    told = [f"{what[0].upper()}{what[1:]}, since {rfc3339(step.incident.first_seen)[:16]}Z"]
    features = dict.fromkeys(called(f.feature) for f in others if f.feature and f.feature != lead.feature)
    if features:
        told.append(f"with it moved {', '.join(features)}")
    follows = [_SIGNALS[f.signal] for f in others if not f.feature]
    if follows:
        told.append(f"so did {', '.join(follows)}")
    if share:
        told.append(f"{share:.0%} of the events are affected")
    return "; ".join(told) + "."


def _what(finding: Finding) -> str:
    name = called(finding.feature)
    if finding.signal == "feature":
        return f"{name} is distributed otherwise than in training ({finding.direction}; PSI {finding.statistic:.2f}, alert above {finding.threshold:.2f})"
    if finding.signal == "relation":
        where = "higher" if finding.direction == "up" else "lower"
        expected = "the other features of the same customers lead one to expect"
        return f"{name} is {where} than {expected} ({finding.statistic:.2f} standard deviations, alert above {finding.threshold:.2f})"
    if finding.signal == "nulls":
        return f"{name} is empty in {finding.statistic:.0%} of the events (alert above {finding.threshold:.0%})"
    if finding.signal == "unseen":
        return f"{name} holds labels that training never saw in {finding.statistic:.1%} of the events (alert above {finding.threshold:.1%})"
    if finding.signal == "event_rate":
        return (
            f"{finding.n} events in an hour are {finding.statistic:.2g} times what this hour of the week usually brings"
        )
    if finding.signal == "segment_mix":
        return f"the mix of segments is another one than in training (PSI {finding.statistic:.2f}, alert above {finding.threshold:.2f})"
    if finding.signal in ("log_distance", "reconstruction"):
        where = "farther from" if finding.direction == "up" else "closer to"
        what = "the centres of their segments" if finding.signal == "log_distance" else "the plane of the model"
        return f"active customers lie {where} {what} than in training ({finding.statistic:.2f} standard deviations, alert above {finding.threshold:.2f})"
    return f"{_SIGNALS[finding.signal]} is {finding.statistic:.1%} (alert above {finding.threshold:.1%})"


def _confidence(lead: Finding) -> str:
    if lead.signal == "event_rate":
        return "Against the median of the same hour of the weeks before."
    return f"{lead.n} events; chance alone would exceed the threshold less than once in ten million windows; {lead.strength:.1f} times the threshold."


def _action(step: Step, ranked: list[Finding]) -> str:
    if step.status == "resolved":
        return "Nothing."
    lead = ranked[0]
    if lead.signal in ("nulls", "invalid"):
        return _UPSTREAM
    if lead.signal == "unseen":
        return "Look at the new labels: a renamed one is mended upstream; a new market or brand needs a retraining: `segstream train --publish`."
    if lead.signal in ("event_rate", "lateness"):
        return "Look at the producers and at the queue before Kafka; the segments of customers stay right, but late."
    moved = {f.feature for f in ranked if f.signal in ("feature", "relation")}
    if lead.signal in ("feature", "relation") and (lead.statistic > 1.0 or len(moved) == 1):
        data = f"the data behind {called(lead.feature)} (units, currency, a release)"
        return f"One feature moved: look first at {data}; if it is real, retrain: `segstream train --publish`."
    return "The population moved: look at campaigns, seasons and markets; if it is here to stay, retrain: `segstream train --publish`."
