"""Going through all customers after a new model, which decides them anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from schemas.model import Model
from schemas.times import rfc3339
from stream_app.anew import Moment
from stream_app.metrics import Metrics
from stream_app.rounds import Rounds

_log: Final = structlog.get_logger(__name__)


class Sweep:
    """Moves every customer that another model decided to the model in use. Where it stopped shows in each customer's model id."""

    def __init__(
        self,
        rounds: Rounds,
        metrics: Metrics,
        clock: Callable[[], int],
        today: Callable[[], int],
        model: Callable[[], Model | None],
    ) -> None:
        self._rounds = rounds
        self._metrics = metrics
        self._clock = clock
        self._today = today
        self._model = model
        self._wake = asyncio.Event()
        self.model_id = ""
        """The model that every customer here was last moved to, and is stored so."""

    def wake(self) -> None:
        """There is a new model, or there are new partitions."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep whenever woken."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            model = self._model()
            if model is not None and await self._pass(model):
                self.model_id = model.id
                self._metrics.migrating.set(0)

    async def _pass(self, model: Model) -> bool:
        def moment() -> Moment:
            return Moment(rfc3339(self._clock()), self._today())

        done = await self._rounds.make(
            "model", model, moment, lambda: not self._wake.is_set(), self._metrics.migrating.set
        )
        if done is not None:
            _log.info("every customer is on the model", model_id=model.id, changed=done.changed)
        return done is not None
