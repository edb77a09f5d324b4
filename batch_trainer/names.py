"""Names for segments that a marketer would use, made by rules from what sets a segment apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

DISTINCT: Final = 0.35
"""How far (in standard deviations of all customers) a segment's mean must be from theirs to be worth a word."""
LIFT: Final = 1.5
SHARE: Final = 0.3
"""A value names a segment where it is this much more frequent than overall and has at least this share."""

_HIGH: Final = {
    "orders": "frequent",
    "placed_orders": "frequent",
    "items": "many-item",
    "gross_spend": "high-spending",
    "average_order_value": "big-basket",
    "categories": "varied",
    "return_rate": "often-returning",
    "age": "older",
}
_LOW: Final = {
    "orders": "occasional",
    "placed_orders": "occasional",
    "items": "few-item",
    "gross_spend": "low-spending",
    "average_order_value": "small-basket",
    "categories": "focused",
    "age": "younger",
}
_ORDERS: Final = ("orders", "placed_orders")


class Portrait(msgspec.Struct, frozen=True, kw_only=True):
    """What a name is made from."""

    medians: Mapping[str, float]
    """Raw units."""
    z: Mapping[str, float]
    """Mean of each numeric feature against all customers', in standard deviations, transformed units."""
    top: Mapping[str, tuple[str, float, float]]
    """The most over-represented value of each category: value, share in the segment, share overall."""


def name_segments(
    portraits: Sequence[Portrait], kept: Sequence[str | None] = (), taken: Iterable[str] = ()
) -> tuple[str, ...]:
    """One name per segment, all different; a name that is `kept` stays as it is, and none of `taken` is used for another.

    >>> loyal = Portrait(medians={"orders": 9.0}, z={"orders": 1.5, "gross_spend": 2.0}, top={})
    >>> once = Portrait(medians={"orders": 1.0}, z={"orders": -0.8, "gross_spend": -0.9}, top={})
    >>> name_segments([loyal, once])
    ('High-spending frequent customers', 'One-time low-spending customers')
    """
    held = list(kept) or [None] * len(portraits)
    used = {name for name in held if name is not None} | set(taken)
    names = []
    for portrait, old in zip(portraits, held, strict=True):
        name = old if old is not None else _unique(portrait, used)
        used.add(name)
        names.append(name)
    return tuple(names)


def _unique(portrait: Portrait, used: set[str]) -> str:
    words = _words(portrait)
    values = _values(portrait)
    for count in range(min(2, len(words)), len(words) + 1):
        if count and (name := _title(words[:count])) not in used:
            return name
    plain = _title(words[:2])
    for value in [*values, *_comparisons(portrait)]:
        if (name := f"{plain}, {value}") not in used:
            return name
    number = 2
    while plain in used:
        plain = f"{_title(words[:2])} {number}"
        number += 1
    return plain


def _words(portrait: Portrait) -> list[str]:
    """Adjectives, the most telling first; at most one for how often she orders."""
    found = []
    for feature, z in sorted(portrait.z.items(), key=lambda item: (-abs(item[1]), item[0])):
        word = _HIGH.get(feature) if z > 0 else _LOW.get(feature)
        if word is None or abs(z) < DISTINCT:
            continue
        if feature in _ORDERS and z < 0 and portrait.medians.get(feature) == 1.0:
            word = "one-time"
        if word not in found:
            found.append(word)
    if "one-time" in found:  # reads best first: "one-time small-basket customers"
        found.remove("one-time")
        found.insert(0, "one-time")
    return found[:4]


def _values(portrait: Portrait) -> list[str]:
    lifted = [
        (share / overall, feature, value)
        for feature, (value, share, overall) in portrait.top.items()
        if overall > 0 and share >= SHARE and share / overall >= LIFT
    ]
    return [f"mostly {_readable(feature, value)}" for _, feature, value in sorted(lifted, key=lambda t: (-t[0], t[1]))]


def _readable(feature: str, value: str) -> str:
    plain = {"F": "women", "Female": "women", "M": "men", "Male": "men"}
    return plain.get(value, value) if feature == "gender" else value


def _comparisons(portrait: Portrait) -> list[str]:
    ordered = sorted(portrait.z.items(), key=lambda item: (-abs(item[1]), item[0]))
    return [f"{'more' if z > 0 else 'less'} {feature.replace('_', ' ')}" for feature, z in ordered if abs(z) > 0.05]


def _title(words: Sequence[str]) -> str:
    text = " ".join([*words, "customers"]) if words else "average customers"
    return text[0].upper() + text[1:]
