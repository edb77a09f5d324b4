"""What we remember of one customer: a function of the *set* of her events, whatever order or however often they came.

The latest orders are kept under their ids, so that a duplicate changes nothing and a correction replaces. Where two messages about the
same order differ, the greater by (time, total, lines) counts, so that the order of arrival cannot matter. Traits are registers in which
the latest (time, value) wins.

A profile is bounded: beyond the `KEPT` orders that were heard of last, older ones are settled into sums. An order is settled by the last
time anything was heard of it, so that whatever comes later than the horizon is news, and only what lies before it can no longer be told
from a repetition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from schemas import lines, orders
from schemas.events import TRAITS, Event, OrderCancelled, OrderCompleted, OrderRefunded, SignedUp
from schemas.lines import SOUGHT, Labels
from schemas.orders import CANCELLED, PLACED, RETURNED, Order

KEPT: Final = 200
"""Orders of a customer that are remembered one by one."""
SLACK: Final = 50
"""Further orders before the oldest are settled, all at once."""

Place = tuple[int, str, int]
"""Order time, order id, line: which of two choices was made later."""
Tally = dict[str | None, tuple[int, Place]]
"""Label -> how often and when last it was chosen."""
Chosen = tuple[str | None, str | None, int]
"""One kind of product line: brand, category, how often."""


class Effect(IntEnum):
    """What an event did to a profile."""

    NOTHING = 0
    ADDED = 1
    CORRECTED = 2
    TOO_LATE = 3
    """Nothing: it concerns an order older than those remembered, which may have been counted or not."""


class Settled(msgspec.Struct, array_like=True, gc=False):
    """The orders no longer kept one by one: where they end, their sums, and how often and when last each label was chosen."""

    at: int = 0
    order_id: str = ""
    placed_orders: int = 0
    orders: int = 0
    items: int = 0
    spend: int = 0
    returned_orders: int = 0
    brands: Tally = {}
    categories: Tally = {}
    last_order_at: int | None = None

    def covers(self, at: int, order_id: str) -> bool:
        """Whether something heard at this time about an order not kept may have been counted."""
        return (at, order_id) <= (self.at, self.order_id)


class Profile(msgspec.Struct, array_like=True, gc=False, eq=False):
    """One customer's memory: when she signed up, her traits, her orders, and the sums and counts that follow from these.

    `update` changes a profile in place: whoever folds events into a profile owns it. It has the attributes of
    `schemas.features.Facts`, so that every formula can read it.
    """

    signed_up_at: int | None = None
    event_time: int = 0
    """The time of the latest event, microseconds."""
    traits: dict[int, tuple[int, str | int]] = {}
    """Number of the trait (in `events.TRAITS`) -> time and value."""
    placed_orders: int = 0
    """Orders placed, cancelled ones too."""
    orders: int = 0
    """Orders placed and not cancelled."""
    items: int = 0
    """Product lines of all orders placed."""
    spend: int = 0
    """Sum of the totals of the orders not cancelled, minor units."""
    returned_orders: int = 0
    """Orders refunded, in whole or part, and not cancelled."""
    brand_labels: Labels = msgspec.field(default_factory=Labels)
    """The brands of the orders placed."""
    category_labels: Labels = msgspec.field(default_factory=Labels)
    """The categories of the orders placed."""
    kept: int = 0
    """How many orders are remembered one by one."""
    pack: bytes = b""
    """These orders: see `schemas.orders`."""
    settled: Settled | None = None
    last_order_at: int | None = None
    """When the latest of the orders not cancelled was placed, microseconds."""
    today: int = 0
    """The day as of which she was last decided, where that matters: no event's doing, and no part of what makes two profiles equal."""

    @property
    def categories(self) -> int:
        """How many different known categories were chosen."""
        return len(self.category_labels.known)

    @property
    def age(self) -> int | None:
        """The latest known age."""
        return self._trait(0)  # type: ignore[return-value]

    @property
    def gender(self) -> str | None:
        """The latest known gender."""
        return self._trait(1)  # type: ignore[return-value]

    @property
    def country(self) -> str | None:
        """The latest known country."""
        return self._trait(2)  # type: ignore[return-value]

    @property
    def traffic_source(self) -> str | None:
        """The latest known traffic source."""
        return self._trait(3)  # type: ignore[return-value]

    def share(self, feature: str) -> float | None:
        """The share of her product lines that have a label, by the feature's name; None where she has none."""
        kind, _, label = feature.partition(":")
        labels = self.brand_labels if kind == "brand_share" else self.category_labels
        return labels.count(label) / self.items if self.items else None

    def _trait(self, number: int) -> str | int | None:
        known = self.traits.get(number)
        return None if known is None else known[1]

    @property
    def brand(self) -> str | None:
        """The most frequent brand; a tie goes to the one chosen last."""
        return self._favourite(self.brand_labels, 0, self.settled.brands if self.settled else {})

    @property
    def category(self) -> str | None:
        """The most frequent category; a tie goes to the one chosen last."""
        return self._favourite(self.category_labels, 1, self.settled.categories if self.settled else {})

    def _favourite(self, labels: Labels, part: int, settled: Tally) -> str | None:
        if labels.favourite != SOUGHT:
            return labels.name(labels.favourite)
        tied = labels.leaders()
        if len(tied) == 1:
            return labels.name(tied[0])
        names = labels.names()
        candidates = {names[place] for place in tied}
        last = {label: place for label, (_, place) in settled.items() if label in candidates}
        for order_id, order in self.remembered().items():
            if order.flags & PLACED:
                for number, code in enumerate(order.codes):
                    label, place = names[lines.decode(code)[part]], (order.at, order_id, number)
                    if label in candidates and (label not in last or place > last[label]):
                        last[label] = place
        return max(last, key=last.__getitem__)

    def remembered(self) -> dict[str, Order]:
        """The orders that are kept one by one."""
        return orders.unpack(self.kept, self.pack)

    def lines_of(self, order: Order) -> list[Chosen]:
        """The different product lines of a kept order, by their last occurrence."""
        brands, categories = self.brand_labels.names(), self.category_labels.names()
        return [(brands[line.brand], categories[line.category], line.times) for line in map(lines.decode, order.codes)]

    def keep(self, kept: dict[str, Order]) -> None:
        """Remember exactly these orders one by one; the sums stay as they are."""
        self.kept, self.pack = len(kept), orders.packed(kept)

    def rebuild(self) -> None:
        """Derive sums, counts and labels anew from what is kept and settled."""
        kept = [(order_id, order, self.lines_of(order)) for order_id, order in self.remembered().items()]
        sums = self.settled or Settled()
        self.placed_orders, self.orders, self.items = sums.placed_orders, sums.orders, sums.items
        self.spend, self.returned_orders = sums.spend, sums.returned_orders
        self.last_order_at = self._last(order for _, order, _ in kept)
        self.brand_labels, self.category_labels = _settled_labels(sums.brands), _settled_labels(sums.categories)
        again = {}
        for order_id, order, chosen in kept:
            if order.flags & PLACED:
                codes = _codes(
                    self,
                    [c[0] for c in chosen for _ in range(c[2])],
                    [c[1] for c in chosen for _ in range(c[2])],
                    False,
                )
                order = order._replace(codes=codes)
                self.placed_orders += 1
                self.items += sum(times for *_, times in chosen)
                if not order.flags & CANCELLED:
                    self.orders += 1
                    self.spend += order.total
            if order.flags & (RETURNED | CANCELLED) == RETURNED:
                self.returned_orders += 1
            again[order_id] = order
        self.keep(again)

    def _last(self, kept: Iterable[Order]) -> int | None:
        found = [order.at for order in kept if order.flags & (PLACED | CANCELLED) == PLACED]
        if self.settled is not None and self.settled.last_order_at is not None:
            found.append(self.settled.last_order_at)
        return max(found, default=None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and _content(self) == _content(other)

    def __ne__(self, other: object) -> bool:
        return not self == other  # a Struct's own does not follow __eq__

    __hash__ = None  # type: ignore[assignment]


def _content(profile: Profile) -> tuple[object, ...]:
    """A profile without the places of its labels and orders, which depend on the order of arrival."""
    kept = {order_id: (order[:4], profile.lines_of(order)) for order_id, order in profile.remembered().items()}
    sums = (profile.placed_orders, profile.orders, profile.items, profile.spend, profile.returned_orders)
    last = profile.last_order_at
    labels = [dict(zip(x.names(), x.counts, strict=True)) for x in (profile.brand_labels, profile.category_labels)]
    return (profile.signed_up_at, profile.event_time, profile.traits, labels, kept, sums, last, profile.settled)


def _settled_labels(tally: Tally) -> Labels:
    labels = Labels()
    for place, (times, _) in zip(labels.choose(tally, False), tally.values(), strict=True):
        labels.counts[place] = times
    return labels


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
    newest = event.at > profile.event_time
    if newest:
        profile.event_time = event.at
    if kind is OrderCompleted:
        return _completed(profile, event, newest)  # type: ignore[arg-type]
    if kind is OrderCancelled:
        return _flagged(profile, event.order_id, CANCELLED, event.at)  # type: ignore[union-attr]
    if kind is OrderRefunded:
        return _flagged(profile, event.order_id, RETURNED, event.at)  # type: ignore[union-attr]
    effect = Effect.NOTHING
    if kind is SignedUp and (profile.signed_up_at is None or event.at < profile.signed_up_at):
        profile.signed_up_at = event.at
        effect = Effect.ADDED
    for number, name in enumerate(TRAITS):
        value = event.traits.get(name)  # type: ignore[union-attr]
        if value is not None and (number not in profile.traits or (event.at, value) > profile.traits[number]):
            profile.traits[number] = (event.at, value)
            effect = Effect.ADDED
    return effect


def _completed(profile: Profile, event: OrderCompleted, newest: bool) -> Effect:
    order_id, at = event.order_id, event.at
    key = orders.key(order_id)
    if key in profile.pack:
        kept = profile.remembered()
        known = kept.get(order_id)
        if known is not None:
            return _again(profile, kept, known, event, newest)
    settled = profile.settled
    if settled is not None and settled.covers(at, order_id):
        return Effect.TOO_LATE
    codes = _codes(profile, event.brands, event.categories, newest)
    profile.pack = b"".join((profile.pack, key, orders.entry(PLACED, at, event.total, 0, codes)))
    profile.kept += 1
    _placed(profile, event, 0)
    if profile.kept > KEPT + SLACK:
        _settle(profile)
    return Effect.ADDED


def _again(profile: Profile, kept: dict[str, Order], known: Order, event: OrderCompleted, newest: bool) -> Effect:
    """An order that was heard of before: not placed yet, the same, or corrected."""
    at, total = event.at, event.total
    corrects = bool(known.flags & PLACED)
    if corrects and _rank(at, total, _chosen(event)) <= _rank(known.at, known.total, profile.lines_of(known)):
        return Effect.NOTHING
    codes = _codes(profile, event.brands, event.categories, newest)
    kept[event.order_id] = Order(known.flags | PLACED, at, total, max(0, known.heard_at - at), codes)
    profile.keep(kept)
    if corrects:
        profile.rebuild()
        return Effect.CORRECTED
    _placed(profile, event, known.flags)
    return Effect.ADDED


def _placed(profile: Profile, event: OrderCompleted, flags: int) -> None:
    """Count an order that is placed; `flags` are what was heard of it before."""
    profile.placed_orders += 1
    profile.items += len(event.brands)
    if not flags & CANCELLED:
        profile.orders += 1
        profile.spend += event.total
        if profile.last_order_at is None or event.at > profile.last_order_at:
            profile.last_order_at = event.at


def _flagged(profile: Profile, order_id: str, flag: int, at: int) -> Effect:
    kept = profile.remembered()
    known = kept.get(order_id)
    if known is None:
        settled = profile.settled
        # What a forgotten order was worth is not known any more, so that it cannot be taken back.
        if settled is not None and (flag == CANCELLED or settled.covers(at, order_id)):
            return Effect.TOO_LATE
        known = Order(0, at)
    if known.flags & PLACED:
        order = known._replace(flags=known.flags | flag, later=max(known.later, at - known.at))
    else:
        order = known._replace(flags=known.flags | flag, at=max(known.at, at))
    if order == known:
        return Effect.NOTHING
    kept[order_id] = order
    profile.keep(kept)
    if known.flags & flag:
        return Effect.NOTHING
    if flag == CANCELLED:
        if known.flags & PLACED:
            profile.orders -= 1
            profile.spend -= known.total
            if known.at == profile.last_order_at:
                profile.last_order_at = profile._last(kept.values())
        if known.flags & RETURNED:
            profile.returned_orders -= 1
    elif not known.flags & CANCELLED:
        profile.returned_orders += 1
    if profile.kept > KEPT + SLACK:
        _settle(profile)
    return Effect.ADDED


def _codes(profile: Profile, brands: Sequence[str | None], categories: Sequence[str | None], newest: bool) -> list[int]:
    """Product lines as numbers, their labels counted."""
    return lines.codes(profile.brand_labels.choose(brands, newest), profile.category_labels.choose(categories, newest))


def _chosen(event: OrderCompleted) -> list[Chosen]:
    """The different product lines of an order, by their last occurrence, as `Profile.lines_of` gives them."""
    times = lines.counted(zip(event.brands, event.categories, strict=True))
    return [(brand, category, n) for (brand, category), n in times.items()]


def _rank(at: int, total: int, chosen: list[Chosen]) -> tuple[object, ...]:
    """An order on messages about the same order; 'not known' comes before every label."""
    ranked = [
        (brand is not None, brand or "", category is not None, category or "", times)
        for brand, category, times in chosen
    ]
    return (at, total, ranked)


def _settle(profile: Profile) -> None:
    """Turn the orders that were heard of longest ago into sums."""
    kept = profile.remembered()
    settled = profile.settled or Settled()
    by_age = sorted((order.heard_at, order_id) for order_id, order in kept.items())
    for heard_at, order_id in by_age[:-KEPT]:
        order = kept.pop(order_id)
        settled.at, settled.order_id = heard_at, order_id
        if order.flags & (RETURNED | CANCELLED) == RETURNED:
            settled.returned_orders += 1
        if not order.flags & PLACED:
            continue
        settled.placed_orders += 1
        if not order.flags & CANCELLED:
            settled.orders += 1
            settled.spend += order.total
            if settled.last_order_at is None or order.at > settled.last_order_at:
                settled.last_order_at = order.at
        for number, (brand, category, times) in enumerate(profile.lines_of(order)):
            settled.items += times
            place = (order.at, order_id, number)
            for tally, label in ((settled.brands, brand), (settled.categories, category)):
                before, last = tally.get(label, (0, place))
                tally[label] = (before + times, max(last, place))
    profile.settled = settled
    profile.keep(kept)
