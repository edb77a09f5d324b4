"""Signatures of requests, as Standard Webhooks 1 has them: HMAC-SHA256 over `id.timestamp.body`, one per valid secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

_PREFIX: Final = "whsec_"
TOLERANCE: Final = 300
"""Seconds by which a receiver lets a request's time differ from its own."""


class BadSecret(ValueError):
    """What was given is no signing secret; the message does not repeat it."""


def generate() -> str:
    """A new secret: `whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret. Raises BadSecret.

    >>> key_of("whsec_" + "QUJD" * 8) == b"ABC" * 8
    True
    """
    if not secret.startswith(_PREFIX):
        raise BadSecret("it must begin with whsec_")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadSecret("what follows whsec_ must be base64") from None
    if not 24 <= len(key) <= 64:
        raise BadSecret("it must hold 24 to 64 bytes")
    return key


def sign(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: a signature for each key, separated by spaces. `timestamp` in seconds.

    >>> sign([b"k" * 24], "msg_1", 1767225600, b"[]")
    'v1,WD5afUkr/N0w9aDaTmN0JBYyn7sjTjwuiHAOnF7IBWw='
    """
    return " ".join(f"v1,{base64.b64encode(_mac(key, message_id, timestamp, body)).decode()}" for key in keys)


def verify(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes, header: str, now: int) -> bool:
    """Whether a request was signed with one of the keys, not more than TOLERANCE seconds from `now`; in constant time."""
    given = [part[3:].encode() for part in header.split(" ") if part.startswith("v1,")]
    good = False
    for key in keys:
        expected = base64.b64encode(_mac(key, message_id, timestamp, body))
        for signature in given:
            good |= hmac.compare_digest(expected, signature)
    return good and abs(now - timestamp) <= TOLERANCE


def _mac(key: bytes, message_id: str, timestamp: int, body: bytes) -> bytes:
    return hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
