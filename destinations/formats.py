"""What is written into a request: the same events as CloudEvents, as a message for people in Slack, or as alerts for Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from destinations.configuration import LEVELS, Format
from destinations.subscription import Alert, Change, Event
from schemas.times import parse_rfc3339, rfc3339

CONTENT_TYPES: Final[dict[Format, str]] = {
    "segstream": "application/cloudevents-batch+json",
    "slack": "application/json",
    "alertmanager": "application/json",
}
_SHOWN: Final = 80
"""Characters of an id or a name that people are shown."""
_OPEN: Final = 30 * 86_400 * 1_000_000
"""Microseconds for which an alert stays open in Alertmanager when nobody resolves it."""

_encode: Final = msgspec.json.Encoder().encode


def body(form: Format, events: Sequence[Event]) -> bytes:
    """The body of a request; equal events give equal bytes."""
    if form == "slack":
        return _encode({"text": "\n".join(_line(event) for event in events)})
    if form == "alertmanager":
        return _encode([one for event in events if isinstance(event.about, Alert) for one in _alerts(event.about)])
    return _encode([_cloud_event(event) for event in events])


def _cloud_event(event: Event) -> dict[str, Any]:
    """A CloudEvent 1.0 in JSON, its data the very bytes of the topic."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": "application/json",
        "data": msgspec.Raw(event.data),
    }


def _line(event: Event) -> str:
    """One line for people; nothing in it is a command to Slack.

    A user id of `<!channel>` must not call everyone: the three characters that Slack gives a meaning are escaped.
    """
    if isinstance(event.about, Change):
        change = event.about
        came = _plain(change.from_name or change.from_segment or "new")
        went = _plain(change.to_name or change.to_segment or "erased")
        return f"Customer {_plain(change.subject)}: {came} → *{went}* ({_plain(change.cause)})"
    alert = event.about
    what = f"{_plain(alert.level)} {_plain(alert.status)}".strip()
    todo = f"\n> {_escaped(alert.suggested_action)}" if alert.suggested_action and alert.status != "resolved" else ""
    return f"*{what}* {_plain(alert.feature or alert.signal)}: {_escaped(alert.message)}{todo}"


def _plain(text: str) -> str:
    return _escaped(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _alerts(alert: Alert) -> Iterator[dict[str, Any]]:
    """Alerts of Alertmanager's API v2. Their labels say which one each is, so that a repeated one is the same alert there.

    The severity is a label, because people route by it: an escalation therefore ends the alert of the other severity, and a
    resolution ends both.
    """
    for level in LEVELS:
        is_on = level == alert.level and alert.status != "resolved"
        if is_on or alert.status in ("escalated", "resolved"):
            found = {
                "labels": {
                    "alertname": "SegstreamDrift",
                    "alert_id": alert.alert_id,
                    "model_id": alert.model_id,
                    "severity": level,
                },
                "annotations": {
                    "summary": alert.message,
                    "action": alert.suggested_action,
                    "signal": alert.signal,
                    "feature": alert.feature or "",
                    "event_time": alert.event_time,
                },
                "endsAt": alert.raised_at,
            }
            if is_on:  # not sent again and again, as Prometheus' own are: it has to be told how long it may stay
                ends = rfc3339(parse_rfc3339(alert.raised_at) + _OPEN)
                found |= {"startsAt": alert.raised_at, "endsAt": ends}
            yield found
