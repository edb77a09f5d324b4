"""Customers who wait to be written, by partition, each once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sized
from typing import Final

SHARDS: Final = 64
"""A partition's keys are in so many small dicts: one of some hundred thousand holds the event loop for 40 ms whenever it grows."""

Taken = list[tuple[int, bytes]]
"""Partitions and keys of customers."""


class Waiting:
    """Keys by partition; whoever comes twice waits once.

    >>> waiting = Waiting()
    >>> waiting.add(0, [b"a", b"b"])
    >>> waiting.add(1, [b"c", b"c"])
    >>> len(waiting), sorted(waiting.take(5)), len(waiting)
    (3, [(0, b'a'), (0, b'b'), (1, b'c')], 0)
    """

    def __init__(self) -> None:
        self._partitions: dict[int, _Keys] = {}

    def add(self, partition: int, keys: Iterable[bytes]) -> None:
        """These wait too."""
        waiting = self._partitions.get(partition)
        if waiting is None:
            waiting = self._partitions[partition] = _Keys()
        waiting.add(keys)

    def keep(self, partitions: Collection[int]) -> None:
        """Only those of these partitions wait any longer."""
        for partition in [p for p in self._partitions if p not in partitions]:
            del self._partitions[partition]

    def take(self, most: int) -> Taken:
        """At most so many, who wait no longer: an equal share of each partition."""
        shares = _shares(self._partitions, most)
        return [(partition, self._partitions[partition].pop()) for partition, share in shares for _ in range(share)]

    def __len__(self) -> int:
        return sum(map(len, self._partitions.values()))


class _Keys:
    """A set of keys in shards."""

    __slots__ = ("_at", "_count", "_shards")

    def __init__(self) -> None:
        self._shards: list[dict[bytes, None]] = [{} for _ in range(SHARDS)]
        self._count = 0
        self._at = 0
        """The shard that is emptied next."""

    def add(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            shard = self._shards[hash(key) % SHARDS]
            if key not in shard:
                shard[key] = None
                self._count += 1

    def pop(self) -> bytes:
        while not self._shards[self._at]:
            self._at = (self._at + 1) % SHARDS
        self._count -= 1
        return self._shards[self._at].popitem()[0]

    def __len__(self) -> int:
        return self._count


def _shares(waiting: Mapping[int, Sized], room: int) -> list[tuple[int, int]]:
    """How many of each partition's customers go next: equal shares, and what the small ones leave goes to the large ones.

    >>> _shares({0: "abcdefgh", 1: "a", 2: ""}, 6)
    [(2, 0), (1, 1), (0, 5)]
    """
    shares = []
    for left, partition in zip(range(len(waiting), 0, -1), sorted(waiting, key=lambda p: len(waiting[p])), strict=True):
        share = min(len(waiting[partition]), -(-room // left))
        room -= share
        shares.append((partition, share))
    return shares
