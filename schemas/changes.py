"""What goes out: changes of segment, drift alerts and model events, as JSON with CloudEvents headers."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from schemas.times import rfc3339

Cause = Literal["behaviour", "time", "model", "bootstrap", "correction", "erasure"]


class SegmentChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A customer has moved from one segment to another, and why; or she was erased, and is nowhere any more."""

    change_id: str
    """Deterministic: a repeated change carries the same id."""
    user_id: str
    from_segment: str | None
    from_name: str | None
    to_segment: str | None
    """None: she was erased. Forget her too."""
    to_name: str | None
    cause: Cause
    caused_by: str
    """The event (topic, partition, offset) or the model that caused it."""
    model_id: str
    feature_spec: str
    margin: float
    features: dict[str, float | str | None]
    event_time: str
    decided_at: str
    sequence: int
    likely_segment: str | None = None
    """Of a prospect: the segment she will likely be in when she buys, by her traits. Left out where the model does not say."""
    likely_name: str | None = None
    likely_probability: float | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One signal that speaks, and the two histograms where it has them."""

    signal: str
    feature: str | None = None
    statistic: float
    threshold: float
    n: int
    """Events looked at."""
    direction: Literal["up", "down", "changed"]
    bins: tuple[str, ...] = ()
    """What each bin holds, for people."""
    reference: tuple[float, ...] = ()
    """Shares of the training events per bin."""
    current: tuple[float, ...] = ()
    top: tuple[str, ...] = ()
    """The bins that contribute most."""


class DriftAlert(msgspec.Struct, frozen=True, kw_only=True):
    """The stream no longer looks like the data the model was trained on; one event for each step of an alert's life."""

    alert_id: str
    """Deterministic; the same from opened to resolved."""
    level: Literal["warning", "drift"]
    signal: str
    """The signal that leads: feature, relation, nulls, unseen, segment_mix, log_distance, reconstruction, flips, invalid, event_rate or lateness."""
    model_id: str
    direction: Literal["up", "down", "changed"]
    partition: int
    """Not used any more: alerts speak of all partitions (-1)."""
    statistic: float
    reference_mean: float
    reference_std: float
    n: int
    """Events looked at."""
    event_time: str
    """The latest event that it speaks of."""
    raised_at: str
    cooldown_until: str
    message: str
    suggested_action: str
    status: Literal["opened", "escalated", "resolved"] = "opened"
    feature: str | None = None
    """The feature or field that leads, as the model or the message names it."""
    threshold: float = 0.0
    first_seen: str = ""
    """Event time at which the first window that shows it began."""
    confidence: str = ""
    """How sure it is, in plain words."""
    affected_share: float = 0.0
    """Share of events that lie elsewhere than they should."""
    affected_segments: dict[str, float] = {}
    """The segments whose share has changed most, by id: their share now minus the share in training."""
    evidence: tuple[Evidence, ...] = ()
    """Everything that speaks, what leads first."""

    @property
    def event_id(self) -> str:
        """Deterministic id of this step (`ce_id`): a repeated event carries the same."""
        step = f"{self.alert_id}:{self.status}:{self.level}:{self.feature or self.signal}"
        features = {sign.feature for sign in self.evidence if sign.signal == "feature"}
        return f"{step}:several" if self.status == "escalated" and len(features) > 1 else step


ModelStep = Literal[
    "training-started",
    "training-refused",
    "training-failed",
    "training-abandoned",
    "candidate-published",
    "shadow-compared",
    "activation-refused",
    "published",
    "activated",
    "rolled-back",
    "confirmed",
    "refused",
]


class ModelEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something has happened to a model, or on the way to one."""

    action: ModelStep
    model_id: str
    """Empty before there is one."""
    at: str
    by: str
    reason: str = ""
    run_id: str = ""
    """The trainer's run that it is a step of; empty: done by hand, or by a worker."""
    details: dict[str, Any] = {}
    """What the step was decided by: gates, the comparison, the workers' rates."""

    @property
    def event_id(self) -> str:
        """The same for the same step, however often it is told."""
        return f"{self.run_id}:{self.action}" if self.run_id else f"{self.action}:{self.model_id}:{self.at}"


_SOURCE: Final = "segstream"
_TYPES: Final = {SegmentChanged: "segment.changed", DriftAlert: "drift.alert", ModelEvent: "model.event"}

encode = msgspec.json.Encoder().encode


def decode_change(data: bytes) -> SegmentChanged:
    """The change that `encode` wrote. Raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(data, type=SegmentChanged)


def decode_alert(data: bytes) -> DriftAlert:
    """The alert that `encode` wrote. Raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(data, type=DriftAlert)


def decode_model_event(data: bytes) -> ModelEvent:
    """The model event that `encode` wrote. Raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(data, type=ModelEvent)


def headers(
    event: SegmentChanged | DriftAlert | ModelEvent, event_id: str, subject: str, at: int
) -> list[tuple[str, bytes]]:
    """CloudEvents 1.0 headers, Kafka binary mode; `at` in microseconds."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", _TYPES[type(event)].encode()),
        ("ce_source", _SOURCE.encode()),
        ("ce_time", rfc3339(at).encode()),
        ("ce_subject", subject.encode()),
        ("content-type", b"application/json"),
    ]
