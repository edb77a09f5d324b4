"""Who is where, as Redis shows it: one hash per customer, written by the worker, read by every service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

_encode: Final = msgspec.json.Encoder().encode


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A customer's segment as projected: times are RFC 3339 text, features are in raw units."""

    user_id: str
    segment: str
    name: str
    nearest: str
    margin: float
    model_id: str
    sequence: int
    revision: int
    event_time: str
    projected_at: str
    features: dict[str, Any]
    likely_segment: str | None = None
    """Of a prospect: the segment she will likely be in when she buys; None where the model does not say."""
    likely_name: str | None = None
    likely_probability: float | None = None
    left: str | None = None
    """The segment to which the way back is held by the hysteresis; None where none is."""
    left_for: int = 0
    """Her next events for which it is held."""


def user_key(prefix: str, user_id: str) -> str:
    """The Redis key of a customer.

    >>> user_key("segstream:", "7")
    'segstream:user:7'
    """
    return f"{prefix}user:{user_id}"


def sizes_key(prefix: str) -> str:
    """The Redis hash of live segment sizes: segment id -> customers.

    >>> sizes_key("segstream:")
    'segstream:sizes'
    """
    return f"{prefix}sizes"


def touched_key(prefix: str) -> str:
    """The Redis stream of who was written: each entry has the field `ids`, a msgpack list of user ids.

    >>> touched_key("segstream:")
    'segstream:touched'
    """
    return f"{prefix}touched"


def erased_key(prefix: str, digest: str) -> str:
    """The Redis key that keeps older rows of an erased customer away for a while; `digest` is the SHA-1 of her id in hex.

    >>> erased_key("segstream:", "da39a3ee")
    'segstream:erased:da39a3ee'
    """
    return f"{prefix}erased:{digest}"


FIELDS: Final = tuple(name for name in Membership.__struct_fields__ if name != "user_id")
"""The fields of the Redis hash, in order."""


def to_values(membership: Membership) -> list[str]:
    """The values of the Redis hash, in the order of FIELDS; an empty one is a field that is not there."""
    m = membership
    return [
        m.segment,
        m.name,
        m.nearest,
        repr(m.margin),
        m.model_id,
        str(m.sequence),
        str(m.revision),
        m.event_time,
        m.projected_at,
        _encode(m.features).decode(),
        m.likely_segment or "",
        m.likely_name or "",
        "" if m.likely_probability is None else repr(m.likely_probability),
        m.left or "",
        str(m.left_for) if m.left else "",
    ]


def to_fields(membership: Membership) -> dict[str, str]:
    """The Redis hash."""
    return dict(zip(FIELDS, to_values(membership), strict=True))


def from_fields(user_id: str, fields: Mapping[bytes, bytes]) -> Membership:
    """The membership of a Redis hash. Raises ValueError where a field is missing or unreadable.

    >>> one = Membership(user_id="7", segment="s1", name="Regulars", nearest="s1", margin=0.5, model_id="m-1", sequence=3,
    ...     revision=9, event_time="2026-01-01T00:00:00Z", projected_at="2026-01-01T00:00:01Z", features={"orders": 2.0})
    >>> from_fields("7", {k.encode(): v.encode() for k, v in to_fields(one).items()}) == one
    True
    """
    text = {name.decode(): value.decode() for name, value in fields.items()}
    try:
        return Membership(
            user_id=user_id,
            segment=text["segment"],
            name=text["name"],
            nearest=text["nearest"],
            margin=float(text["margin"]),
            model_id=text["model_id"],
            sequence=int(text["sequence"]),
            revision=int(text["revision"]),
            event_time=text["event_time"],
            projected_at=text["projected_at"],
            features=msgspec.json.decode(text["features"]),
            likely_segment=text.get("likely_segment") or None,
            likely_name=text.get("likely_name") or None,
            likely_probability=float(chance) if (chance := text.get("likely_probability")) else None,
            left=text.get("left") or None,
            left_for=int(text.get("left_for") or 0),
        )
    except KeyError as error:
        raise ValueError(f"the projection of a customer has no field {error}") from error
