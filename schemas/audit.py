"""The trail of what people did: who, when, what, why; a customer only under a keyed hash of her id."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, Literal

import msgspec

Action = Literal["erase", "export", "redrive", "activate", "rollback"]

encode: Final = msgspec.json.Encoder().encode


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """Something that someone was about to do: it is written down before it is done."""

    action: Action
    subject: str
    """A model, source topics, or the keyed hash of a customer's id."""
    at: str
    by: str
    reason: str = ""


def decode(data: bytes) -> Audited:
    """What `encode` wrote. Raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(data, type=Audited)


def pseudonym(user_id: str, key: bytes) -> str:
    """What stands for a customer: whoever has the key can look for her, nobody can read her out of it.

    >>> pseudonym("4711", b"key") == pseudonym("4711", b"key") != pseudonym("4711", b"another")
    True
    """
    return "user:" + hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:32]
