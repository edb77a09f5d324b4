"""What would move a customer: a search over things she can plausibly do, each tried by the model's own scoring.

An action is simulated one event after the other with the model's hysteresis, and told at the first event that moves her, so that what is
told is what the stream would do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from schemas.features import Facts, is_share, raw
from schemas.model import Model
from schemas.money import to_major, to_minor
from schemas.times import DAY

MOST_ORDERS: Final = 20
"""More orders are not looked at."""
MOST_DEAR: Final = 3
"""Orders of another value than her usual one; more of them would be another habit."""
VALUES: Final = (0.2, 10.0)
"""Values of an order that are tried, as multiples of her usual one."""
MOST_RETURNS: Final = 5
_TYPICAL: Final = 5_000
"""Value of an order where neither she nor the model knows any, minor units."""


class Action(NamedTuple):
    """Something a customer may do `count` times."""

    kind: Literal["orders", "returns"]
    count: int  # type: ignore[assignment]  # in place of a tuple's own
    value: int = 0
    """Of each order, minor units."""
    fresh: bool = False
    """Whether each order also holds something from a category that is new to her."""


class WayBack(NamedTuple):
    """The segment to which the hysteresis holds the way back, and for how many further events."""

    segment: str | None = None
    events: int = 0


FREE: Final = WayBack()
"""No way is held."""


class Change(NamedTuple):
    """An action and the segment it leads to."""

    action: Action
    segment: str


def recovered(features: Mapping[str, Any], model: Model) -> Facts:
    """Facts that give these features (raw units). Raises ValueError where a feature of the distance cannot be had from them.

    >>> from schemas.features import BEHAVIOUR
    >>> recovered({"orders": 4.0, "gross_spend": 12.3, "return_rate": 0.25}, _Spec(BEHAVIOUR, ())).returned_orders
    1
    """
    placed = features.get("placed_orders")
    orders = int(features.get("orders") or placed or 0)
    age, recency = features.get("age"), features.get("recency")
    found = Facts(
        placed_orders=orders if placed is None else int(placed),
        orders=orders,
        items=int(features.get("items") or 0),
        spend=to_minor(features.get("gross_spend") or 0.0),
        categories=int(features.get("categories") or 0),
        returned_orders=round((features.get("return_rate") or 0.0) * orders),
        age=None if age is None else int(age),
        **{name: features.get(name) for name in ("gender", "country", "traffic_source", "brand", "category")},
        last_order_at=None if recency is None else 0,
        today=int(recency or 0),
        shares={name: share for name, share in features.items() if is_share(name) and share},
    )
    again = raw(model.feature_names, found)
    for column in model.spec.columns:
        if again.get(column.feature) != features.get(column.feature) and column.feature in model.feature_names:
            raise ValueError(f"her {column.feature} cannot be followed through further orders")
    return found


class _Spec(NamedTuple):
    """As much of a model as `recovered` looks at."""

    spec: Any
    feature_names: tuple[str, ...]


def usual(known: Facts, model: Model) -> int:
    """The value of an order as she places them, minor units; of one who has none, what is typical of the model's customers."""
    if known.orders > 0 and known.spend > 0:
        return max(1, round(known.spend / known.orders))
    medians = sorted(
        (s.medians["average_order_value"], s.size) for s in model.segments if "average_order_value" in s.medians
    )
    half = sum(size for _, size in medians) / 2
    for median, size in medians:
        half -= size
        if half <= 0:
            return max(1, _rounded(to_minor(median)))
    return _TYPICAL


def after(known: Facts, action: Action) -> Facts:
    """The customer after doing it once; what she bought most stays so, because each order holds it too."""
    if action.kind == "returns":
        return msgspec.structs.replace(known, returned_orders=known.returned_orders + 1)
    return msgspec.structs.replace(
        known,
        placed_orders=known.placed_orders + 1,
        orders=known.orders + 1,
        items=known.items + (2 if action.fresh else 1),
        spend=known.spend + action.value,
        categories=known.categories + action.fresh,
        last_order_at=known.today * DAY,
    )


