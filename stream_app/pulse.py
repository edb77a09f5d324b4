"""How long the event loop is kept from its timers: the measure of whether anything holds it too long."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import Histogram

BEAT: Final = 0.02
"""Seconds between looks."""


async def run(held: Histogram) -> None:
    """Observe for ever by how many seconds a timer comes late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + BEAT
        await asyncio.sleep(BEAT)
        held.observe(max(0.0, loop.time() - due))
