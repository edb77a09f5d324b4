"""What the endpoints stand on: settings, Redis, the active model and the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis.asyncio

from schemas.artifact import PROSPECT
from schemas.drift import Standing, decode_standing, standing_key
from schemas.membership import Membership, from_fields, sizes_key, user_key
from schemas.model import Model
from schemas.settings import Settings
from schemas.watch import ModelWatch
from segment_api import descriptions
from segment_api.descriptions import Description
from segment_api.fleet import Fleet
from segment_api.index import Index
from segment_api.journal import Journal
from segment_api.letters import Letters, Redrive
from segment_api.library import Library
from segment_api.mirror import Mirror
from segment_api.problems import Problem
from segment_api.spending import Spending
from segment_api.tail import Tail


@dataclass(frozen=True, slots=True)
class Services:
    """Everything an endpoint may use. `clock` gives microseconds UTC."""

    settings: Settings
    redis: redis.asyncio.Redis
    watch: ModelWatch
    mirror: Mirror
    journal: Journal
    tail: Tail
    library: Library
    fleet: Fleet
    spending: Spending
    letters: Letters
    redrive: Redrive | None
    clock: Callable[[], int]

    def model(self) -> Model:
        """The model in use. Raises Problem where there is none."""
        found = self.watch.state.model
        if found is None:
            raise Problem(503, "Service Unavailable", "No model is in use yet: `segstream train --publish`.")
        return found

    def index(self) -> Index:
        """Everyone at once. Raises Problem while they are still being read."""
        found = self.mirror.index
        if found is None:
            self.model()
            done = f"{self.mirror.reading} so far" if not self.mirror.error else f"Redis: {self.mirror.error}"
            raise Problem(
                503, "Service Unavailable", f"The customers are still being read ({done}); try again in a moment."
            )
        return found

    def now(self) -> int:
        """Seconds since 1970."""
        return self.clock() // 1_000_000

    async def sizes(self) -> dict[str, int]:
        """Customers per segment id now: those of the active model, prospects, and what is left of earlier models."""
        counts: Any = await self.redis.hgetall(sizes_key(self.settings.prefix))
        live = {name.decode(): max(0, int(count)) for name, count in counts.items()}
        present = {segment.id: live.get(segment.id, 0) for segment in self.model().segments}
        present[PROSPECT] = live.get(PROSPECT, 0)
        return present | {name: count for name, count in live.items() if count and name not in present}

    async def descriptions(self) -> dict[str, Description]:
        """What people have written about segments, by segment id."""
        return await descriptions.read(self.redis, self.settings.prefix)

    async def standing(self) -> Standing | None:
        """How things are with the drift check; None while nobody has it."""
        data: Any = await self.redis.get(standing_key(self.settings.prefix))
        return decode_standing(data) if data else None

    async def membership(self, user_id: str) -> Membership:
        """Where a customer is. Raises Problem where she is not known."""
        fields: Any = await self.redis.hgetall(user_key(self.settings.prefix, user_id))
        if not fields:
            raise unknown()
        return from_fields(user_id, fields)

    async def memberships(self, user_ids: list[str]) -> list[Membership | None]:
        """Where customers are, in the order of the ids, in one round trip; None for those not known."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for user_id in user_ids:
                pipe.hgetall(user_key(self.settings.prefix, user_id))
            found = await pipe.execute()
        return [from_fields(i, fields) if fields else None for i, fields in zip(user_ids, found, strict=True)]


def unknown() -> Problem:
    """A customer nobody has heard of. The text does not name her: callers write such texts into their logs."""
    return Problem(
        404, "Not Found", "This customer is not known here: no event of hers has been seen, or she was erased."
    )
