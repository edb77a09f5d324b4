"""`--only api`: how soon a service has its answer: a customer at a steady rate, neighbours among many, and a change at a listener."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis
from confluent_kafka import Producer

from bench import job
from bench.calibration import TYPICAL, calibrated
from bench.installation import Installation, installed
from bench.processes import Process, wait_for
from bench.report import Verdict, quantile
from schemas.changes import SegmentChanged, encode
from schemas.features import Facts, raw
from schemas.membership import Membership, to_fields, user_key
from schemas.model import Model
from schemas.times import rfc3339

CONNECTIONS: Final = 8
USER_P50_MS: Final = 2.0
USER_P99_MS: Final = 20.0
SIMILAR_P99_MS: Final = 150.0
STREAM_P99_MS: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    customers: int = 1_000_000
    rate: float = 500.0
    seconds: float = 20.0
    searches: int = 100
    changes: int = 300


def measure(plan: Plan, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The part's result."""
    artifact, _ = calibrated(TYPICAL)
    with installed(directory, artifact) as made:
        made.fresh()
        say(f"{plan.customers:,} customers into Redis")
        _fill(made, plan.customers)
        command = [sys.executable, "-m", "segstream", "serve"]
        port = 18_472
        more = {"SEGSTREAM_API_PORT": str(port), "SEGSTREAM_API_RATE": "0", "SEGSTREAM_LOG_LEVEL": "warning"}
        api = Process.start(command, made.environment | more, directory, "api")
        try:
            begun = time.monotonic()
            wait_for(lambda: _status(port, "/v1/users/1/similar") == 200, "everyone is read", 900, api.alive, 0.2)
            read_in = time.monotonic() - begun
            say(f"read by the API in {read_in:.1f} s; a customer, {plan.rate:g} times a second")
            dice = np.random.default_rng(1)
            ids = dice.integers(1, plan.customers + 1, int(plan.rate * plan.seconds)).tolist()
            took = asyncio.run(_paced(port, [f"/v1/users/{i}" for i in ids], plan.rate))
            say("neighbours, one after the other")
            near = asyncio.run(_paced(port, [f"/v1/users/{i}/similar?k=5" for i in ids[: plan.searches]], 4.0))
            say("changes at a listener")
            heard = _heard(made, port, plan.changes)
        finally:
            api.stop()
    rows = {
        f"GET user, {plan.rate:g} requests/s": took,
        f"similar, top 5 of {plan.customers:,}": near,
        "change on Kafka to listener": heard,
    }
    table = {
        name: {"n": len(ms), "p50_ms": quantile(ms, 0.5), "p99_ms": quantile(ms, 0.99), "max_ms": max(ms)}
        for name, ms in rows.items()
    }
    verdicts = [
        Verdict.at_most("GET user p50 ms", quantile(took, 0.5), USER_P50_MS),
        Verdict.at_most("GET user p99 ms", quantile(took, 0.99), USER_P99_MS),
        Verdict.at_most("similar p99 ms", quantile(near, 0.99), SIMILAR_P99_MS),
        Verdict.at_most("change at a listener p99 ms", quantile(heard, 0.99), STREAM_P99_MS),
    ]
    return {
        "part": "api",
        "customers": plan.customers,
        "read_in_s": read_in,
        "table": table,
        "verdicts": [v.document() for v in verdicts],
    }


def _fill(made: Installation, customers: int) -> None:
    """Customers as a worker's projection leaves them."""
    client, model = redis.Redis.from_url(made.redis), made.model
    dice = np.random.default_rng(7)
    orders = dice.geometric(0.15, customers)
    values = dice.lognormal(8.0, 0.8, customers)
    for start in range(0, customers, 5_000):
        with client.pipeline(transaction=False) as pipe:
            for i in range(start, min(start + 5_000, customers)):
                n = int(orders[i])
                known = Facts(placed_orders=n, orders=n, items=2 * n, spend=int(values[i]) * n, categories=1 + n % 9)
                pipe.hset(user_key("segstream:", str(i + 1)), mapping=to_fields(_row(str(i + 1), known, model)))
            pipe.execute()


def _row(user_id: str, known: Facts, model: Model) -> Membership:
    segment, nearest, margin, _ = model.assign(known, None)
    return Membership(
        user_id=user_id,
        segment=segment,
        name=model.names[segment],
        nearest=nearest,
        margin=margin,
        model_id=model.id,
        sequence=1,
        revision=1,
        event_time="2026-01-01T00:00:00Z",
        projected_at="2026-01-01T00:00:01Z",
        features=raw(model.feature_names, known),
    )


async def _paced(port: int, paths: Sequence[str], rate: float) -> list[float]:
    """Milliseconds from the moment each request was due to its answer: one that had to wait for its turn has waited."""
    begun = time.monotonic() + 0.2
    took: list[float] = []

    async def connection(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(first, len(paths), CONNECTIONS):
            due = begun + number / rate
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            writer.write(f"GET {paths[number]} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n", 1)[0]:
                raise RuntimeError(f"{paths[number]}: {head[:80]!r}")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            await reader.readexactly(length)
            took.append((time.monotonic() - due) * 1000)
        writer.close()

    await asyncio.gather(*(connection(i) for i in range(min(CONNECTIONS, len(paths)))))
    return took


def _heard(made: Installation, port: int, count: int) -> list[float]:
    """Milliseconds from handing a change to the Kafka client until a listener has it, at 30 a second."""
    at: dict[str, float] = {}
    heard: dict[str, float] = {}
    connected = threading.Event()

    def listen() -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/changes/stream", timeout=60) as answer:
            for line in answer:
                connected.set()
                if line.startswith(b"data: ") and b'"change_id":"' in line:
                    heard[line.split(b'"change_id":"')[1].split(b'"')[0].decode()] = time.monotonic()
                    if len(heard) == count:
                        return

    ear = threading.Thread(target=listen, daemon=True)
    ear.start()
    connected.wait(30)
    client = Producer({"bootstrap.servers": made.kafka, "linger.ms": 0, "log_level": 2})
    for n in range(count):
        change = SegmentChanged(
            change_id=f"c{n}", user_id=str(n), from_segment=None, from_name=None, to_segment="s1", to_name="s1", cause="behaviour",
            caused_by=f"orders:0:{n}", model_id="m", feature_spec="behaviour", margin=0.0, features={}, event_time=rfc3339(time.time_ns() // 1000),
            decided_at=rfc3339(time.time_ns() // 1000), sequence=1,
        )  # fmt: skip
        at[change.change_id] = time.monotonic()
        client.produce(job.CHANGES, encode(change), change.user_id.encode())
        client.poll(1 / 30)
    client.flush(30)
    ear.join(60)
    if len(heard) != count:
        raise RuntimeError(f"{count - len(heard)} of {count} changes never reached the listener")
    return [(heard[name] - at[name]) * 1000 for name in at]


def _status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status)
    except OSError:
        return 0
