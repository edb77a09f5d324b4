"""An API on a Redis of its own, with a model in use."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis
import redis.asyncio
import uvicorn
from fastapi.testclient import TestClient

from sandbox.redis import Redis
from schemas.membership import Membership, sizes_key, to_fields, user_key
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.signing import Keyring
from schemas.watch import ModelWatch
from segment_api.app import create_app
from segment_api.letters import Redrive
from tests.schemas.models import SIGNER, sealed
from tests.waiting import wait_for

NOW = 1_767_225_610_000_000


@pytest.fixture
def settings(own_redis: Redis, tmp_path: Path) -> Settings:
    return Settings(redis=own_redis.url, kafka="127.0.0.1:1", home=tmp_path / "home", model_poll=0.2)


@pytest.fixture
def registry(own_redis: Redis) -> Registry:
    made = Registry(redis.Redis.from_url(own_redis.url))
    model_id, data = sealed()
    made.publish(model_id, data, at=1, by="test")
    return made


@contextmanager
def serving(settings: Settings, host: str = "127.0.0.1") -> Iterator[TestClient]:
    """The API, asked from `host`; its clock stands still."""
    watch = ModelWatch(
        redis.Redis.from_url(settings.redis),
        settings.prefix,
        Keyring([SIGNER.public]),
        poll=0.2,
        on_model=lambda m: None,
    )
    client = redis.asyncio.Redis.from_url(settings.redis, socket_connect_timeout=1, socket_timeout=1)
    app = create_app(settings, client, watch, Keyring([SIGNER.public]), lambda: NOW)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False, client=(host, 50_000)) as asked:
        wait_for(lambda: asked.get("/ready").status_code == 200, "the API is ready")
        yield asked


@contextmanager
def listening(
    settings: Settings, clock: Callable[[], int] = lambda: time.time_ns() // 1000, redrive: Redrive | None = None
) -> Iterator[httpx.Client]:
    """The API on a port of its own, with the true time."""
    watch = ModelWatch(
        redis.Redis.from_url(settings.redis),
        settings.prefix,
        Keyring([SIGNER.public]),
        poll=0.2,
        on_model=lambda m: None,
    )
    store = redis.asyncio.Redis.from_url(settings.redis)
    app = create_app(settings, store, watch, Keyring([SIGNER.public]), clock, redrive)
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
        thread.start()
        address = f"http://127.0.0.1:{port.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, timeout=20) as client:
                wait_for(lambda: server.started and client.get("/ready").status_code == 200, "the API is ready")
                yield client
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def api(settings: Settings, registry: Registry) -> Iterator[TestClient]:
    with serving(settings) as asked:
        yield asked


def put(settings: Settings, *rows: Membership) -> None:
    """Write customers as the projection does."""
    client = redis.Redis.from_url(settings.redis)
    for row in rows:
        client.hset(user_key(settings.prefix, row.user_id), mapping=to_fields(row))
        client.hincrby(sizes_key(settings.prefix), row.segment, 1)


def customer(user_id: str = "4711", **more: object) -> Membership:
    """A customer as projected."""
    known = {
        "user_id": user_id, "segment": "s2", "name": "Segment 2", "nearest": "s2", "margin": 0.1 + 0.2, "model_id": "m-1", "sequence": 3, "revision": 9,
        "event_time": "2026-01-01T00:00:00Z", "projected_at": "2026-01-01T00:00:08.5Z", "features": {"orders": 2.0, "brand": None},
    }  # fmt: skip
    return Membership(**(known | more))  # type: ignore[arg-type]
