"""The consumer in the worker's own event loop, where Faust gives it a thread.

A thread that fetches shares the interpreter with the one that works: for every chunk it is handed over four times, and each may have to
wait until the other gives it up, up to 5 ms. In one loop all take turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from faust.transport.drivers import aiokafka as driver
from mode.utils.futures import maybe_async

from stream_app.fastlane.leaving import leave


class _Serving:
    """What Faust takes for the thread: a task of the loop that is here."""

    def __init__(self, service: Threadless) -> None:
        self._service = service

    def start(self) -> None:
        """Begin to serve."""
        self.task = self._service.thread_loop.create_task(self._service._serve())
        # Faust has told a failure to whoever starts the service, and to the app.
        self.task.add_done_callback(lambda served: served.cancelled() or served.exception())

    def stop(self) -> None:
        """Nothing is left to end: see Threadless.on_shutdown."""


class Threadless(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread of the aiokafka consumer, without the thread; it leaves the group in bounded time."""

    Worker = _Serving

    def __init__(self, *args: Any, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(*args, loop=loop, thread_loop=loop, **kwargs)

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it here."""
        return await maybe_async(fun(*args, **kwargs))

    async def on_thread_stop(self) -> None:
        """Take no more calls, then leave."""
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            await leave(self._consumer)

    async def on_shutdown(self) -> None:
        """Wait for what is joined where there is a thread."""
        await asyncio.wait({self._thread.task})

    async def _gather_remaining_tasks(self) -> None:
        """None: what else runs in this loop is not ours to end."""

    @property
    def member_id(self) -> str:
        """Who we are in the group, empty while we are nobody."""
        return str(self._consumer._coordinator.member_id) if self._consumer is not None else ""
