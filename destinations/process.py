"""The process: a thread per destination, the endpoint, and an end in bounded time."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from destinations.configuration import Destination, target
from destinations.endpoint import Endpoint
from destinations.lag import LagWatch
from destinations.metrics import Metrics
from destinations.runner import Runner
from schemas.settings import Settings

STOP_WITHIN: Final = 9.0
"""Seconds from SIGTERM to the end: a request under way may be cut off then, and is sent again by the next process."""

_log: Final = structlog.get_logger(__name__)


def run(settings: Settings, those: Sequence[Destination], environ: Mapping[str, str]) -> int:
    """Deliver until told to stop; the exit code. Raises configuration.BadDestinations before anything was started."""
    targets = {one.name: target(one, environ) for one in those}
    metrics, stop = Metrics(), threading.Event()
    runners = [Runner(one, targets[one.name], settings, metrics, stop) for one in those]
    standings = [runner.standing for runner in runners]
    endpoint = Endpoint(metrics, standings, settings.destinations_host, settings.destinations_port)
    for runner in runners:
        thread = threading.Thread(target=runner.run, name=f"destination {runner.standing.name}", daemon=True)
        runner.standing.thread = thread

    def told(*_: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    for standing in standings:
        assert standing.thread is not None
        standing.thread.start()
    LagWatch(settings, list(zip(those, standings, strict=True)), metrics, stop).start()
    endpoint.start()
    address = settings.home / f"destinations-{os.getpid()}.json"
    settings.home.mkdir(parents=True, exist_ok=True)
    address.write_text(json.dumps({"port": endpoint.port}))
    _log.info("destinations", names=[one.name for one in those], host=settings.destinations_host, port=endpoint.port)
    try:
        while not stop.wait(1.0):
            pass
        until = time.monotonic() + STOP_WITHIN
        for standing in standings:
            assert standing.thread is not None
            standing.thread.join(max(0.0, until - time.monotonic()))
        if late := [standing.name for standing in standings if standing.thread and standing.thread.is_alive()]:
            _log.warning("a request was cut off", destinations=late)
    finally:
        address.unlink(missing_ok=True)
        endpoint.stop()
    return 0
