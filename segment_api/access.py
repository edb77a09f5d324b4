"""Who may ask what: bearer tokens with scopes, kept as hashes and compared in constant time, and the browser's session."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Literal

Scope = Literal["read", "what-if", "admin"]

SCOPES: Final[tuple[Scope, ...]] = ("read", "what-if", "admin")
"""`read` sees everything, `what-if` tries customers who do not exist, `admin` may do all and changes the active model."""
SESSION: Final = 12 * 3600
"""Seconds that a browser stays signed in."""


class BadTokens(ValueError):
    """The setting of the tokens cannot be used."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who may ask: the name for logs, and what she may do."""

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether a scope is hers; `admin` includes the others.

        >>> Caller("ops", frozenset({"admin"})).may("read"), Caller("form", frozenset({"what-if"})).may("read")
        (True, False)
        """
        return scope in self.scopes or "admin" in self.scopes


LOCAL: Final = Caller("local", frozenset(SCOPES))
"""Whoever asks from this very machine while no tokens are configured."""


def hashed(token: str) -> str:
    """What is kept of a token. A token has 256 random bits, so that a plain hash cannot be searched."""
    return hashlib.sha256(token.encode()).hexdigest()


def mint(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """A new token, and its entry for SEGSTREAM_API_TOKENS. Raises BadTokens where name or scopes cannot be used."""
    token = f"seg_{secrets.token_urlsafe(32)}"
    entry = f"{name}:{'+'.join(scopes)}:{hashed(token)}"
    Tokens.parse(entry)
    return token, entry


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that are known; without any, only this machine is served."""

    callers: dict[str, Caller] = field(default_factory=dict)
    """Hash of the token -> whose it is."""

    @classmethod
    def parse(cls, text: str) -> Tokens:
        """The tokens of the setting: `name:scope+scope:sha256` entries, separated by commas. Raises BadTokens.

        >>> sorted(Tokens.parse("shop:read+what-if:" + "0" * 64).callers["0" * 64].scopes)
        ['read', 'what-if']
        """
        callers: dict[str, Caller] = {}
        for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            parts = entry.split(":")
            scopes = frozenset(parts[1].split("+")) if len(parts) == 3 else frozenset()
            if len(parts) != 3 or not parts[0] or len(parts[2]) != 64 or set(parts[2]) - set("0123456789abcdef"):
                raise BadTokens(
                    f"entry {number} of SEGSTREAM_API_TOKENS is not name:scope+scope:sha256 (64 lower-case hex digits); "
                    "`segstream tokens new` makes one"
                )
            if wrong := sorted(scopes - set(SCOPES)):
                raise BadTokens(f"token {parts[0]!r} has the unknown scope {wrong[0]!r}; there are {', '.join(SCOPES)}")
            callers[parts[2]] = Caller(parts[0], scopes)
        return cls(callers)

    def holder(self, token: str) -> Caller | None:
        """Whose token this is. Every known hash is compared, each in constant time."""
        shown, found = hashed(token), None
        for known, caller in self.callers.items():
            if hmac.compare_digest(shown, known):
                found = caller
        return found

    def seal(self, caller: Caller, expires: int) -> str:
        """A session of the browser: name and end (seconds), signed with what the tokens' hashes give."""
        body = f"{expires}:{caller.name}".encode()
        return f"{urlsafe_b64encode(body).decode()}.{self._signature(body)}"

    def session(self, sealed: str, now: int) -> Caller | None:
        """Whose session this is; None where it has ended, was not ours, or its token is gone."""
        text, _, signature = sealed.partition(".")
        try:
            body = urlsafe_b64decode(text.encode())
        except ValueError:
            return None
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return None
        expires, _, name = body.decode().partition(":")
        if int(expires) < now:
            return None
        return next((caller for caller in self.callers.values() if caller.name == name), None)

    def _signature(self, body: bytes) -> str:
        key = hashlib.sha256(("session\n" + "\n".join(sorted(self.callers))).encode()).digest()
        return hmac.new(key, body, hashlib.sha256).hexdigest()


@lru_cache(maxsize=1024)
def is_loopback(host: str | None) -> bool:
    """Whether an address is this very machine's.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("10.0.0.7"), is_loopback(None)
    (True, True, False, False)
    """
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False


def needed(method: str, path: str) -> str | None:
    """The scope that a request needs; None where anyone may. What is not named here needs `admin`, unless it only reads.

    >>> needed("GET", "/health"), needed("GET", "/v1/users/7"), needed("POST", "/v1/what-if"), needed("POST", "/v1/models/m-1/activate")
    (None, 'read', 'what-if', 'admin')
    """
    if path in _OPEN or path.startswith("/static/"):
        return None
    if path == "/v1/what-if":
        return "what-if"
    if method in ("GET", "HEAD", "OPTIONS") or (method, path) == ("POST", "/v1/users/batch"):
        return "read"
    return "admin"


_OPEN: Final = frozenset({"/health", "/ready", "/login", "/logout"})
"""Health, and the way in; the files of the pages (`/static/`) hold no data either."""
