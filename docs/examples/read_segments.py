"""Who is this customer? Read straight from Redis, in one round trip for any number of customers.

    pip install redis
    SEGSTREAM_REDIS=redis://127.0.0.1:6379/0 python read_segments.py 4711 4712

Keys (the prefix is `SEGSTREAM_PREFIX`, by default `segstream:`):

- `segstream:user:<id>`, a hash: `segment` (stable id), `name`, `nearest`, `margin`, `model_id`, `sequence` (changes so far), `revision` (events so
  far), `event_time` and `projected_at` (RFC 3339), `features` (JSON, raw units); of a prospect also `likely_segment`, `likely_name`,
  `likely_probability`. No hash: nobody by this id has been seen.
- `segstream:sizes`, a hash: segment id -> customers in it.

Redis is a view that is some hundred milliseconds behind Kafka, and is built again where it was lost: read it, never write to it.
"""

from __future__ import annotations

import json
import os
import sys

import redis

PREFIX = os.environ.get("SEGSTREAM_PREFIX", "segstream:")


def read(client: redis.Redis, user_ids: list[str]) -> dict[str, dict | None]:
    """Each customer's segment, or None where nobody by this id has been seen."""
    with client.pipeline(transaction=False) as pipeline:
        for user_id in user_ids:
            pipeline.hgetall(f"{PREFIX}user:{user_id}")
        rows = pipeline.execute()
    return {user_id: _customer(row) if row else None for user_id, row in zip(user_ids, rows, strict=True)}


def sizes(client: redis.Redis) -> dict[str, int]:
    """Customers per segment."""
    return {segment: int(count) for segment, count in client.hgetall(f"{PREFIX}sizes").items()}


def _customer(row: dict[str, str]) -> dict:
    return {
        "segment": row["segment"],  # decide by the id: names may be changed by people
        "name": row["name"],
        "margin": float(row["margin"]),  # how far from the next segment; small means "may well move soon"
        "likely": row.get("likely_segment") or None,
        "features": json.loads(row["features"]),
        "as_of": row["event_time"],
    }


def main() -> None:
    client = redis.Redis.from_url(
        os.environ.get("SEGSTREAM_REDIS", "redis://127.0.0.1:6379/0"), decode_responses=True, socket_timeout=1
    )
    print(json.dumps({"customers": read(client, sys.argv[1:]), "sizes": sizes(client)}, indent=2))


if __name__ == "__main__":
    main()
