"""The order to forget a customer, signed with the installation's key: whoever may write sign-ups cannot thereby erase anyone."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.events import DELETED, UserDeleted
from schemas.signing import BadSignature, Keyring, Signer
from schemas.times import rfc3339

DAY: Final = 86_400_000_000
"""Microseconds."""


def order(user_id: str, at: int, days: int, signer: Signer) -> bytes:
    """The `User Deleted` message: ordered at `at` (microseconds), and events of hers ignored for so many days.

    >>> from schemas.events import decode
    >>> signer = Signer.generate()
    >>> event = decode(b"7", order("7", 1_767_225_600_000_000, 30, signer))
    >>> is_signed(event, Keyring([signer.public])), is_signed(event, Keyring([Signer.generate().public]))
    (True, False)
    """
    until = at + days * DAY
    signature = signer.seal(_text(user_id, at, until)).partition(b"\n")[0].decode()
    body = {
        "type": "track",
        "event": DELETED,
        "userId": user_id,
        "timestamp": rfc3339(at),
        "properties": {"until": rfc3339(until), "signature": signature},
    }
    return msgspec.json.encode(body)


def is_signed(event: UserDeleted, keys: Keyring) -> bool:
    """Whether a holder of a trusted key has ordered just this."""
    sealed = event.signature.encode("utf-8", "replace") + b"\n" + _text(event.user_id, event.at, event.until)
    try:
        keys.open(sealed)
    except BadSignature:
        return False
    return True


def _text(user_id: str, at: int, until: int) -> bytes:
    """What is signed: no model begins like this, and an id holds no line break."""
    return f"segstream-erasure/1\n{user_id}\n{at}\n{until}".encode()
