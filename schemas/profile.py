"""What we remember of one customer: a function of the *set* of her events, whatever order or however often they came.

Every order is kept under its id, so that a duplicate changes nothing and a correction replaces. Where two messages about the
same order differ, the greater by (time, total, lines) counts, so that the order of arrival cannot matter. Traits are
registers in which the latest (time, value) wins. Sums and counts are derived and kept up to date, never stored.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from schemas.events import Event, OrderCancelled, OrderCompleted, OrderRefunded, SignedUp

PLACED: Final = 1
CANCELLED: Final = 2
RETURNED: Final = 4

Label = str | None
Choice = tuple[Label, Label]
"""Brand and category of one product line."""


class Order(msgspec.Struct, frozen=True, array_like=True):
    """What we keep of one order: when, how much (minor units), what was chosen, and what became of it."""

    flags: int
    at: int = 0
    total: int = 0
    lines: tuple[Choice, ...] = ()


class Effect(IntEnum):
    """What an event did to a profile."""

    NOTHING = 0
    ADDED = 1
    CORRECTED = 2


class Tally:
    """How often each label was chosen; `top` is the most frequent, a tie going to the one chosen last."""

    __slots__ = ("seen", "top")

    def __init__(self) -> None:
        self.seen: dict[Label, tuple[int, tuple[int, str, int]]] = {}
        self.top: Label = None

    def add(self, label: Label, place: tuple[int, str, int]) -> None:
        """Count one choice, made at `place`: order time, order id, line number."""
        seen = self.seen
        before = seen.get(label)
        now = (1, place) if before is None else (before[0] + 1, max(before[1], place))
        seen[label] = now
        top = seen.get(self.top)
        # Only this label's standing has risen, so the top is either what it was or this one.
        if top is None or now > top:
            self.top = label

    @property
    def distinct(self) -> int:
        """How many different known labels were chosen."""
        return len(self.seen) - (None in self.seen)


class Profile:
    """One customer's memory: when she signed up, her traits, her orders, and what follows from these.

    `update` changes a profile in place: whoever folds events into a profile owns it.
    """

    __slots__ = (
        "brands",
        "categories",
        "event_time",
        "items",
        "orders",
        "placed",
        "returns",
        "sales",
        "signed_up_at",
        "spend",
        "traits",
    )

    def __init__(
        self,
        signed_up_at: int | None = None,
        event_time: int = 0,
        traits: dict[str, tuple[int, str | int]] | None = None,
        orders: dict[str, Order] | None = None,
    ) -> None:
        self.signed_up_at = signed_up_at
        self.event_time = event_time
        """The time of the latest event, microseconds."""
        self.traits: dict[str, tuple[int, str | int]] = {} if traits is None else traits
        self.orders: dict[str, Order] = {} if orders is None else orders
        self.rebuild()

    def rebuild(self) -> None:
        """Derive sums and counts anew from what is kept."""
        self.placed = 0
        """Orders placed, cancelled ones too."""
        self.sales = 0
        """Orders placed and not cancelled."""
        self.spend = 0
        """Sum of the totals of the sales, minor units."""
        self.returns = 0
        """Orders refunded, in whole or part, and not cancelled."""
        self.items = 0
        """Product lines of all orders placed."""
        self.brands = Tally()
        self.categories = Tally()
        for order_id, order in self.orders.items():
            self._count(order_id, order)

    def _count(self, order_id: str, order: Order) -> None:
        flags = order.flags
        if flags & PLACED:
            self.placed += 1
            self._choose(order_id, order)
            if not flags & CANCELLED:
                self.sales += 1
                self.spend += order.total
        if flags & (RETURNED | CANCELLED) == RETURNED:
            self.returns += 1

    def _choose(self, order_id: str, order: Order) -> None:
        at = order.at
        self.items += len(order.lines)
        for number, (brand, category) in enumerate(order.lines):
            place = (at, order_id, number)
            self.brands.add(brand, place)
            self.categories.add(category, place)

    def trait(self, name: str) -> str | int | None:
        """The latest known value of a trait."""
        known = self.traits.get(name)
        return None if known is None else known[1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and _kept(self) == _kept(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Profile(signed_up_at={self.signed_up_at}, traits={self.traits}, orders={self.orders})"


def _kept(profile: Profile) -> tuple[object, ...]:
    return (profile.signed_up_at, profile.event_time, profile.traits, profile.orders)


def update(profile: Profile, event: Event) -> Effect:
    """Fold one event into the profile (in place) and say what it did.

    >>> from schemas.events import decode
    >>> profile = Profile()
    >>> order = decode(None, b'{"type":"track","event":"Order Completed","userId":1,"timestamp":"2026-01-01T00:00:00Z",'
    ...                      b'"properties":{"order_id":12,"total":"9.99"}}')
    >>> update(profile, order).name, update(profile, order).name, profile.spend
    ('ADDED', 'NOTHING', 999)
    """
    kind = event.__class__
    if event.at > profile.event_time:
        profile.event_time = event.at
    if kind is OrderCompleted:
        return _completed(profile, event)  # type: ignore[arg-type]
    if kind is OrderCancelled:
        return _flagged(profile, event.order_id, CANCELLED)  # type: ignore[union-attr]
    if kind is OrderRefunded:
        return _flagged(profile, event.order_id, RETURNED)  # type: ignore[union-attr]
    effect = Effect.NOTHING
    if kind is SignedUp and (profile.signed_up_at is None or event.at < profile.signed_up_at):
        profile.signed_up_at = event.at
        effect = Effect.ADDED
    for name, value in event.traits.items():  # type: ignore[union-attr]
        known = profile.traits.get(name)
        if known is None or (event.at, value) > known:
            profile.traits[name] = (event.at, value)
            effect = Effect.ADDED
    return effect


def _completed(profile: Profile, event: OrderCompleted) -> Effect:
    order_id = event.order_id
    known = profile.orders.get(order_id)
    lines = tuple((line.brand, line.category) for line in event.lines)
    if known is None:
        order = Order(PLACED, event.at, event.total, lines)
        profile.orders[order_id] = order
        profile._count(order_id, order)
        return Effect.ADDED
    if known.flags & PLACED:
        if _rank(event.at, event.total, lines) <= _rank(known.at, known.total, known.lines):
            return Effect.NOTHING
        profile.orders[order_id] = Order(known.flags, event.at, event.total, lines)
        profile.rebuild()
        return Effect.CORRECTED
    order = Order(known.flags | PLACED, event.at, event.total, lines)
    profile.orders[order_id] = order
    profile.placed += 1
    profile._choose(order_id, order)
    if not order.flags & CANCELLED:
        profile.sales += 1
        profile.spend += order.total
    return Effect.ADDED


def _flagged(profile: Profile, order_id: str, flag: int) -> Effect:
    known = profile.orders.get(order_id)
    if known is None:
        order = Order(flag)
        profile.orders[order_id] = order
        profile._count(order_id, order)
        return Effect.ADDED
    if known.flags & flag:
        return Effect.NOTHING
    order = Order(known.flags | flag, known.at, known.total, known.lines)
    profile.orders[order_id] = order
    if flag == CANCELLED:
        if known.flags & PLACED:
            profile.sales -= 1
            profile.spend -= known.total
        if known.flags & RETURNED:
            profile.returns -= 1
    elif not known.flags & CANCELLED:
        profile.returns += 1
    return Effect.ADDED


def _rank(at: int, total: int, lines: tuple[Choice, ...]) -> tuple[int, int, list[tuple[bool, str, bool, str]]]:
    """An order on messages about the same order; 'not known' comes before every label."""
    return (
        at,
        total,
        [(brand is not None, brand or "", category is not None, category or "") for brand, category in lines],
    )