def changes(known: Facts, segment: str, model: Model, back: WayBack = FREE) -> list[Change]:
    """For each segment she can be moved to, the smallest change of each kind, the smallest of all first.

    Smallest means: the least additional spend, then the fewest orders, then no new category; returns come last. `segment` is the one she
    is in. Empty where nothing within the bounds moves her.
    """
    own = usual(known, model)
    smallest: dict[tuple[str, str, bool, bool], Change] = {}
    for action in _plausible(known, own, model):
        found = _first(known, segment, action, model, back)
        if found is None:
            continue
        kind = (found.segment, action.kind, action.value == own, action.fresh)
        if kind not in smallest or _effort(found.action) < _effort(smallest[kind].action):
            smallest[kind] = found
    ranked = sorted(smallest.values(), key=lambda change: _effort(change.action))
    return [change for i, change in enumerate(ranked) if not (change.action.fresh and _plain(change, ranked[:i]))]


def _plain(change: Change, smaller: list[Change]) -> bool:
    """Whether something smaller leads to the same segment without a new category."""
    return any(b.segment == change.segment and not b.action.fresh and b.action.kind == "orders" for b in smaller)


def _plausible(known: Facts, own: int, model: Model) -> Iterator[Action]:
    """What is tried; `count` is the most."""
    used = {column.feature for column in model.spec.columns}
    breadths = (False, True) if "categories" in used else (False,)
    for fresh in breadths:
        yield Action("orders", MOST_ORDERS, own, fresh)
        if used & {"gross_spend", "average_order_value"}:
            for value in _values(own):
                yield Action("orders", MOST_DEAR, value, fresh)
    if "return_rate" in used and known.orders > known.returned_orders:
        yield Action("returns", min(MOST_RETURNS, known.orders - known.returned_orders))


def _values(own: int) -> Iterator[int]:
    """Amounts people would say, of two digits, from a part to a multiple of the usual value, minor units."""
    low, high = (factor * own for factor in VALUES)
    step = 10 ** max(0, len(str(int(low))) - 2)
    value = int(low // step + 1) * step
    while value <= high:
        yield value
        step = 10 ** max(0, len(str(value)) - 2)
        value += step


def _rounded(minor: int) -> int:
    step = int(10 ** max(0, len(str(abs(minor))) - 2))
    return round(minor / step) * step


def _first(known: Facts, segment: str, action: Action, model: Model, back: WayBack) -> Change | None:
    """The action until it first moves her."""
    for count in range(1, action.count + 1):
        known = after(known, action)
        reached = model.decide(known, segment, back.segment if count <= back.events else None).segment
        if reached != segment:
            return Change(action._replace(count=count), reached)
    return None


def _effort(action: Action) -> tuple[bool, int, int, bool]:
    return (action.kind == "returns", action.count * action.value, action.count, action.fresh)


def words(action: Action, own: int, *, prospect: bool = False) -> str:
    """An action as one says it; `own` is her usual value, minor units.

    >>> words(Action("orders", 2, 4820), 4820), words(Action("orders", 1, 30_000, True), 4820)
    ('2 more orders of her usual value (48.20 each)', 'one order of 300, with something from a category new to her')
    >>> words(Action("returns", 1), 4820), words(Action("orders", 1, 5000), 5000, prospect=True)
    ('one of her orders coming back', 'a first order of 50')
    """
    if action.kind == "returns":
        return "one of her orders coming back" if action.count == 1 else f"{action.count} of her orders coming back"
    amount = _amount(action.value)
    if prospect:
        text = (
            f"a first order of {amount}" if action.count == 1 else f"her first {action.count} orders of {amount} each"
        )
    elif action.value == own:
        plain = action.count == 1
        text = (
            f"one more order of her usual value ({amount})"
            if plain
            else f"{action.count} more orders of her usual value ({amount} each)"
        )
    else:
        text = f"one order of {amount}" if action.count == 1 else f"{action.count} orders of {amount} each"
    if action.fresh:
        text += (
            ", with something from a category new to her"
            if action.count == 1
            else ", each with something from another category new to her"
        )
    return text


def _amount(minor: int) -> str:
    return f"{to_major(minor):,.0f}" if minor % 100 == 0 else f"{to_major(minor):,.2f}"


def bounds(own: int) -> str:
    """What was looked at, in words."""
    return (
        f"{MOST_ORDERS} more orders of {_amount(own)}, {MOST_DEAR} orders of {_amount(int(VALUES[0] * own))} to {_amount(int(VALUES[1] * own))}, "
        f"new categories and {MOST_RETURNS} returns"
    )
