"""A shop's orders as a real client would send them, drawn from one seed: a longer stream begins with the shorter one."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from aiokafka.partitioner import murmur2

SEED: Final = 20261124
DUPLICATES: Final = 0.005
"""Share of messages that a client sends a second time."""
REFUNDS: Final = 0.02
"""Share of events that give back a customer's latest order."""
_BLOCK: Final = 4096
_RECENT: Final = 256
_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PER_SECOND: Final = 5
_CATEGORIES: Final = (
    "Accessories", "Active", "Blazers", "Dresses", "Hoodies", "Jeans", "Jumpsuits", "Leggings", "Outerwear", "Pants",
    "Shorts", "Skirts", "Sleepwear", "Socks", "Suits", "Sweaters", "Swim", "Tops",
)  # fmt: skip
_BRANDS: Final = tuple(f"{a} {b}" for a in ("Harbour", "Linden", "Cobalt", "Meadow", "Ember", "Granite", "Willow", "Tide")
                       for b in ("Goods", "Thread", "House", "Supply"))  # fmt: skip
_TIERS: Final = 40
"""Products per category, from cheap to dear."""


class _Kind(NamedTuple):
    """A kind of customer: her share, how often she orders (relative), the price tiers and number of categories she buys."""

    share: float
    activity: float
    first_tier: int
    tiers: int
    breadth: int


_KINDS: Final = (
    _Kind(0.35, 0.5, 0, 14, 3),
    _Kind(0.25, 1.0, 5, 20, 6),
    _Kind(0.20, 2.0, 10, 22, 10),
    _Kind(0.12, 0.8, 24, 16, 4),
    _Kind(0.08, 3.0, 4, 34, 16),
)


class Message(NamedTuple):
    """Key and value of a Kafka record."""

    key: bytes
    value: bytes


class Shop:
    """Customers and catalogue. `rounds`: how often every customer orders once, in turn, before chance decides who comes."""

    def __init__(self, customers: int, *, rounds: int = 0, seed: int = SEED) -> None:
        self.customers = customers
        self.rounds = rounds
        self.seed = seed
        rng = np.random.default_rng([seed, 1_000_003])
        self._kind = rng.choice(len(_KINDS), customers, p=[kind.share for kind in _KINDS])
        weight = np.array([kind.activity for kind in _KINDS])[self._kind] * rng.gamma(2.0, 0.5, customers)
        self._reach = np.cumsum(weight) / weight.sum()
        self._home = rng.integers(0, len(_CATEGORIES), customers)
        self._stride = next(
            s for s in range(max(1, int(customers * 0.618)), 2 * customers) if math.gcd(s, customers) == 1
        )
        self._cents, self._product = _catalogue(rng)

    def messages(self, count: int, first: int = 0) -> Iterator[Message]:
        """`count` messages, from the one numbered `first` on."""
        last_order = array("q", [-1]) * self.customers
        last_total = array("q", [0]) * self.customers
        recent: deque[Message] = deque(maxlen=_RECENT)
        for number in range(0, first + count, _BLOCK):
            for at, made in enumerate(self._block(number, last_order, last_total, recent), number):
                if at >= first + count:
                    return
                if at >= first:
                    yield made

    def _block(
        self, number: int, last_order: array[int], last_total: array[int], recent: deque[Message]
    ) -> Iterator[Message]:
        rng = np.random.default_rng([self.seed, number])
        who = self._visitors(rng, number)
        kinds = np.array(_KINDS)[self._kind[who]]
        chance = rng.random((_BLOCK, 3, 2))
        category = (self._home[who][:, None] + (chance[:, :, 0] * kinds[:, 4:5])).astype(int) % len(_CATEGORIES)
        tier = (kinds[:, 2:3] + chance[:, :, 1] * kinds[:, 3:4]).astype(int)
        products = (category * _TIERS + tier).tolist()
        quantities = rng.choice(3, (_BLOCK, 3), p=[0.7, 0.22, 0.08]).tolist()
        events = rng.random(_BLOCK).tolist()
        repeats = rng.integers(0, _RECENT, _BLOCK).tolist()
        for i, customer in enumerate(who.tolist()):
            order = number + i
            chosen = events[i]
            if chosen < DUPLICATES and recent and order >= self.rounds * self.customers:
                yield recent[repeats[i] % len(recent)]
            elif chosen < DUPLICATES + REFUNDS and last_order[customer] >= 0:
                yield _refund(customer, order, last_order[customer], last_total[customer])
            else:
                total = 0
                lines = []
                for product, quantity in zip(products[i], quantities[i], strict=True):
                    total += self._cents[product] * (quantity + 1)
                    lines.append(f"{self._product[product]}{quantity + 1}}}")
                last_order[customer], last_total[customer] = order, total
                made = _order(customer, order, total, ",".join(lines))
                recent.append(made)
                yield made

    def _visitors(self, rng: np.random.Generator, number: int) -> np.ndarray:
        who = np.minimum(np.searchsorted(self._reach, rng.random(_BLOCK)), self.customers - 1)
        numbers = np.arange(number, number + _BLOCK)
        return np.where(numbers < self.rounds * self.customers, numbers * self._stride % self.customers, who)


