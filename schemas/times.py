"""Times inside are integer microseconds since 1970 UTC; outside they are RFC 3339 text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

DAY = 86_400_000_000
"""Microseconds."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_EPOCH = EPOCH.replace(tzinfo=None)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC; a moment without a zone is taken as UTC.

    >>> to_micros(datetime(2026, 1, 1, tzinfo=UTC))
    1767225600000000
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """The moment, with zone UTC.

    >>> from_micros(1767225600000000).isoformat()
    '2026-01-01T00:00:00+00:00'
    """
    return EPOCH + timedelta(microseconds=micros)


def rfc3339(micros: int) -> str:
    """RFC 3339 text with a Z, microseconds only where there are some.

    >>> rfc3339(1767225600000000)
    '2026-01-01T00:00:00Z'
    """
    return (_PLAIN_EPOCH + timedelta(microseconds=micros)).isoformat() + "Z"


def parse_rfc3339(text: str) -> int:
    """Microseconds of RFC 3339 text; a date alone is its beginning, a time without a zone is taken as UTC.

    Raises ValueError where it is none.

    >>> parse_rfc3339("2026-01-01T01:00:00+01:00") == parse_rfc3339("2026-01-01") == 1767225600000000
    True
    """
    return to_micros(datetime.fromisoformat(text))
