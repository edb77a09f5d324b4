"""Several brokers that are one Kafka, each of which can be killed; and a way to them for workers alone that can be cut."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient

from sandbox.kafka import Kafka, jars
from sandbox.process import ServerUnavailable, free_port
from schemas import topics
from tests.faults.proxy import Proxy

_CLUSTER: Final = "MkU3OEVBNTcwNTJENDM2Qg"
_PROPERTIES: Final = """process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},WORKERS://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},WORKERS://127.0.0.1:{door}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,WORKERS:PLAINTEXT
log.dirs={data}
default.replication.factor={copies}
min.insync.replicas={least}
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={least}
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""


class Node(Kafka):
    """One broker of a cluster. `door` is the port of a proxy that workers may be sent through."""

    def __init__(self, directory: Path, number: int) -> None:
        super().__init__(directory, heap="384m")
        self.number = number
        self.controller, self.behind, self.door = free_port(), free_port(), free_port()
        self.peers: list[Node] = []

    def _command(self) -> list[str]:
        properties, data = self.directory / "server.properties", self.directory / "data"
        copies = min(3, len(self.peers))
        properties.write_text(
            _PROPERTIES.format(
                id=self.number,
                voters=",".join(f"{node.number}@127.0.0.1:{node.controller}" for node in self.peers),
                port=self.port,
                behind=self.behind,
                door=self.door,
                controller=self.controller,
                data=data,
                copies=copies,
                least=max(1, copies - 1),
            )
        )
        if not (data / "meta.properties").exists():
            shutil.rmtree(data, ignore_errors=True)
            tool = ["java", "-cp", f"{jars()}/*", "kafka.tools.StorageTool", "format", "-t", _CLUSTER]
            done = subprocess.run([*tool, "-c", str(properties)], capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServerUnavailable(f"Kafka's storage could not be formatted: {done.stderr.strip()[-500:]}")
        return ["java", f"-Xmx{self._heap}", "-XX:+UseG1GC", "-cp", f"{jars()}/*", "kafka.Kafka", str(properties)]


class Cluster:
    """Brokers with numbers from 1; topics have up to three copies, of which all but one must be there."""

    def __init__(self, directory: Path, brokers: int) -> None:
        self.nodes = {n: Node(directory / f"kafka-{n}", n) for n in range(1, brokers + 1)}
        for node in self.nodes.values():
            node.peers = list(self.nodes.values())
        self.proxies: list[Proxy] = []

    @property
    def copies(self) -> int:
        """Replication factor of the topics."""
        return min(3, len(self.nodes))

    @property
    def bootstrap(self) -> str:
        """For clients."""
        return ",".join(node.bootstrap for node in self.nodes.values())

    def start(self) -> Cluster:
        """Start all: none answers before most are there."""
        self.proxies = [Proxy(node.door, node.behind) for node in self.nodes.values()]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.start(), self.nodes.values()))
        return self

    def stop(self) -> None:
        """End all, the last ones without the good order that needs a majority."""
        for node in self.nodes.values():
            node.kill()
        for proxy in self.proxies:
            proxy.close()

    @property
    def doors(self) -> str:
        """For the workers who are sent through the proxies."""
        return ",".join(f"127.0.0.1:{node.door}" for node in self.nodes.values())

    def leader(self, topic: str = topics.ORDERS.name, partition: int = 0) -> Node:
        """The broker that leads a partition."""
        found = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0}).list_topics(timeout=20)
        return self.nodes[found.topics[topic].partitions[partition].leader]

    def coordinator(self, group: str) -> Node:
        """The broker that leads a group."""
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        found = client.describe_consumer_groups([group], request_timeout=20)[group].result()
        return self.nodes[found.coordinator.id]