def _catalogue(rng: np.random.Generator) -> tuple[list[int], list[str]]:
    """Price in cents of every product, and its JSON up to the quantity."""
    cents, text = [], []
    for category in _CATEGORIES:
        base = rng.uniform(6.0, 30.0)
        for tier in range(_TIERS):
            price = int(100 * base * 1.07**tier) + 99
            brand = _BRANDS[int(rng.integers(len(_BRANDS)))]
            cents.append(price)
            text.append(
                f'{{"product_id":"{len(cents):05}","brand":"{brand}","category":"{category}","price":{_money(price)},"quantity":'
            )
    return cents, text


def user_id(customer: int) -> str:
    """The id of a customer by number."""
    return f"u{customer:07}"


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _head(name: str, customer: int, number: int) -> str:
    moment = _BEGIN + timedelta(milliseconds=number * 1000 // _PER_SECOND)
    return (
        f'{{"type":"track","event":"{name}","messageId":"ajs-{number:012x}","userId":"{user_id(customer)}",'
        f'"timestamp":"{moment:%Y-%m-%dT%H:%M:%S}.{number * 1000 // _PER_SECOND % 1000:03}Z","properties":{{'
    )


def _order(customer: int, number: int, total: int, lines: str) -> Message:
    value = (
        f'{_head("Order Completed", customer, number)}"order_id":"o{number}","total":{_money(total)},"currency":"USD",'
        f'"products":[{lines}]}}}}'
    )
    return Message(user_id(customer).encode(), value.encode())


def _refund(customer: int, number: int, order: int, total: int) -> Message:
    value = (
        f'{_head("Order Refunded", customer, number)}"order_id":"o{order}","refund_id":"r{order}","total":{_money(total)},'
        '"currency":"USD"}}'
    )
    return Message(user_id(customer).encode(), value.encode())


class Log:
    """Where each message goes: Kafka's own partitioner, and offsets by counting, so that nobody has to ask the broker."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.ends = [0] * partitions
        """The next offset of each partition."""
        self._known: dict[bytes, int] = {}

    def partition(self, key: bytes) -> int:
        """The partition of a key."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (murmur2(key) & 0x7FFFFFFF) % self.partitions
        return found

    def append(self, key: bytes) -> tuple[int, int]:
        """Partition and offset of the next record with this key."""
        partition = self.partition(key)
        offset = self.ends[partition]
        self.ends[partition] = offset + 1
        return partition, offset


def new_customer(number: int) -> Message:
    """The first order of someone who is in no shop here: sure to change a segment."""
    made = _order(
        number, number, 4_200, '{"product_id":"1","brand":"New","category":"Tops","price":42.00,"quantity":1}'
    )
    name = f"n{number:07}".encode()
    return Message(name, made.value.replace(user_id(number).encode(), name))
