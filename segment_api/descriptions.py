"""What people have written about segments: kept in Redis beside the models, by the segment's stable id."""

from __future__ import annotations

from typing import Any

import msgspec
import redis.asyncio


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """A segment in someone's words."""

    text: str
    by: str
    at: str


def key(prefix: str) -> str:
    """Where they are: a hash, segment id -> JSON."""
    return f"{prefix}segment:descriptions"


async def read(client: redis.asyncio.Redis, prefix: str) -> dict[str, Description]:
    """All of them, by segment id."""
    found: Any = await client.hgetall(key(prefix))
    return {name.decode(): msgspec.json.decode(text, type=Description) for name, text in found.items()}


async def write(client: redis.asyncio.Redis, prefix: str, segment: str, said: Description) -> None:
    """Keep one; an empty text removes it."""
    if said.text:
        await client.hset(key(prefix), segment, msgspec.json.encode(said).decode())
    else:
        await client.hdel(key(prefix), segment)
