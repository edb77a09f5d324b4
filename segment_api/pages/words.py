"""How numbers, times and reasons are written on the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from markupsafe import Markup, escape

from schemas.artifact import PROSPECT
from schemas.changes import SegmentChanged
from schemas.features import FEATURES
from schemas.times import from_micros, parse_rfc3339
from segment_api.evidence import quantity

CAUSES: Final = {
    "behaviour": "Behaviour",
    "time": "Time",
    "model": "New model",
    "bootstrap": "History",
    "correction": "Correction",
}
"""Why a customer moved, as a word on the page."""
SHADES: Final = 10
"""Colours of segments in the style sheet."""


def number(value: float | None) -> str:
    """A count or a plain number.

    >>> number(12345), number(0.5), number(None)
    ('12,345', '0.5', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """A share.

    >>> percent(0.123), percent(None)
    ('12.3%', '–')
    """
    return "–" if value is None else f"{value:.1%}"


def duration(seconds: float | None) -> str:
    """A time span in its largest fitting unit.

    >>> duration(0.0042), duration(2.5), duration(130), duration(90_000)
    ('4 ms', '2.5 s', '2 min', '25 h')
    """
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return (
        f"{seconds / 60:.0f} min"
        if seconds < 7_200
        else f"{seconds / 3600:.0f} h"
        if seconds < 200_000
        else f"{seconds / 86_400:.0f} days"
    )


def ago(text: str, now: int) -> str:
    """How long a moment (RFC 3339) is past; `now` in microseconds.

    >>> ago("2026-01-01T00:00:00Z", 1_767_225_600_000_000 + 61_000_000)
    '61 s ago'
    """
    past = (now - parse_rfc3339(text)) / 1_000_000
    return "just now" if past < 2 else f"{duration(past)} ago"


def moment(text: str) -> str:
    """A moment (RFC 3339) to the minute.

    >>> moment("2026-01-31T10:05:30Z")
    '31 Jan 2026, 10:05 UTC'
    """
    return from_micros(parse_rfc3339(text)).strftime("%-d %b %Y, %H:%M UTC")


def label(feature: str) -> str:
    """A feature's name as people say it."""
    return FEATURES[feature].label if feature in FEATURES else feature.replace("_", " ")


def reason(change: SegmentChanged) -> str:
    """What a change rests on: the first features of the distance as they were then."""
    if change.cause == "model":
        return f"decided anew by model {change.model_id}"
    if change.to_segment == PROSPECT:
        return "has no order yet" if change.from_segment is None else "has no order any more"
    shown = [(name, value) for name, value in change.features.items() if isinstance(value, float)][:3]
    return " · ".join(f"{label(name)} {quantity(name, value)}" for name, value in shown)


def sentence(text: str) -> str:
    """With a capital at the beginning."""
    return text[:1].upper() + text[1:]


def signed(value: float) -> str:
    """A difference with its sign; one that rounds to nothing has none.

    >>> signed(1.374), signed(-0.59), signed(-0.004)
    ('+1.37', '-0.59', '0.00')
    """
    text = f"{value:+.2f}"
    return text if float(text) else text[1:]


def told(text: str) -> Markup:
    """A message of ours, with its commands set as such.

    >>> str(told("topics <b>: `segstream topics create`"))
    'topics &lt;b&gt;: <code>segstream topics create</code>'
    """
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 and i < len(parts) - 1 else escape(part)
        for i, part in enumerate(parts)
    )


def short(value: Any) -> str:
    """A gate's value."""
    return f"{value:.3g}" if isinstance(value, float) else "–" if value is None else str(value)


def filters(shade: Callable[[str], int], clock: Callable[[], int]) -> dict[str, Any]:
    """The templates' filters; `shade` gives each segment its colour, `clock` the time (microseconds)."""
    return {
        "number": number,
        "percent": percent,
        "duration": duration,
        "moment": moment,
        "ago": lambda text: ago(text, clock()),
        "label": label,
        "reason": reason,
        "sentence": sentence,
        "signed": signed,
        "told": told,
        "short": short,
        "quantity": lambda value, feature: quantity(feature, value),
        "cause": lambda name: CAUSES.get(name, name),
        "shade": shade,
    }
