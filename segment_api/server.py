"""Running the API as a process."""

from __future__ import annotations

import logging
import sys
import time

import redis
import redis.asyncio
import uvicorn
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.settings import Settings
from schemas.signing import Keyring
from schemas.watch import ModelWatch
from segment_api.app import create_app


def run(settings: Settings, keys: Keyring) -> None:
    """Serve until told to stop. Raises access.BadTokens where the setting of the tokens cannot be used."""
    client = redis.asyncio.Redis.from_url(
        settings.redis, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
    )
    watch = ModelWatch(
        redis.Redis.from_url(settings.redis, socket_timeout=5, socket_connect_timeout=5),
        settings.prefix,
        keys,
        poll=settings.model_poll,
        on_model=lambda model: None,
    )
    app = create_app(settings, client, watch, keys, lambda: time.time_ns() // 1000)
    log = logging.getLogger("uvicorn.error")
    if not settings.api_tokens.get_secret_value():
        log.warning("no SEGSTREAM_API_TOKENS: whoever is on this machine may do everything, nobody else anything")
    sys.setswitchinterval(0.0005)  # a request must not wait 5 ms for a thread that reads customers
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_level=settings.log_level,
        access_log=False,
        timeout_graceful_shutdown=3,
    )
