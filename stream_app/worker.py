"""Running one worker process: preflight, the event loop, the health endpoint, and what the exit code says."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Final

import faust
import structlog
from aiohttp import web
from mode import Service
from mode import loop as mode_loop
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.settings import Settings
from schemas.signing import Keyring
from stream_app import checkup, logs, preflight, stacks
from stream_app.app import Worker
from stream_app.fastlane import lease

STOP_WITHIN: Final = 9.0
"""Seconds from SIGTERM to the end of the process at the latest."""

_log: Final = structlog.get_logger(__name__)


def now_micros() -> int:
    """The clock of the shell: microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Endpoint(Service):
    """HTTP for operators: /health/live (or /health), /health/ready (or /ready: doing its work), /metrics."""

    def __init__(self, worker: Worker, host: str, port: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._worker = worker
        self._host = host
        self._port = port

    async def on_start(self) -> None:
        """Listen."""
        app = web.Application()
        app.add_routes(
            [
                *(web.get(path, self._health) for path in ("/health", "/health/live")),
                *(web.get(path, self._ready) for path in ("/ready", "/health/ready")),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        port = self._runner.addresses[0][1]
        self._worker.address.write(port)
        _log.info("health endpoint", host=self._host, port=port)

    async def on_stop(self) -> None:
        """Stop listening."""
        self._worker.address.remove()
        await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, _: web.Request) -> web.Response:
        condition, verdict = checkup.verdict(self._worker)
        body = {
            "ready": verdict.ready,
            "reasons": verdict.reasons,
            "degraded": verdict.degraded,
            "model_id": condition.model_id,
            "migrated_to": self._worker.sweep.model_id or None,
            "partitions": sorted(condition.owned),
            "lag": {name: progress.lag for name, progress in sorted(condition.progress.items())},
            "projection_pending": self._worker.projection.pending,
        }
        return web.json_response(body, status=200 if verdict.ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        checkup.verdict(self._worker)
        return web.Response(
            body=generate_latest(self._worker.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )


class Runner(faust.Worker):
    """Faust's worker, which ends in bounded time once it is told to."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.app, loglevel=None, redirect_stdouts=False, override_logging=False, quiet=True)
        self.spinner = None  # it writes terminal codes between the log's lines
        self._worker = worker

    def _schedule_shutdown(self, signal: Any) -> None:
        deadline = threading.Timer(STOP_WITHIN, self._end)
        deadline.daemon = True
        deadline.start()
        self._worker.watchdog.stop()
        super()._schedule_shutdown(signal)

    def _end(self) -> None:
        """Whatever is not acknowledged by now is done again by the next owner."""
        _log.error("the worker was told to stop and does not end", stacks=stacks.describe(self.loop).splitlines())
        os._exit(70)


def run(settings: Settings, keys: Keyring) -> int:
    """Run a worker until it is told to stop (0) or something breaks (70).

    Before anything has been started it raises preflight.KafkaUnreachable, preflight.WrongTopics, connections.KafkaRefuses or granted.Forbidden.
    """
    logs.configure(settings.log_format, settings.log_level)
    count = preflight.partitions(settings)
    # Beside the start, which needs none of it: a Redis that does not answer must not hold it up.
    threading.Thread(target=preflight.report, args=(settings, keys), name="startup checks", daemon=True).start()
    mode_loop.use("uvloop")
    worker = Worker(settings, keys, count, now_micros)
    lease.install(worker.lease)
    worker.app.service(_endpoint(worker, settings))
    try:
        Runner(worker).execute_from_commandline()
    except SystemExit as stop:
        return 0 if stop.code in (0, None) else 70
    except Exception as error:
        _log.critical("worker ends", error=repr(error), exc_info=error)
        return 70
    return 0


def _endpoint(worker: Worker, settings: Settings) -> type[Service]:
    class _Endpoint(Endpoint):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(worker, settings.worker_host, settings.worker_port, **kwargs)

    return _Endpoint
