"""On a Kafka with TLS, SCRAM and an authorizer, and a Redis with TLS and users: everything works with the least rights, and says which one lacks."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from batch_trainer.loop.decide import Rest
from batch_trainer.loop.watch import Trained
from sandbox import kafka as kafka_server
from sandbox.secured import SecuredKafka, SecuredRedis
from schemas import connections, granted, offsets, topics
from schemas.connections import KafkaRefuses
from schemas.registry import Registry
from schemas.rights import Process, kafka_rights
from schemas.settings import Settings
from schemas.signing import Keyring
from schemas.watch import ModelWatch
from segment_api.access import mint
from segment_api.app import create_app
from segment_api.fleet import Fleet
from segstream import kafka, model_events
from segstream.cli import app as command_line
from segstream.model_commands import announce
from segstream.outcome import explain
from segstream.trainer import OpenAlerts, compose
from stream_app import preflight
from tests.installation import orders
from tests.schemas.models import SIGNER, model, sealed
from tests.security.installation import Fortress, Guarded, LockedRedis
from tests.security.terminator import Terminator
from tests.waiting import wait_for

NOW = 1_767_225_610_000_000
TOKEN, ENTRY = mint("shop", ["admin"])
LACKS = SecuredRedis.lacks()


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    """Both servers, every user made, the topics there and a model published: each by whoever has the right to."""
    if lacking := kafka_server.missing_tools():
        pytest.skip(f"a real Kafka needs {', '.join(lacking)}")
    directory = tmp_path_factory.mktemp("fortress")
    broker = SecuredKafka(directory / "kafka")
    own = SecuredRedis(directory / "redis") if not LACKS else None
    plain = LockedRedis(directory / "redis", "redis-administrator") if own is None else None
    terminator = None
    try:
        broker.start()
        if own is not None:
            own.start()
            made = Fortress(directory, broker, own.url, own.certificates.authority, own.password)
        else:  # the same by TLS in front of a server that has none
            assert plain is not None
            plain.start()
            terminator = Terminator(broker.certificates, plain.port)
            address = f"rediss://127.0.0.1:{terminator.port}/0"
            made = Fortress(directory, broker, address, broker.certificates.authority, plain.password)
        made.let_in()
        kafka.create(made.settings("ops"))
        trainer = made.settings("trainer")
        model_id, data = sealed()
        Registry(connections.redis_client(trainer)).publish(model_id, data, at=1, by="test")
        announce(trainer, "published", model_id, "")
        yield made
    finally:
        for server in (broker, own, plain):
            if server is not None:
                server.stop()
        if terminator is not None:
            terminator.close()


def send(settings: Settings, messages: list[tuple[str, bytes, bytes]]) -> list[tuple[str, int, int, bytes, bytes]]:
    """What was stored, with its places."""
    client = Producer(connections.kafka(settings, partitioner="murmur2_random", log_level=0))
    stored: list[tuple[str, int, int, bytes, bytes]] = []

    def told(error: Any, message: Any) -> None:
        assert error is None, error
        stored.append((message.topic(), message.partition(), message.offset(), message.key(), message.value()))

    for topic, key, value in messages:
        client.produce(topic, value, key, on_delivery=told)
    assert client.flush(30) == 0
    return stored


def run(
    fortress: Fortress, monkeypatch: pytest.MonkeyPatch, *arguments: str, who: Process | None = "ops"
) -> tuple[int, Any]:
    """A command by its user: exit code and document."""
    for name, value in fortress.environment(who).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SEGSTREAM_TRUSTED_KEYS", SIGNER.public)
    monkeypatch.setenv("SEGSTREAM_SIGNING_KEY", SIGNER.to_text())
    done = CliRunner().invoke(command_line, [*arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)


def steps_of_the_loop(fortress: Fortress) -> list[str]:
    """What the trainer tells by the time that its candidate is in the shadow, as the user that it has."""
    model_id, data = sealed(shift=-1.0)
    settings = fortress.settings("trainer", trusted_keys=SIGNER.public)
    alerts = OpenAlerts(settings)
    with ThreadPoolExecutor(1) as executor:
        watch = compose(settings, lambda run: Trained(model_id=model_id, sealed=data, gates=()), alerts, executor)
        wait_for(lambda: isinstance(watch.tick(), Rest), "the candidate is in the shadow", 30)
    alerts.close()
    return [event.action for event in model_events.read(fortress.settings("ops")) if event.run_id]


def test_with_the_least_rights_everything_works_and_no_log_holds_a_secret(
    fortress: Fortress, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shop = Guarded(fortress.directory / "home", fortress.kafka.bootstrap, fortress.redis_url, fortress=fortress)
    worker = shop.worker(
        SEGSTREAM_LOG_LEVEL="debug",
        SEGSTREAM_SIGNING_KEY=SIGNER.to_text(),
        SEGSTREAM_API_TOKENS=ENTRY,
        **fortress.environment("worker"),
    )
    try:
        sent = [*orders(300, 40), (topics.ORDERS.name, b"1", b"not an event")]
        shop.produced = send(fortress.settings("source"), sent)
        worker.wait_ready()
        shop.caught_up()
        shop.assert_exact(model())
        reader = connections.redis_client(fortress.settings("ops"))
        wait_for(lambda: reader.hgetall("segstream:user:1"), "customers are projected")
        seen = worker.get("/ready")[1] + worker.get("/metrics")[1]

        locked = fortress.settings("api", api_tokens=ENTRY, model_poll=0.2)
        watch = ModelWatch(
            connections.redis_client(locked), locked.prefix, Keyring([SIGNER.public]), poll=0.2, on_model=lambda m: None
        )
        application = create_app(locked, connections.redis_async(locked), watch, Keyring([SIGNER.public]), lambda: NOW)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        with TestClient(application, "http://127.0.0.1", raise_server_exceptions=False) as api:
            wait_for(lambda: api.get("/ready").status_code == 200, "the API is ready")
            wait_for(
                lambda: api.get("/v1/changes", headers=bearer).json().get("changes"), "the API follows the changes"
            )
            assert api.get("/v1/users/1", headers=bearer).status_code == 200
            wait_for(lambda: api.get("/v1/users/1/similar", headers=bearer).status_code == 200, "customers are read")
            wait_for(lambda: api.get("/v1/system", headers=bearer).json()["partitions"], "the API sees the workers")
            assert api.get("/v1/system", headers=bearer).json()["group"] == "stable"
            active = api.get("/v1/models/active", headers=bearer).json()["model_id"]
            done = api.post(f"/v1/models/{active}/activate", json={"reason": "try"}, headers=bearer).json()
            assert done["announced"] is True, done
            wrong = api.get("/v1/segments", headers={"Authorization": f"Bearer {TOKEN}x"})
            assert wrong.status_code == 401
            seen += wrong.text + api.get("/metrics", headers=bearer).text

        for arguments in (
            ("doctor",), ("topics", "list"), ("models", "list"), ("users", "show", "1"), ("users", "show", "1", "--changes"),
            ("deadletters", "list"), ("deadletters", "redrive"), ("config", "show"),
            ("trainer", "now", "--reason", "to see that it may"), ("trainer", "status"), ("trainer", "log"),
            ("users", "export", "2"), ("users", "erase", "2", "--reason", "asked to"),
        ):  # fmt: skip
            code, document = run(fortress, monkeypatch, *arguments)
            assert code == 0, (arguments, document)
            seen += json.dumps(document)
        assert steps_of_the_loop(fortress) == ["training-started", "candidate-published"]
        wait_for(lambda: "the drift check is ours" in worker.log.read_text(), "the worker has the drift check")
        assert worker.stop() == 0
    finally:
        shop.close()
    seen += worker.log.read_text() + caplog.text
    assert "partitions ready" in seen
    for refusal in ("authorization failed", "no permissions", "is tried again"):
        assert refusal not in seen.lower(), refusal
    hidden = [*fortress.passwords.values(), fortress.kafka.password, SIGNER.to_text(), TOKEN]
    assert [secret for secret in hidden if secret in seen] == []


def test_a_right_that_lacks_is_named(fortress: Fortress) -> None:
    admin = fortress.admin()
    for process in ("worker", "trainer", "api", "destinations", "ops"):
        own = connections.cluster(fortress.settings(process), 10)[0]
        assert granted.missing(own, kafka_rights(process)) == []
    client = connections.cluster(fortress.settings("worker"), 10)[0]
    for kind, name, operation in (
        ("topic", "segment-changes", "WRITE"),
        ("topic", "orders", "READ"),
        ("group", "segstream", "READ"),
    ):
        with _without(admin, "worker", kind, name, operation):
            wait_for(lambda: granted.missing(client, kafka_rights("worker")), "the broker knows")
            with pytest.raises(
                granted.Forbidden, match=f"segstream-worker.*{operation.lower()}: {kind} {name}\\).*topics acls worker"
            ):
                preflight.partitions(fortress.settings("worker"))
        wait_for(lambda: not granted.missing(client, kafka_rights("worker")), "the broker knows")


@contextmanager
def _without(admin: AdminClient, process: Process, kind: str, name: str, operation: str) -> Iterator[None]:
    """Meanwhile a process lacks one of its rights."""
    place = (ResourceType[kind.upper()], name, ResourcePatternType.LITERAL, f"User:segstream-{process}")
    one = AclBindingFilter(*place, None, AclOperation[operation], AclPermissionType.ALLOW)
    (future,) = admin.delete_acls([one]).values()
    (removed,) = future.result()
    try:
        yield
    finally:
        (again,) = admin.create_acls([removed]).values()
        again.result()


def test_the_api_asks_for_its_rights_once_and_again_only_where_kafka_refuses_something(
    fortress: Fortress, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Process] = []

    def check(client: AdminClient, settings: Settings, process: Process) -> None:
        asked.append(process)
        held(client, settings, process)

    held = granted.check
    monkeypatch.setattr(granted, "check", check)
    monkeypatch.setattr("segment_api.fleet.EVERY", 0.1)
    fleet = Fleet(fortress.settings("api"))
    fleet.start()
    try:
        wait_for(lambda: not fleet.state.error, "a first look")
        assert asked == ["api"]
        with _without(fortress.admin(), "api", "group", "segstream", "DESCRIBE"):
            wait_for(lambda: "describe: group segstream" in fleet.state.error, "the right that lacks is named")
            assert "topics acls api" in fleet.state.error
        wait_for(lambda: not fleet.state.error, "a look again")
        asked.clear()
        raised = [KafkaException(KafkaError(code)) for code in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT)]
        looked: list[bool] = []
        look = offsets.ends

        def fall(*arguments: Any) -> dict[offsets.Place, int]:
            if raised:
                raise raised.pop()
            looked.append(True)
            return look(*arguments)

        monkeypatch.setattr(offsets, "ends", fall)
        wait_for(lambda: looked, "Kafka answers again")
        assert asked == []
    finally:
        fleet.stop()


def test_who_has_no_right_changes_nothing(fortress: Fortress) -> None:
    """The trainer reads no customer, the worker publishes no model, the API writes no customer, and the shop's systems read nothing."""
    with pytest.raises(granted.Forbidden, match="segment-changes"):
        next(kafka.read(fortress.settings("source"), topics.CHANGES.name))
    code, kind, message = explain(_caught(lambda: kafka.create(fortress.settings("trainer"))))
    assert (code, kind) == (1, "no")
    assert "topics acls" in message
    worker, trainer, api = (connections.redis_client(fortress.settings(name)) for name in ("worker", "trainer", "api"))
    for attempt in (
        lambda: worker.set("segstream:model:active", "m-1"),
        lambda: trainer.hgetall("segstream:user:1"),
        lambda: api.delete("segstream:user:1"),
        lambda: api.set("segstream:user:1", "x"),
        lambda: worker.get("another:key"),
        lambda: worker.config_set("dir", "/tmp"),
    ):
        with pytest.raises(redis.exceptions.NoPermissionError) as refused:
            attempt()
        code, _, message = explain(refused.value)
        assert code == 1
        assert "topics acls" in message


