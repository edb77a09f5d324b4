"""Where faults are inflicted: servers that are kept from one run to the next, and an installation on them for each run."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import redis

from sandbox.kafka import Kafka
from sandbox.redis import Redis
from schemas.settings import Settings
from tests.faults.cluster import Cluster
from tests.installation import Installation, emptied

BROKERS: Final = 3
"""Of the cluster, where one broker will not do."""


class Replicated(Installation):
    """An installation whose topics have several copies."""

    copies = 1

    @property
    def settings(self) -> Settings:
        """With the number of copies."""
        return super().settings.model_copy(update={"replication": self.copies})


Shop = TypeVar("Shop", bound=Replicated)


@dataclass(slots=True, kw_only=True)
class Servers:
    """One Kafka, of one broker or of several, and one Redis."""

    redis: Redis
    broker: Kafka | None = None
    cluster: Cluster | None = None

    @property
    def kafka(self) -> Kafka | Cluster:
        """Whichever it is."""
        found = self.broker or self.cluster
        assert found is not None
        return found

    @classmethod
    def planned(cls, directory: Path, cluster: bool = False) -> Servers:
        """Servers in a directory, to be started."""
        made = cls(redis=Redis(directory / "redis"))
        if cluster:
            made.cluster = Cluster(directory, BROKERS)
        else:
            made.broker = Kafka(directory / "kafka")
        return made

    def start(self) -> None:
        """Start them, one after the other."""
        self.redis.start()
        self.kafka.start()

    def stop(self) -> None:
        """End them; nothing of them is needed any more."""
        self.redis.kill()
        if self.broker is not None:
            self.broker.kill()
        if self.cluster is not None:
            self.cluster.stop()


@dataclass(slots=True)
class Stand:
    """The servers of the kinds that were asked for; all of them are ended by `close`."""

    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="segstream-faults-")))
    _kept: dict[bool, Servers] = field(default_factory=dict)

    def servers(self, cluster: bool) -> Servers:
        """Running servers without topics and keys; those of the last run, unless these were thrown away."""
        found = self._kept.get(cluster)
        if found is None:
            found = Servers.planned(Path(tempfile.mkdtemp(dir=self.root)), cluster)
            self._kept[cluster] = found
            found.start()
        emptied(found.kafka.bootstrap)
        with redis.Redis.from_url(found.redis.url, socket_timeout=30) as client:
            client.flushall()
        return found

    def discard(self, cluster: bool) -> None:
        """End what a run may have left in disorder."""
        if (found := self._kept.pop(cluster, None)) is not None:
            found.stop()

    def close(self) -> None:
        """End everything and delete its data."""
        for cluster in list(self._kept):
            self.discard(cluster)
        shutil.rmtree(self.root, ignore_errors=True)

    @contextmanager
    def installation(self, servers: Servers, kind: type[Shop]) -> Iterator[Shop]:
        """A new installation; its workers are ended with it."""
        home = Path(tempfile.mkdtemp(dir=self.root)) / "home"
        # A killed worker stays a member of its group until its session ends; nobody shall wait for that.
        shop = kind(home, servers.kafka.bootstrap, servers.redis.url, f"segstream-{uuid.uuid4().hex[:8]}")
        shop.copies = servers.cluster.copies if servers.cluster is not None else 1
        try:
            yield shop
        finally:
            shop.close()


def keep_logs(shop: Installation, out: Path) -> None:
    """Keep what the workers said."""
    out.mkdir(parents=True, exist_ok=True)
    logs: Sequence[Path] = [worker.log for worker in shop.workers]
    for log in logs:
        shutil.copy(log, out / log.name)
