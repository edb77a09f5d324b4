"""Going through all customers when a day has passed: what grows by time alone moves customers too, through the same outbox.

Nothing is remembered of where it stopped: whoever has been decided as of the day is not due any more, so that it may be cut short and
begun again anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from schemas.model import Model
from schemas.times import rfc3339
from stream_app.anew import Moment
from stream_app.rounds import Rounds

LOOK_EVERY: Final = 1.0
"""Seconds between looks at the calendar."""

_log: Final = structlog.get_logger(__name__)


class Ageing:
    """Decides every customer anew on the day on which a feature of hers is another. Idle for models whose features only events change."""

    def __init__(
        self, rounds: Rounds, clock: Callable[[], int], today: Callable[[], int], model: Callable[[], Model | None]
    ) -> None:
        self._rounds = rounds
        self._clock = clock
        self._today = today
        self._model = model
        self._done: tuple[str, int] | None = None
        """The model and the day by which everybody here was last looked at."""

    def again(self) -> None:
        """There are new partitions."""
        self._done = None

    async def run(self) -> None:
        """Look at the calendar for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            model, today = self._model(), self._today()
            if model is None or not model.clocked or self._done == (model.id, today):
                continue
            self._done = (model.id, today)
            if not await self._pass(model, today):
                self._done = None

    async def _pass(self, model: Model, today: int) -> bool:
        def moment() -> Moment:
            return Moment(rfc3339(self._clock()), today)

        done = await self._rounds.make("time", model, moment, lambda: self._done is not None and self._model() is model)
        if done is not None:
            _log.info("every customer is as of today", model_id=model.id, decided=done.decided, changed=done.changed)
        return done is not None
