"""Telling how far the customers are restored, while a worker reads its changelog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog
from prometheus_client import Gauge

EVERY: Final = 2.0
"""Seconds between lines of the log."""
LOOK: Final = 0.1

_log: Final = structlog.get_logger(__name__)


class Restored(NamedTuple):
    """How far it is: records read since the start, records still to be read, and whether the customers are complete."""

    records: int
    remaining: int
    complete: bool


async def watch(progress: Callable[[], Restored], seconds_to_ready: Gauge, started: float) -> None:
    """Log progress until the customers are complete for the first time; `started` in monotonic seconds."""
    told = started
    while True:
        now, at = time.monotonic(), progress()
        if at.complete:
            seconds_to_ready.set(now - started)
            _log.info("ready", seconds=round(now - started, 2), restored=at.records)
            return
        if now - told >= EVERY:
            rate = at.records / (now - started)
            left = round(at.remaining / rate, 1) if rate else None
            _log.info("restoring customers", restored=at.records, remaining=at.remaining, seconds_left=left)
            told = now
        await asyncio.sleep(LOOK)
