"""The job, as every Python engine here does it: the one module that touches the product's own code on the event path."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas import topics
from schemas.changes import SegmentChanged
from schemas.customer import Customer, from_bytes, to_bytes
from schemas.events import decode
from schemas.model import Model
from schemas.sealed import from_bytes as model_from_bytes
from schemas.signing import Keyring
from schemas.times import rfc3339
from stream_app.segmenter import Position, step
from stream_app.work import encoded

__all__ = ["CHANGELOG", "CHANGES", "ORDERS", "STATE", "Customer", "Settings", "apply", "encoded", "from_bytes", "now"]
__all__ += ["to_bytes"]

ORDERS: Final = topics.ORDERS.name
CHANGES: Final = topics.CHANGES.name
STATE: Final = topics.STATE.name
CHANGELOG: Final = topics.USERS.name
COMMIT_SECONDS: Final = 1.0
SESSION_SECONDS: Final = 6
PARTITIONS: Final = 4


def apply(
    customer: Customer | None, key: bytes, value: bytes, partition: int, offset: int, model: Model, decided_at: str
) -> tuple[Customer, tuple[SegmentChanged, ...]] | None:
    """The customer after the event (the same object, changed in place) and what changed; None where the fence stops it."""
    position = Position(0, ORDERS, partition, offset)
    if customer is None:
        customer = Customer()
    elif offset <= customer.applied[0]:
        return None
    return customer, step(customer, decode(key, value), position, model, decided_at).changes


def now() -> tuple[int, str]:
    """The clock: microseconds since 1970 UTC, and the same as RFC 3339 text."""
    micros = time.time_ns() // 1000
    return micros, rfc3339(micros)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the harness tells an engine: where to read, under which names, by which model."""

    kafka: str
    group: str
    source: str
    """The topic to read; its events count as those of `orders`."""
    instance: str
    """The static name in the consumer group."""
    directory: Path
    """For local state."""
    model: Path
    """The signed artifact."""
    trusted: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """The settings in the environment (BENCH_*)."""
        return cls(
            kafka=environ["BENCH_KAFKA"],
            group=environ["BENCH_GROUP"],
            source=environ["BENCH_SOURCE"],
            instance=environ["BENCH_INSTANCE"],
            directory=Path(environ["BENCH_DIRECTORY"]),
            model=Path(environ["BENCH_MODEL"]),
            trusted=environ["BENCH_TRUSTED"],
        )

    @classmethod
    def here(cls) -> Settings:
        """The settings of this process."""
        return cls.of(os.environ)

    def environment(self) -> dict[str, str]:
        """The inverse of `of`."""
        return {f"BENCH_{name.upper()}": str(getattr(self, name)) for name in self.__slots__}

    def load_model(self) -> Model:
        """The model, checked as a worker checks it."""
        return model_from_bytes(self.model.read_bytes(), Keyring([self.trusted]))
