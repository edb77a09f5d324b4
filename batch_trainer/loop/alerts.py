"""Drift alerts as the trainer understands them: which are open, and which of them another training answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

MOVED: Final = 2
"""So many features that have moved are a population that has moved; one alone is more likely a broken pipeline."""
UNSEEN: Final = 0.02
"""Share of events with a category that the model has never seen."""
CENTRES: Final = ("log_distance", "segment_mix")
"""Signals that say the centres of the segments no longer lie where the customers are."""
BROKEN: Final = ("nulls", "invalid", "event_rate", "lateness")
"""What leads an alert about a pipeline: no model learns from it, and whatever else it shows follows from that."""


class Sign(msgspec.Struct, frozen=True, kw_only=True):
    """One signal that speaks in an alert."""

    signal: str
    feature: str | None = None
    statistic: float = 0.0


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of an alert; it may say more. One without `status` is an opened one."""

    alert_id: str
    signal: str
    """The signal that leads."""
    level: str
    model_id: str
    status: str = "opened"
    feature: str | None = None
    statistic: float = 0.0
    message: str = ""
    evidence: tuple[Sign, ...] = ()
    """Everything that speaks; empty: the leading signal alone."""

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Everything that speaks."""
        return self.evidence or (Sign(signal=self.signal, feature=self.feature, statistic=self.statistic),)

    @property
    def moved(self) -> frozenset[str]:
        """The features that are distributed otherwise than in training."""
        return frozenset(sign.feature for sign in self.signs if sign.signal == "feature" and sign.feature)


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a model is trained: what kind of reason, in words, and what told of it."""

    kind: Literal["drift", "age", "schedule", "hand", "none"]
    text: str
    source: str = ""
    """Alert or request that it came from."""


def decode(data: bytes) -> Alert | None:
    """The alert of a record; None where it is none that we could act on."""
    try:
        return msgspec.json.decode(data, type=Alert)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


def still_open(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Of the steps of alerts in the order they were told, the latest of each that is not resolved.

    >>> one = Alert(alert_id="a", signal="segment_mix", level="drift", model_id="m-1")
    >>> still_open([one, msgspec.structs.replace(one, status="resolved")])
    ()
    """
    found: dict[str, Alert] = {}
    for alert in alerts:
        found.pop(alert.alert_id, None)
        if alert.status != "resolved":
            found[alert.alert_id] = alert
    return tuple(found.values())


def reasons(alerts: Iterable[Alert], model_id: str | None) -> tuple[Reason, ...]:
    """What of the open alerts another training answers; alerts about another model than the active one are history.

    >>> reasons([Alert(alert_id="a", signal="segment_mix", level="warning", model_id="m-1")], "m-1")
    ()
    """
    sound = [alert for alert in alerts if alert.model_id == model_id and alert.signal not in BROKEN]
    found = [
        Reason(kind="drift", text=alert.message or f"{alert.signal} has drifted", source=alert.alert_id)
        for alert in sound
        if _centres_moved(alert) or any(s.signal == "unseen" and s.statistic > UNSEEN for s in alert.signs)
    ]
    moved = sorted(set().union(*(alert.moved for alert in sound)))
    if len(moved) >= MOVED:
        last = next(alert for alert in reversed(sound) if alert.moved)
        found.append(
            Reason(kind="drift", text=f"several features have moved: {', '.join(moved)}", source=last.alert_id)
        )
    return tuple(found)


def _centres_moved(alert: Alert) -> bool:
    """Whether the centres are stale, and not because of a single feature, which people should look at first."""
    return alert.level == "drift" and len(alert.moved) != 1 and any(s.signal in CENTRES for s in alert.signs)
