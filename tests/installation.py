"""One installation of Segstream for a test: topics, a model, worker processes, and an oracle to compare them with."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas import topics
from schemas.changes import SegmentChanged
from schemas.customer import Customer
from schemas.erasure import is_signed
from schemas.events import DELETED, InvalidEvent, UserDeleted, decode
from schemas.membership import Membership, from_fields, user_key
from schemas.model import Model
from schemas.newcomer import Newcomers
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.signing import Keyring
from segstream import kafka, verify
from segstream.outcome import No
from stream_app.segmenter import Position, step
from tests.schemas.models import SIGNER, model, sealed
from tests.waiting import wait_for

TRUSTED = Keyring([SIGNER.public])
Row = tuple[str, int, int, bytes, bytes]
"""Topic, partition, offset, key, value."""
Unplaced = tuple[str, int, None, bytes, bytes]
"""What Kafka has, it did not tell where: an acknowledgement was lost, and what was sent again was already there."""


def order(user: int, number: int, **more: Any) -> tuple[str, bytes, bytes]:
    """Topic, key and value of an order; everything follows from its number."""
    rng = random.Random(number)
    products = [
        {
            "brand": rng.choice(["Acme", "Blue", None]),
            "category": f"c{rng.randrange(6)}",
            "price": rng.randrange(1, 9000) / 100,
        }
        for _ in range(rng.randrange(1, 4))
    ]
    body = {
        "type": "track",
        "event": "Order Completed",
        "userId": str(user),
        "timestamp": f"2026-01-01T{number % 24:02}:00:00Z",
        "properties": {"order_id": f"o{number}", "products": products},
        **more,
    }
    return topics.ORDERS.name, str(user).encode(), json.dumps(body).encode()


def orders(count: int, users: int, first: int = 0, **more: Any) -> list[tuple[str, bytes, bytes]]:
    """Many orders of some users."""
    return [order(random.Random(-n).randrange(users), n, **more) for n in range(first, first + count)]


def emptied(bootstrap: str) -> None:
    """Delete every topic of a broker but Kafka's own, and with them what groups have committed."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def left() -> list[str]:
        return [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]

    if found := left():
        for done in admin.delete_topics(found).values():
            done.result()
    wait_for(lambda: not left(), "the topics are gone")


