"""Running the API as a process."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
from typing import Final

import uvicorn

from schemas import connections
from schemas.settings import Settings
from schemas.signing import Keyring
from schemas.watch import ModelWatch
from segment_api.app import create_app
from segment_api.letters import Redrive
from segment_api.pages.look import charts_library

GARBAGE: Final = (20_000, 20, 50)
"""Allocations and collections between collections, by generation: hardly anything here refers to itself."""


def run(settings: Settings, keys: Keyring, redrive: Redrive | None = None) -> None:
    """Serve until told to stop. Raises access.BadTokens where the setting of the tokens cannot be used."""
    client = connections.redis_async(settings, timeout=2, patient=False)
    watch = ModelWatch(
        connections.redis_client(settings),
        settings.prefix,
        keys,
        poll=settings.model_poll,
        on_model=lambda model: None,
    )
    app = create_app(settings, client, watch, keys, lambda: time.time_ns() // 1000, redrive)
    log = logging.getLogger("uvicorn.error")
    if not settings.api_tokens.get_secret_value():
        log.warning("no SEGSTREAM_API_TOKENS: whoever is on this machine may do everything, nobody else anything")
    sys.setswitchinterval(0.0005)  # a request must not wait 5 ms for a thread that reads customers
    gc.set_threshold(*GARBAGE)
    threading.Thread(target=_prepare, name="prepare", daemon=True).start()
    uvicorn.run(
        app,
        host=settings.api_host,
        port=settings.api_port,
        log_level=settings.log_level,
        access_log=False,
        timeout_graceful_shutdown=3,
    )


def _prepare() -> None:
    """Load what pages need, a second or three before anyone waits for it.

    What is loaded stays: the collector need not walk through it while requests wait, tens of milliseconds each time.
    """
    charts_library()
    gc.collect()
    gc.freeze()
