"""What comes in: Segment-spec JSON from any client, decoded into six kinds of event, or refused with a reason."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.money import MAX_MINOR, to_minor
from schemas.times import EPOCH, to_micros

MAX_ID: Final = 200
"""The longest user id or order id we accept, in characters."""
MAX_LINES: Final = 2000
"""The most product lines we accept in one order."""
MAX_TEXT: Final = 200
"""Longer brands, categories and traits are cut to this many characters."""
MOST_LABELS: Final = 10_000
"""Brands and categories that a process knows by heart."""
MAX_BYTES: Final = 1_000_000
"""The largest message we read, in bytes."""
EARLIEST: Final = 0
LATEST: Final = 4_102_444_800_000_000
"""Times from 1970 up to 2100 are accepted, in microseconds."""

DELETED: Final = "User Deleted"
TRAITS: Final = ("age", "gender", "country", "traffic_source")


class InvalidEvent(ValueError):
    """A message that cannot be used: goes to the dead letters, with this reason."""


class OrderCompleted(msgspec.Struct, frozen=True, gc=False):
    """A customer has ordered; the total is in minor units, `brands` and `categories` are those of the product lines, in order."""

    user_id: str
    order_id: str
    at: int
    total: int
    brands: tuple[str | None, ...]
    categories: tuple[str | None, ...]
    event_id: str
    replay: bool


class OrderCancelled(msgspec.Struct, frozen=True, gc=False):
    """An order will not be fulfilled."""

    user_id: str
    order_id: str
    at: int
    event_id: str
    replay: bool


class OrderRefunded(msgspec.Struct, frozen=True, gc=False):
    """An order was returned, in whole or in part."""

    user_id: str
    order_id: str
    refund_id: str
    at: int
    amount: int | None
    event_id: str
    replay: bool


class SignedUp(msgspec.Struct, frozen=True, gc=False):
    """Someone has become known to the shop."""

    user_id: str
    at: int
    traits: dict[str, str | int]
    event_id: str
    replay: bool


class Identified(msgspec.Struct, frozen=True, gc=False):
    """The shop has learnt something about a customer."""

    user_id: str
    at: int
    traits: dict[str, str | int]
    event_id: str
    replay: bool


class UserDeleted(msgspec.Struct, frozen=True, gc=False):
    """A customer is to be forgotten: see `schemas.erasure`."""

    user_id: str
    at: int
    until: int
    """What is produced before this moment is ignored, microseconds."""
    signature: str
    event_id: str
    replay: bool


Event = OrderCompleted | OrderCancelled | OrderRefunded | SignedUp | Identified
"""What is folded into a profile."""

_Amount = int | float | str | None
_Text = str | int | float | bool | None


class _Chosen(msgspec.Struct, gc=False):
    brand: _Text = None
    category: _Text = None


class _Priced(msgspec.Struct, gc=False):
    price: _Amount = None
    quantity: _Amount = None


class _Basket(msgspec.Struct, gc=False):
    products: list[_Priced] | None = None


class _Cost(msgspec.Struct, gc=False):
    """What is read only of an order that states no total."""

    properties: _Basket | None = None


class _Properties(msgspec.Struct, gc=False):
    order_id: str | int | None = None
    refund_id: str | int | None = None
    total: _Amount = None
    revenue: _Amount = None
    products: list[_Chosen] | None = None
    age: _Text = None
    gender: _Text = None
    country: _Text = None
    traffic_source: _Text = None
    until: datetime | None = None
    signature: str | None = None


class _Traits(msgspec.Struct, gc=False):
    age: _Text = None
    gender: _Text = None
    country: _Text = None
    traffic_source: _Text = None


class _Context(msgspec.Struct, gc=False):
    replay: bool | None = None
    traits: _Traits | None = None


class _Message(msgspec.Struct, gc=False):
    type: str
    timestamp: datetime
    userId: str | int | None = None
    event: str | None = None
    messageId: str | None = None
    properties: _Properties | None = None
    traits: _Traits | None = None
    context: _Context | None = None


_read = msgspec.json.Decoder(_Message).decode
_read_cost = msgspec.json.Decoder(_Cost).decode
_NO_PROPERTIES = _Properties()


def decode(key: bytes | None, value: bytes | None) -> Event | UserDeleted:
    """The event that a Kafka record of `orders` or `signups` carries.

    Total: any bytes give an event or raise InvalidEvent, nothing else. Unknown fields are ignored, amounts may be
    numbers or numeric strings, `products` may be missing.

    >>> decode(b"7", b'{"type":"track","event":"Order Cancelled","userId":7,"timestamp":"2026-01-01T00:00:00Z",'
    ...              b'"properties":{"order_id":12}}').order_id
    '12'
    """
    if not value:
        raise InvalidEvent("the message is empty; expected a Segment-spec JSON document")
    if len(value) > MAX_BYTES:
        raise InvalidEvent(f"the message has {len(value)} bytes; the most accepted are {MAX_BYTES}")
    try:
        message = _read(value)
    except RecursionError as error:
        raise InvalidEvent("the JSON is nested too deeply") from error
    except ValueError as error:  # msgspec.DecodeError, ValidationError, UnicodeDecodeError and overflowing dates
        raise InvalidEvent(str(error)) from error
    try:
        user_id = _identifier("userId", message.userId)
        if key is not None and key != user_id.encode():
            raise InvalidEvent(f"the record's key {key[:80]!r} is not the userId {user_id!r}; both must be the same")
        return _normalise(message, value, user_id, _moment(message.timestamp))
    except InvalidEvent:
        raise
    except (ValueError, OverflowError) as error:
        raise InvalidEvent(str(error)) from error


def _normalise(message: _Message, value: bytes, user_id: str, at: int) -> Event | UserDeleted:
    event_id = message.messageId or ""
    context = message.context
    replay = context is not None and context.replay is True
    properties = message.properties or _NO_PROPERTIES
    if message.type == "identify":
        return Identified(user_id, at, _traits(message.traits), event_id, replay)
    if message.type != "track":
        raise InvalidEvent(f"type {message.type[:80]!r} is not used here; expected 'track' or 'identify'")
    name = message.event
    if name == "Order Completed":
        products = properties.products or []
        if len(products) > MAX_LINES:
            raise InvalidEvent(f"products has {len(products)} lines; the most accepted are {MAX_LINES}")
        total = properties.total if properties.total is not None else properties.revenue
        minor = _cost(value) if total is None else _minor("total", total)
        labels = _LABELS
        brands, categories = [], []
        for line in products:
            brands.append(labels[line.brand])
            categories.append(labels[line.category])
        return OrderCompleted(
            user_id, _order_id(properties), at, minor, tuple(brands), tuple(categories), event_id, replay
        )
    if name == "Order Cancelled":
        return OrderCancelled(user_id, _order_id(properties), at, event_id, replay)
    if name == "Order Refunded":
        order_id = _order_id(properties)
        refund_id = order_id if properties.refund_id is None else _identifier("refund_id", properties.refund_id)
        amount = None if properties.total is None else _minor("total", properties.total)
        return OrderRefunded(user_id, order_id, refund_id, at, amount, event_id, replay)
    if name == "Signed Up":
        found = _traits(context.traits if context is not None else None)
        found.update(_traits(message.traits))
        found.update(_traits(properties))
        return SignedUp(user_id, at, found, event_id, replay)
    if name == DELETED:
        if properties.until is None or properties.signature is None:
            raise InvalidEvent(
                f"{DELETED} needs properties.until and properties.signature; `segstream users erase` makes both"
            )
        return UserDeleted(user_id, at, _moment(properties.until), properties.signature, event_id, replay)
    raise InvalidEvent(
        f"event {(name or '')[:80]!r} is not used here; expected 'Order Completed', 'Order Cancelled', "
        f"'Order Refunded', 'Signed Up' or {DELETED!r}"
    )


def _order_id(properties: _Properties) -> str:
    return _identifier("properties.order_id", properties.order_id)


def _identifier(field: str, value: str | int | None) -> str:
    if value is None:
        raise InvalidEvent(f"{field} is missing")
    text = value if type(value) is str else str(value)
    if not 0 < len(text) <= MAX_ID:
        raise InvalidEvent(f"{field} has {len(text)} characters; expected 1 to {MAX_ID}")
    if not text.isprintable():
        raise InvalidEvent(f"{field} {text[:80]!r} holds characters that cannot be printed")
    return text


def _moment(timestamp: datetime) -> int:
    at = to_micros(timestamp)
    if not EARLIEST <= at < LATEST:
        raise InvalidEvent(f"timestamp {timestamp.isoformat()} is outside {EPOCH.year} to 2100")
    return at


def _minor(field: str, value: int | float | str) -> int:
    try:
        return to_minor(float(value))
    except (ValueError, OverflowError) as error:
        raise InvalidEvent(f"{field}: {str(value)[:80]!r} is not an amount we can use ({str(error)[:120]})") from error


def _cost(value: bytes) -> int:
    """What the products of an order cost that states no total, minor units."""
    properties = _read_cost(value).properties
    products = properties.products if properties is not None else None
    minor = sum(
        (0 if product.price is None else _minor("products[].price", product.price))
        * (1 if product.quantity is None else _quantity(product.quantity))
        for product in products or ()
    )
    if not -MAX_MINOR <= minor <= MAX_MINOR:
        raise InvalidEvent(f"the products cost {minor // 100}, beyond the largest amount accepted, {MAX_MINOR // 100}")
    return minor


def _quantity(value: int | float | str) -> int:
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise InvalidEvent(f"products[].quantity {str(value)[:80]!r} is not a number") from error
    if not (number == int(number) if abs(number) < 1e9 else False):
        raise InvalidEvent(f"products[].quantity {str(value)[:80]!r} is not a whole number below 1e9")
    return int(number)


def _text(value: str | int | float | bool | None) -> str | None:
    """A label as text; empty and absent are the same: not known."""
    if value is None:
        return None
    text = value if type(value) is str else str(value)
    return text[:MAX_TEXT] or None


class _Labels(dict[_Text, str | None]):
    """What a message says -> the label it is, of which there is one object: a shop has few, and a customer's are compared with each of her lines."""

    def __missing__(self, value: _Text) -> str | None:
        label = _text(value)
        if type(value) is str and len(self) < MOST_LABELS and len(value) <= MAX_TEXT:
            self[value] = label
        return label


_LABELS: Final = _Labels({None: None})


def _traits(source: Any) -> dict[str, str | int]:
    """The known traits among a message's fields; what cannot be read counts as not known."""
    found: dict[str, str | int] = {}
    if source is None:
        return found
    for name in TRAITS:
        value = getattr(source, name)
        if value is None:
            continue
        if name == "age":
            age = _age(value)
            if age is not None:
                found[name] = age
        else:
            text = _text(value)
            if text is not None:
                found[name] = text
    return found


def _age(value: str | int | float | bool) -> int | None:
    try:
        age = int(float(value))
    except (ValueError, OverflowError):
        return None
    return age if 0 <= age <= 150 else None