@dataclass
class WorkerProcess:
    """A worker of its own process."""

    process: subprocess.Popen[bytes]
    home: Path
    log: Path

    @property
    def address(self) -> Path:
        return self.home / f"worker-{self.process.pid}.json"

    def get(self, path: str) -> tuple[int, str]:
        port = json.loads(self.address.read_text())["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self) -> dict[str, Any]:
        """The readiness document; empty while the worker cannot be asked."""
        try:
            return dict(json.loads(self.get("/ready")[1]))
        except (OSError, ValueError):
            return {}

    def wait_ready(self, deadline: float = 180.0) -> WorkerProcess:
        def look() -> bool:
            assert self.process.poll() is None, f"the worker has ended:\n{self.tail()}"
            return self.ready().get("ready") is True

        wait_for(look, "the worker is ready", deadline, every=0.1)
        return self

    def metric(self, name: str) -> float:
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def tail(self) -> str:
        return self.log.read_text()[-3000:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@dataclass
class Installation:
    """The servers' addresses, the processes started, and what was produced."""

    home: Path
    kafka: str
    redis: str
    app_id: str = "segstream"
    workers: list[WorkerProcess] = field(default_factory=list)
    produced: list[Row] = field(default_factory=list)
    """As acknowledged."""
    unplaced: list[Unplaced] = field(default_factory=list)
    """The same, until `place` has found where."""

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.home, kafka=self.kafka, redis=self.redis, app_id=self.app_id, session_timeout=6, model_poll=2
        )

    @property
    def environment(self) -> dict[str, str]:
        """The settings of its processes."""
        return {
            "SEGSTREAM_HOME": str(self.home),
            "SEGSTREAM_KAFKA": self.kafka,
            "SEGSTREAM_REDIS": self.redis,
            "SEGSTREAM_APP_ID": self.app_id,
        }

    @property
    def registry(self) -> Registry:
        return Registry(redis.Redis.from_url(self.redis))

    def prepare(self, guess: Newcomers | None = None) -> Model:
        """Create the topics and publish the first model."""
        kafka.create(self.settings)
        return self.publish(guess=guess)

    def publish(self, shift: float = 0.0, guess: Newcomers | None = None) -> Model:
        model_id, data = sealed(shift, guess)
        self.registry.publish(model_id, data, at=time.time_ns() // 1000, by="test")
        made = model(shift=shift, guess=guess)
        assert made.id == model_id
        return made

    def worker(self, program: str = "", tree: Path | None = None, **environment: str) -> WorkerProcess:
        """Start one more worker; `program` is run in its process before it; `tree` is where its code lies, if not here."""
        more = {"SEGSTREAM_TRUSTED_KEYS": SIGNER.public, "SEGSTREAM_SESSION_TIMEOUT": "6", **environment}
        env = os.environ | self.environment | more | ({} if tree is None else {"PYTHONPATH": str(tree)})
        log = self.home / f"worker-{len(self.workers)}.log"
        self.home.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as out:
            command = [sys.executable, "-m", "segstream", "worker"]
            if program:
                command[1:] = ["-c", f"{program}\nfrom segstream.cli import app; app(['worker'])"]
            process = subprocess.Popen(command, env=env, cwd=tree, stdout=out, stderr=subprocess.STDOUT)
        self.workers.append(WorkerProcess(process, self.home, log))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()

    def produce(self, messages: Iterable[tuple[str, bytes, bytes]], rate: float = 0.0) -> None:
        """Send messages and wait until all are acknowledged."""
        client = Producer(
            {
                "bootstrap.servers": self.kafka,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1 if rate else 20,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
            }
        )

        def stored(error: Any, message: Any) -> None:
            assert error is None, error
            self.acknowledged((message.topic(), message.partition(), message.offset(), message.key(), message.value()))

        begun = time.monotonic()
        for number, (topic, key, value) in enumerate(messages):
            client.produce(topic, value, key, on_delivery=stored)
            while rate and (ahead := begun + number / rate - time.monotonic()) > 0:
                client.poll(ahead)
            if number % 200 == 0:
                client.poll(0)
        assert client.flush(60) == 0
        self.place()

    def acknowledged(self, row: Row | Unplaced) -> None:
        """Kafka has a message."""
        (self.unplaced if row[2] is None else self.produced).append(row)

    def place(self) -> None:
        """Find in the log what Kafka has without having told where."""
        for topic, partition in {row[:2] for row in self.unplaced}:
            known = {row[2] for row in self.produced if row[:2] == (topic, partition)}
            wanted = Counter(row[3:] for row in self.unplaced if row[:2] == (topic, partition))
            for message in kafka.read(self.settings, topic, only=partition):
                what, offset = (message.key(), message.value()), message.offset()
                if offset not in known and wanted[what]:
                    wanted[what] -= 1
                    self.produced.append((topic, partition, offset, *what))
            assert not wanted.total(), f"{topic}-{partition} lacks {wanted.total()} records that Kafka acknowledged"
        self.unplaced.clear()

    def log(self) -> Iterable[Row]:
        """What Kafka has, partition by partition, in the order of the offsets."""
        return sorted(self.produced, key=lambda row: row[:3])

    def commit(self, offsets: dict[tuple[str, int], int]) -> None:
        """Commit offsets for the workers, none of whom may run."""
        client = kafka.consumer(self.settings, self.settings.app_id)
        parts = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        client.commit(offsets=parts, asynchronous=False)
        client.close()

    def caught_up(self, deadline: float = 90.0) -> None:
        """Wait until the workers have committed everything; fail at once when the last of them has ended by itself."""
        until = time.monotonic() + deadline
        while True:
            try:
                return verify.caught_up(self.settings, 2.0)
            except No:
                if time.monotonic() > until:
                    raise
            if self.workers and all(worker.process.poll() is not None for worker in self.workers):
                pytest.fail(f"no worker is left, the last one said:\n{self.workers[-1].tail()}")

    def state(self) -> dict[str, Customer]:
        """The customers as the changelog holds them."""
        return verify.state(self.settings)

    def changes(self) -> list[SegmentChanged]:
        """Every change in the log, in the order of their partitions."""
        read = kafka.read(self.settings, topics.CHANGES.name)
        return [msgspec.json.decode(message.value(), type=SegmentChanged) for message in read]

    def dead_letters(self) -> list[dict[str, str]]:
        rows = []
        for source in topics.INPUTS:
            for message in kafka.read(self.settings, topics.dead_letter_topic(source.name)):
                rows.append({name: value.decode() for name, value in message.headers()})
        return rows

    def projected(self, user_id: str) -> Membership | None:
        fields = redis.Redis.from_url(self.redis).hgetall(user_key(self.settings.prefix, user_id))
        return from_fields(user_id, fields) if fields else None  # type: ignore[arg-type]

    def projections(self, user_ids: Sequence[str]) -> Iterator[tuple[str, Membership | None]]:
        """What Redis shows of many customers."""
        prefix = self.settings.prefix
        with redis.Redis.from_url(self.redis, socket_timeout=30) as client:
            for first in range(0, len(user_ids), 1000):
                pipe = client.pipeline(transaction=False)
                some = user_ids[first : first + 1000]
                for user_id in some:
                    pipe.hgetall(user_key(prefix, user_id))
                for user_id, fields in zip(some, pipe.execute(), strict=True):
                    yield user_id, from_fields(user_id, fields) if fields else None

    def erased(self) -> set[str]:
        """The customers whose erasure was ordered; all that is known of them beforehand is that nothing will be left."""
        orders = (decode(key, value) for *_, key, value in self.produced if value.find(DELETED.encode()) >= 0)
        return {one.user_id for one in orders if isinstance(one, UserDeleted) and is_signed(one, TRUSTED)}

    def oracle(self, one: Model) -> tuple[dict[str, Customer], list[SegmentChanged]]:
        """The same input, the erased left out, folded by one plain loop, partition by partition, in the order of the offsets."""
        customers: dict[str, Customer] = {}
        changes: list[SegmentChanged] = []
        slots = {topic.name: slot for slot, topic in enumerate(topics.INPUTS)}
        erased = self.erased()
        for topic, partition, offset, key, value in self.log():
            try:
                event = decode(key, value)
            except InvalidEvent:
                continue
            if isinstance(event, UserDeleted) or event.user_id in erased:
                continue
            customer = customers.setdefault(event.user_id, Customer())
            changes += step(customer, event, Position(slots[topic], topic, partition, offset), one, "").changes
        return customers, changes

    def assert_exact(self, one: Model) -> None:
        """State and changes equal the oracle's: nothing lost, nothing twice but under the same id with the same content."""
        expected, expected_changes = self.oracle(one)
        state, erased = self.state(), self.erased()
        assert {user_id for user_id, customer in state.items() if customer.is_erased} == erased
        assert state.keys() - erased == expected.keys()
        for user_id, wanted in expected.items():
            found = state[user_id]
            assert found.profile == wanted.profile, user_id
            assert (found.segment, found.nearest, found.sequence) == (
                wanted.segment,
                wanted.nearest,
                wanted.sequence,
            ), user_id
            assert found.applied == wanted.applied, user_id
        by_id: dict[str, SegmentChanged] = {}
        for change in self.changes():
            if change.user_id in erased:
                continue
            plain = msgspec.structs.replace(change, decided_at="")
            assert by_id.setdefault(change.change_id, plain) == plain, "a repeated change must repeat its content"
        assert by_id == {change.change_id: change for change in expected_changes}

    def assert_projected(self) -> None:
        """Redis shows every customer as the state has her."""
        state = self.state()

        def shown() -> bool:
            return all(
                (row := self.projected(user_id)) is not None and row.sequence == c.sequence and row.segment == c.segment
                for user_id, c in state.items()
            )

        wait_for(shown, "redis shows every customer", 30, every=0.2)
