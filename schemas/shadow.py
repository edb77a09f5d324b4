"""A candidate beside the active model: what both say of the same live customers, and what follows from it for all of them.

Each sampled customer has one field in a Redis hash, under a digest of her id, and writing her again replaces it: however often workers
crash and read events again, she is counted once.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import redis

DIGEST: Final = 8
"""Bytes that stand for a customer."""
KEEP_FOR: Final = 7 * 24 * 3600
"""Seconds after the last look that the looks are kept."""


class Look(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One customer by both models, as she is now."""

    before: str
    """The segment she is in by the active model, what its hysteresis holds included."""
    after: str
    """The segment she would be moved to."""
    distance_before: float
    """To the nearest centroid of the active model, model units."""
    distance_after: float


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the migration matrix."""

    before: str
    after: str
    customers: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The same live customers by the active model and by the candidate; segment ids are those that the trainer has carried on."""

    customers: int
    moved: int
    """Customers whose segment id would differ."""
    matrix: tuple[Pair, ...]
    """The largest first."""
    log_distance_before: float
    """Mean of the logarithm of the distance to the nearest centroid; 0 without customers."""
    log_distance_after: float

    @property
    def share(self) -> float:
        """The share of the customers who would move."""
        return self.moved / self.customers if self.customers else 0.0

    def mix(self) -> tuple[dict[str, float], dict[str, float]]:
        """The share of the customers by segment, before and after."""
        found: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        for pair in self.matrix:
            found[0][pair.before] += pair.customers
            found[1][pair.after] += pair.customers
        return tuple({name: n / self.customers for name, n in side.most_common()} for side in found)  # type: ignore[return-value]


def compare(looks: Iterable[Look]) -> Comparison:
    """What the looks come to; their order does not matter.

    >>> found = compare([Look("s1", "s1", 1.0, 1.0), Look("s1", "s2", 1.0, 1.0)])
    >>> found.share, found.matrix[0].customers, found.mix()[1]
    (0.5, 1, {'s1': 0.5, 's2': 0.5})
    """
    seen = list(looks)
    pairs = Counter((look.before, look.after) for look in seen)
    cells = [
        Pair(before=a, after=b, customers=n) for (a, b), n in sorted(pairs.items(), key=lambda row: (-row[1], row[0]))
    ]
    return Comparison(
        customers=len(seen),
        moved=sum(look.before != look.after for look in seen),
        matrix=tuple(cells),
        log_distance_before=_mean_log([look.distance_before for look in seen]),
        log_distance_after=_mean_log([look.distance_after for look in seen]),
    )


def _mean_log(distances: list[float]) -> float:
    return math.fsum(math.log(max(d, 1e-9)) for d in distances) / len(distances) if distances else 0.0


def shadow_key(prefix: str, run_id: str) -> str:
    """The Redis hash of a run's looks: digest of the user id -> Look.

    >>> shadow_key("segstream:", "r-1")
    'segstream:shadow:r-1'
    """
    return f"{prefix}shadow:{run_id}"


def field(user_id: bytes) -> bytes:
    """What stands for a customer in the hash: her id itself is not kept there."""
    return hashlib.blake2b(user_id, digest_size=DIGEST).digest()


encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Look).decode


def read(client: redis.Redis, prefix: str, run_id: str) -> Comparison:
    """The comparison of a run as far as it has come. Errors of Redis pass through."""
    found: Any = client.hvals(shadow_key(prefix, run_id))
    return compare(_decode(data) for data in found)
