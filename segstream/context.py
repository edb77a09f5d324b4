"""What commands are put together from: settings, clients, keys and the clock."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.settings import Settings
from schemas.signing import Keyring, Signer

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


def redis_client(settings: Settings) -> redis.Redis:
    """A client that gives up soon, without retries."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        settings.redis, socket_timeout=10, socket_connect_timeout=3, retry=Retry(NoBackoff(), 0)
    )


def registry(settings: Settings) -> Registry:
    """The models of this installation."""
    from schemas.registry import Registry

    return Registry(redis_client(settings), settings.prefix)


def _key_file(settings: Settings) -> Path:
    return settings.home / "keys" / "signing.key"


def _public_file(settings: Settings) -> Path:
    return settings.home / "keys" / "signing.pub"


def signer(settings: Settings) -> Signer:
    """The trainer's key: the setting, or the key file, which is made on first use."""
    if settings.signing_key is not None:
        return Signer.from_text(settings.signing_key.get_secret_value())
    path = _key_file(settings)
    if not path.exists():
        made = Signer.generate()
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made.to_text())
        _public_file(settings).write_text(made.public)
    return Signer.from_text(path.read_text())


def keyring(settings: Settings) -> Keyring:
    """The keys whose models are trusted. Raises Usage where there is none."""
    if settings.trusted_keys.strip():
        return Keyring([text.strip() for text in settings.trusted_keys.split(",") if text.strip()])
    if settings.signing_key is not None:
        return Keyring([signer(settings).public])
    path = _public_file(settings)
    if not path.exists():
        signer(settings)
    return Keyring([path.read_text()])