def _caught(call: Any) -> BaseException:
    try:
        call()
    except (KafkaException, granted.Forbidden) as error:
        return error
    raise AssertionError("it was permitted")


def test_a_door_that_stays_shut_says_why(fortress: Fortress, tmp_path: Path) -> None:
    from sandbox import certificates

    stranger = certificates.make(tmp_path / "stranger").authority
    for changed, why in (
        (
            {"kafka_password": "wrong-horse"},
            "refuses segstream-worker: SEGSTREAM_KAFKA_USERNAME or SEGSTREAM_KAFKA_PASSWORD is wrong",
        ),
        ({"kafka_ca": stranger}, "set SEGSTREAM_KAFKA_CA"),
    ):
        with pytest.raises(KafkaRefuses, match=why) as refused:
            preflight.partitions(fortress.settings("worker", **changed))
        assert explain(refused.value)[0] == 1
        assert "wrong-horse" not in str(refused.value)
    plain = Settings(kafka=fortress.kafka.bootstrap, startup_timeout=2)
    with pytest.raises(preflight.KafkaUnreachable, match="SEGSTREAM_KAFKA_SECURITY"):
        preflight.partitions(plain)
    for changed, why in (
        ({"redis_password": "wrong-horse"}, "SEGSTREAM_REDIS_PASSWORD"),
        ({"redis_ca": stranger}, "SEGSTREAM_REDIS_CA"),
    ):
        with pytest.raises(redis.RedisError) as shut:
            preflight.redis_answers(fortress.settings("worker", **changed))
        code, _, message = explain(shut.value)
        assert code == 1
        assert why in message
        assert "wrong-horse" not in message


def test_redis_holds_no_key_that_could_sign(fortress: Fortress) -> None:
    client = connections.redis_client(fortress.settings(None))
    private = SIGNER.to_text()
    stored = [(name, client.dump(name)) for name in client.scan_iter()]
    assert any(b"model:m-" in name for name, _ in stored)
    for name, value in stored:
        assert value is not None
        assert private.encode() not in name + value, name
