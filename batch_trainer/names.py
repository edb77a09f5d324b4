"""Names for segments that a marketer would use, made by rules from what sets a segment apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

DISTINCT: Final = 0.35
"""How far (in standard deviations of all customers) a segment's mean must be from theirs to be worth a word."""
VERY: Final = 1.75
"""How far it must be to be worth a stronger word."""
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
_NOUNS: Final = {
    "orders": "ordering",
    "placed_orders": "ordering",
    "items": "items",
    "gross_spend": "spending",
    "average_order_value": "per order",
    "categories": "variety",
    "return_rate": "returning",
}
_ONLY_ONE: Final = {"orders": "one-time", "placed_orders": "one-time", "categories": "single-category"}
"""The word for a low feature whose median is one."""
_ORDER: Final = [
    words[feature]
    for feature in (
        "age",
        "orders",
        "placed_orders",
        "items",
        "gross_spend",
        "average_order_value",
        "categories",
        "return_rate",
    )
    for words in (_ONLY_ONE, _LOW, _HIGH)
    if feature in words
]
"""In which words stand beside each other, so that two names cannot differ by their order alone."""


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
    ('Frequent very high-spending customers', 'One-time low-spending customers')
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
    candidates = _candidates(portrait)
    for name in candidates:
        if name not in used:
            return name
    number = 2
    while f"{candidates[0]} {number}" in used:
        number += 1
    return f"{candidates[0]} {number}"


def _candidates(portrait: Portrait) -> list[str]:
    """Names from the plainest to the most particular."""
    words, values = _words(portrait), _values(portrait)
    two = _title(words[:2])
    names = [f"{two}, {value}" for value in values[:1]] if len(words) < 2 else []
    names += [_title(words[:count]) for count in range(2, len(words) + 1)] or [two]
    names += [f"{two}, {more}" for more in [*values, *_comparisons(portrait)]]
    return names


def _words(portrait: Portrait) -> list[str]:
    """Adjectives, the most telling first."""
    found: list[str] = []
    for feature, z in _ranked(portrait):
        word = (_HIGH if z > 0 else _LOW).get(feature)
        if word is None or abs(z) < DISTINCT:
            continue
        only_one = z < 0 and portrait.medians.get(feature) == 1.0
        if only_one and feature in _ONLY_ONE:
            word = _ONLY_ONE[feature]
        elif z >= VERY:
            word = f"very {word}"
        if word not in found:
            found.append(word)
    return found[:4]


def _ranked(portrait: Portrait) -> list[tuple[str, float]]:
    return sorted(portrait.z.items(), key=lambda item: (-abs(item[1]), item[0]))


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
    return [f"{'more' if z > 0 else 'less'} {_NOUNS[f]}" for f, z in _ranked(portrait) if abs(z) > 0.05 and f in _NOUNS]


def _title(words: Sequence[str]) -> str:
    ordered = sorted(words, key=lambda word: _ORDER.index(word.removeprefix("very ")))
    text = " ".join([*ordered, "customers"]) if words else "average customers"
    return text[0].upper() + text[1:]
