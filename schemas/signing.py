"""Who may publish a model: Ed25519 signatures, the private key with the trainer, public keys with everyone who reads."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_MAGIC: Final = b"segstream-model/1"
_HEADER: Final = 300


class BadSignature(ValueError):
    """The bytes are not what a holder of a trusted key has signed."""


class Signer:
    """The trainer's private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = _public_text(key.public_key())
        """The public key as text, for the readers' settings."""

    @classmethod
    def generate(cls) -> Signer:
        """A new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_text(cls, text: str) -> Signer:
        """The key of `to_text`. Raises ValueError where the text is not one."""
        return cls(Ed25519PrivateKey.from_private_bytes(_key_bytes("signing key", text)))

    def to_text(self) -> str:
        """The private key as base64 text: a secret."""
        return base64.b64encode(self._key.private_bytes_raw()).decode()

    def seal(self, body: bytes) -> bytes:
        """The body behind one header line that carries the signature.

        >>> signer = Signer.generate()
        >>> Keyring([signer.public]).open(signer.seal(b"{}"))
        b'{}'
        """
        signature = base64.b64encode(self._key.sign(body))
        return b" ".join((_MAGIC, _key_id(self.public), signature)) + b"\n" + body


class Keyring:
    """The public keys whose models are trusted; several while a key is being replaced."""

    def __init__(self, public: Iterable[str]) -> None:
        self._keys = {
            _key_id(text): Ed25519PublicKey.from_public_bytes(_key_bytes("public key", text)) for text in public
        }

    def open(self, sealed: bytes) -> bytes:
        """The signed body; nothing of it is parsed before the signature holds. Raises BadSignature."""
        header, newline, body = sealed[:_HEADER].partition(b"\n")
        parts = header.split(b" ")
        if not newline or len(parts) != 3 or parts[0] != _MAGIC:
            raise BadSignature("the artifact is not signed (no signature line at its start)")
        key = self._keys.get(parts[1])
        if key is None:
            trusted = ", ".join(name.decode() for name in self._keys) or "none"
            raise BadSignature(
                f"the artifact is signed by key {parts[1][:16]!r}, which is not trusted here (trusted: {trusted})"
            )
        body = sealed[len(header) + 1 :]
        try:
            key.verify(base64.b64decode(parts[2], validate=True), body)
        except (InvalidSignature, binascii.Error, ValueError) as error:
            raise BadSignature(
                "the signature does not fit the artifact: it was changed or cut short after signing"
            ) from error
        return body


def key_id(public: str) -> str:
    """The short name of a public key, as artifacts and messages carry it."""
    return _key_id(public).decode()


def signed_by(sealed: bytes) -> str:
    """The id of the key that an artifact says it is signed by, which proves nothing; empty where it says none.

    >>> signer = Signer.generate()
    >>> signed_by(signer.seal(b"{}")) == key_id(signer.public), signed_by(b"{}")
    (True, '')
    """
    parts = sealed[:_HEADER].partition(b"\n")[0].split(b" ")
    return parts[1].decode("ascii", "replace") if len(parts) == 3 and parts[0] == _MAGIC else ""


def _public_text(key: Ed25519PublicKey) -> str:
    return base64.b64encode(key.public_bytes_raw()).decode()


def _key_id(public: str) -> bytes:
    return hashlib.sha256(_key_bytes("public key", public)).hexdigest()[:16].encode()


def _key_bytes(what: str, text: str) -> bytes:
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the {what} is not base64 text") from error
    if len(data) != 32:
        raise ValueError(f"the {what} has {len(data)} bytes; an Ed25519 key has 32")
    return data
