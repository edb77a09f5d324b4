"""A candidate tried on live traffic: a bounded sample of the customers who have just been worked on, scored by both models.

The sample is one in N by a hash of the customer's id, so that it is the same customers after any crash; what a second may cost is
bounded, and without a candidate nothing is done at all. The looks go to Redis beside the stream: it waits for none of them.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import redis
import redis.asyncio
import structlog

from schemas import shadow
from schemas.customer import Customer
from schemas.model import Model
from schemas.registry import Candidate
from schemas.shadow import Look
from stream_app.customers import Customers
from stream_app.metrics import Metrics
from stream_app.work import SourceRecord

MOST: Final = 5000
"""Customers that one worker looks at for one candidate."""
EVERY: Final = 1.0
"""Seconds between writes."""

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """The candidate, what it is held against, and the run it came of."""

    candidate: Model
    base: str | None
    run_id: str


def look(customer: Customer, model: Model, candidate: Model) -> Look | None:
    """One customer by both models; None for a prospect, whom no model tells apart, and for whoever another model decided last."""
    if customer.segment is None or customer.model_id != model.id:
        return None
    squares = model.squares(customer.profile)
    after = candidate.decide(customer.profile, None, None)
    if squares is None:
        return None
    return Look(customer.segment, after.segment, math.sqrt(min(squares)), after.distance)


class Shadow:
    """The trial that is on, if any, and the looks on their way to Redis."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        prefix: str,
        metrics: Metrics,
        *,
        one_in: int,
        rate: float,
        seconds: Callable[[], float],
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._metrics = metrics
        self._one_in = one_in
        self._rate = rate
        self._seconds = seconds
        self.trial: Trial | None = None
        self._seen: set[bytes] = set()
        self._pending: dict[bytes, bytes] = {}
        self._allowance = 0.0
        self._filled_at = 0.0

    def install(self, candidate: Model | None, entry: Candidate | None) -> None:
        """Begin a trial, or end the one that is on."""
        self._seen.clear()
        self._pending.clear()
        self._allowance, self._filled_at = self._rate, self._seconds()
        if candidate is None or entry is None:
            self.trial = None
            return
        self.trial = Trial(candidate, entry.base, entry.run_id)
        _log.info("candidate in the shadow", model_id=candidate.id, run_id=entry.run_id, one_in=self._one_in)

    def observe(self, records: Sequence[SourceRecord], customers: Customers, model: Model | None) -> None:
        """Look at the sampled customers of a chunk that has just been folded."""
        trial = self.trial
        if trial is None or model is None or model.id != trial.base:
            return
        now = self._seconds()
        self._allowance = min(self._rate, self._allowance + (now - self._filled_at) * self._rate)
        self._filled_at = now
        for key in dict.fromkeys(record.key for record in records):
            if self._allowance < 1:
                return
            if key is None or zlib.crc32(key) % self._one_in:
                continue
            name = shadow.field(key)
            customer = customers.look(key) if name in self._seen or len(self._seen) < MOST else None
            found = look(customer, model, trial.candidate) if customer is not None else None
            if found is None:
                continue
            self._allowance -= 1
            self._seen.add(name)
            self._pending[name] = shadow.encode(found)

    async def run(self) -> None:
        """Write what is pending, every second; what Redis does not take now it gets later."""
        while True:
            await asyncio.sleep(EVERY)
            trial, pending = self.trial, self._pending
            if trial is None or not pending:
                continue
            self._pending = {}
            key = shadow.shadow_key(self._prefix, trial.run_id)
            try:
                async with self._client.pipeline(transaction=False) as pipe:
                    pipe.hset(key, mapping=pending)  # type: ignore[arg-type]
                    pipe.expire(key, shadow.KEEP_FOR)
                    await pipe.execute()
            except (redis.RedisError, OSError):
                if self.trial is trial:
                    self._pending = {**pending, **self._pending}
            else:
                self._metrics.shadowed.inc(len(pending))
