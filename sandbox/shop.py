"""An invented shop: months of history and then live traffic, all of it drawn from one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from sandbox.personas import PERSONAS, Persona, shifted

DAY: Final = 86_400_000_000
"""Microseconds of a day."""
CATEGORIES: Final = (
    "Accessories", "Blazers", "Dresses", "Hoodies", "Jeans", "Outerwear",
    "Shorts", "Skirts", "Sleepwear", "Socks", "Sweaters", "Tops",
)  # fmt: skip
BRANDS: Final = tuple(f"{first} {second}" for first in ("North", "Blue", "Stone", "River", "Fern", "Amber")
                      for second in ("& Co", "Works", "Mill", "Yard", "Line"))  # fmt: skip
COUNTRIES: Final = (("United States", 0.4), ("Germany", 0.2), ("Brasil", 0.15), ("France", 0.15), ("Japan", 0.1))
SOURCES: Final = (("Search", 0.6), ("Organic", 0.2), ("Facebook", 0.1), ("Email", 0.06), ("Display", 0.04))
_NEVER_BUYS: Final = 0.08
_JOINING: Final = 0.3
"""Customers of the history have joined in this first part of it, so that each has had time to show what kind she is."""
_OFTEN: Final = max(persona.orders for persona in PERSONAS)
_NEWCOMERS: Final = 0.04
"""Share of live happenings that are sign-ups."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the catalogue; price in cents."""

    id: int
    brand: str | None
    category: str
    price: int


@dataclass(frozen=True, slots=True)
class Traits:
    """What a customer says of herself when she signs up."""

    age: int
    gender: str
    country: str
    traffic_source: str


@dataclass(frozen=True, slots=True)
class Line:
    """One item of an order: price in cents as sold."""

    item_id: int
    product: Product
    price: int


@dataclass(frozen=True, slots=True)
class SignUp:
    """Someone joins."""

    at: int
    user_id: int
    traits: Traits


@dataclass(frozen=True, slots=True)
class Purchase:
    """Someone orders."""

    at: int
    user_id: int
    order_id: int
    lines: tuple[Line, ...]

    @property
    def total(self) -> int:
        """Cents."""
        return sum(line.price for line in self.lines)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """An order is called off."""

    at: int
    user_id: int
    order_id: int


@dataclass(frozen=True, slots=True)
class Refund:
    """An order comes back; cents."""

    at: int
    user_id: int
    order_id: int
    amount: int


Happening = SignUp | Purchase | Cancellation | Refund
_RANK: Final = {SignUp: 0, Purchase: 1, Cancellation: 2, Refund: 3}


class Shop:
    """The shop: the same seed and times give the same happenings. Times in microseconds."""

    def __init__(self, seed: int, customers: int, days: int, now: int) -> None:
        self._random = random.Random(seed)
        self._now = now
        self.catalogue = self._stock()
        self._personas: dict[int, Persona] = {}
        self._orders = 0
        self._items = 0
        self._after: list[Happening] = []
        """What will follow from live orders: cancellations and refunds."""
        self._shifted = False
        self.history = self._past(customers, days)
        bought = {happening.user_id for happening in self.history if isinstance(happening, Purchase)}
        self._buyers = sorted(bought)

    def _stock(self) -> tuple[Product, ...]:
        r = self._random
        return tuple(
            Product(
                id=number,
                brand=None if r.random() < 0.05 else r.choice(BRANDS),
                category=CATEGORIES[number % len(CATEGORIES)],
                price=r.randrange(800, 9000),
            )
            for number in range(1, 481)
        )

    def _past(self, customers: int, days: int) -> list[Happening]:
        happenings: list[Happening] = []
        r = self._random
        for user_id in range(1, customers + 1):
            joined = self._now - int(days * DAY * (1 - _JOINING * r.random()))
            persona = self._join(user_id)
            happenings.append(SignUp(joined, user_id, self._traits(persona)))
            if r.random() < _NEVER_BUYS:
                continue
            until = min(self._now, joined + int(persona.active_days * DAY))
            at = joined + r.randrange(3 * DAY)
            while at < until:
                happenings += [h for h in self._purchase(user_id, persona, at) if h.at < self._now]
                at += int(r.expovariate(persona.orders / (30 * DAY))) + 1
        happenings.sort(key=lambda h: (h.at, _RANK[type(h)], h.user_id))
        return happenings

    def _join(self, user_id: int) -> Persona:
        persona = self._random.choices(PERSONAS, [p.share for p in PERSONAS])[0]
        self._personas[user_id] = persona
        return persona

    def _traits(self, persona: Persona) -> Traits:
        r = self._random
        return Traits(
            age=r.randint(*persona.ages),
            gender="F" if r.random() < persona.women else "M",
            country=r.choices(*zip(*COUNTRIES, strict=True))[0],
            traffic_source=r.choices(*zip(*SOURCES, strict=True))[0],
        )

    def _purchase(self, user_id: int, persona: Persona, at: int) -> list[Happening]:
        r = self._random
        self._orders += 1
        order_id = self._orders
        shelf = [(user_id + step) % len(CATEGORIES) for step in range(persona.categories)]
        lines = []
        for _ in range(1 + min(20, int(r.expovariate(1.0) * (persona.basket - 1) + 0.5))):
            self._items += 1
            rows = len(self.catalogue) // len(CATEGORIES)
            product = self.catalogue[r.choice(shelf) + len(CATEGORIES) * r.randrange(rows)]
            lines.append(Line(self._items, product, max(100, int(product.price * persona.price * r.uniform(0.8, 1.2)))))
        purchase = Purchase(at, user_id, order_id, tuple(lines))
        fate = r.random()
        if fate < persona.cancelled:
            return [purchase, Cancellation(at + r.randrange(1, DAY // 24), user_id, order_id)]
        if fate < persona.cancelled + persona.returned:
            return [purchase, Refund(at + r.randrange(DAY, 14 * DAY), user_id, order_id, purchase.total)]
        return [purchase]

    def persona(self, user_id: int) -> Persona:
        """The kind of customer that she was made as: the truth, which no event tells."""
        return self._personas[user_id]

    def shift(self) -> None:
        """From now on the live customers behave differently: dearer, larger and more mixed baskets."""
        self._shifted = True

    def _next_buyer(self) -> int:
        """Each as likely as in the history: now and then even a lapsed one comes back, so that live orders are like those before."""
        r = self._random
        while True:
            user_id = r.choice(self._buyers)
            persona = self._personas[user_id]
            if r.random() * _OFTEN < persona.orders * min(1.0, persona.active_days / 300):
                return user_id

    def live(self, now: int) -> Happening:
        """What happens next, at time `now`: an order mostly, now and then a newcomer, a cancellation or a refund."""
        r = self._random
        if self._after and r.random() < 0.5:
            due = self._after.pop(0)
            if isinstance(due, Cancellation):
                return Cancellation(now, due.user_id, due.order_id)
            assert isinstance(due, Refund)
            return Refund(now, due.user_id, due.order_id, due.amount)
        if r.random() < _NEWCOMERS or not self._buyers:
            user_id = len(self._personas) + 1
            persona = self._join(user_id)
            self._buyers.append(user_id)
            return SignUp(now, user_id, self._traits(persona))
        user_id = self._next_buyer()
        persona = self._personas[user_id]
        purchase, *after = self._purchase(user_id, shifted(persona) if self._shifted else persona, now)
        self._after += after
        return purchase
