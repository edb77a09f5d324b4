"""What the API holds of many customers: a real one reads them from a real Redis, and its memory is looked at from outside."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis

from bench.processes import Process, status, wait_for
from sandbox.process import free_port
from sandbox.redis import Redis
from schemas.artifact import Artifact, model_id
from schemas.membership import Membership, to_fields, user_key
from schemas.registry import Registry
from schemas.sealed import to_bytes
from schemas.signing import Signer
from segment_api.index import Row

PREFIX = "segstream:"
_TOGETHER = 1_000
_AT = "2026-01-01T00:00:00Z"


def footprint(
    artifact: Artifact, chunks: Iterable[list[Row]], directory: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Seconds until an API has read these customers, and MiB of memory: with nobody, at most while it read, and after."""
    server = Redis(directory / "redis")
    signer = Signer.generate()
    try:
        server.start()
        client = redis.Redis.from_url(server.url)
        name = model_id(artifact)
        Registry(client).publish(name, to_bytes(artifact, signer), at=time.time_ns() // 1000, by="bench")
        _, none, _ = _read(server.url, signer, directory / "nobody", 404)
        say("customers are put into Redis")
        count, first = _put(client, chunks, name)
        say(f"an API reads {count:,} customers")
        took, now, peak = _read(server.url, signer, directory / "everyone", 200, first)
    finally:
        server.stop()
    return {"customers": count, "read_s": took, "without_mib": none, "mib": now, "peak_mib": peak}


def _put(client: redis.Redis, chunks: Iterable[list[Row]], model: str) -> tuple[int, str]:
    count, first = 0, ""
    for rows in chunks:
        with client.pipeline(transaction=False) as pipe:
            for row in rows:
                one = Membership(
                    user_id=row.user_id, segment=row.segment, name="Segment 1", nearest=row.segment, margin=0.5,
                    model_id=model, sequence=1, revision=1, event_time=_AT, projected_at=_AT, features=dict(row.features),
                )  # fmt: skip
                pipe.hset(user_key(PREFIX, row.user_id), mapping=to_fields(one))
            pipe.execute()
        count, first = count + len(rows), first or rows[0].user_id
    return count, first


def _read(url: str, signer: Signer, home: Path, wanted: int, user: str = "nobody") -> tuple[float, float, float]:
    """Seconds from the start until customers are known, MiB then, and MiB at most."""
    port = free_port()
    settings = {
        "SEGSTREAM_HOME": str(home),
        "SEGSTREAM_REDIS": url,
        "SEGSTREAM_KAFKA": "127.0.0.1:1",
        "SEGSTREAM_TRUSTED_KEYS": signer.public,
        "SEGSTREAM_API_PORT": str(port),
        "SEGSTREAM_LOG_LEVEL": "error",
    }
    api = Process.start([sys.executable, "-m", "segstream", "serve"], settings, home, "api")
    try:
        path = f"http://127.0.0.1:{port}/v1/users/{user}/similar"
        wait_for(lambda: status(path) == wanted, "everyone is read", 900, api.alive, 0.2)
        took = time.monotonic() - api.started
        return took, api.resident(), api.peak()
    finally:
        api.stop()
