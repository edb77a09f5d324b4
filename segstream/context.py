"""What commands are put together from: settings, clients, keys and the clock."""

from __future__ import annotations

import getpass
import os
import secrets
import time
from typing import TYPE_CHECKING

from schemas.settings import Settings
from schemas.signing import Keyring, Signer
from segstream.keyfiles import KeyFiles

if TYPE_CHECKING:
    import redis

    from schemas.registry import Registry


def now_micros() -> int:
    """The clock: microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def who() -> str:
    """Who is at the keyboard, for the models' log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def logged(settings: Settings) -> Settings:
    """The settings, and what is logged goes to stderr as they say: for commands whose doings are told in the log."""
    from stream_app import logs

    logs.configure(settings.log_format, settings.log_level)
    return settings


def redis_client(settings: Settings) -> redis.Redis:
    """A client that gives up soon, without retries."""
    from schemas import connections

    return connections.redis_client(settings, timeout=10, connect=3, patient=False)


def registry(settings: Settings) -> Registry:
    """The models of this installation."""
    from schemas.registry import Registry

    return Registry(redis_client(settings), settings.prefix)


def audit_key(settings: Settings) -> bytes:
    """The secret under which customers are hashed in the audit topic: the setting, or the key file, which is made on first use."""
    if settings.audit_key is not None:
        return settings.audit_key.get_secret_value().encode()
    path = settings.home / "keys" / "audit.key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text().strip().encode()


def signer(settings: Settings) -> Signer:
    """The trainer's key: the setting, or the key file, which is made on first use."""
    if settings.signing_key is not None:
        return Signer.from_text(settings.signing_key.get_secret_value())
    return KeyFiles(settings.home).signer()


def trusted(settings: Settings) -> list[str]:
    """The public keys whose models are trusted."""
    if settings.trusted_keys.strip():
        return [text.strip() for text in settings.trusted_keys.split(",") if text.strip()]
    if settings.signing_key is not None:
        return [signer(settings).public]
    return KeyFiles(settings.home).trusted()


def keyring(settings: Settings) -> Keyring:
    """The same, ready to check signatures."""
    return Keyring(trusted(settings))
