"""Names for segments that a marketer would use, made by rules from what sets a segment apart, and kept until someone gives a better one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from schemas.artifact import Artifact, declared
from schemas.features import POPULATIONS, UNKNOWN, is_share
from schemas.places import spoken

DISTINCT: Final = 0.35
"""How far (in standard deviations of all customers) a segment's mean must be from theirs to be worth a word."""
VERY: Final = 1.75
"""How far it must be to be worth a stronger word."""
LIFT: Final = 1.5
SHARE: Final = 0.3
"""A value names a segment where it is this much more frequent than overall and has at least this share."""
MOST: Final = 0.5
NEARLY_ALL: Final = 0.8
BOTH: Final = 0.9
"""Shares of a segment for which a value, a place, and a pair of places must stand to be its name."""
LONGEST: Final = 80
"""Characters of a name that is given by hand."""


class Word(msgspec.Struct, frozen=True):
    """What a feature that is far from everyone's makes of a name."""

    adjective: str
    noun: str = ""
    """Takes the place of `buyers`, if no feature before it does."""
    very: tuple[str, str] = ("", "")
    """Adjective and noun where it is very far."""
    once: str = ""
    """Adjective where the median is one."""


# In the order in which words stand beside each other, so that two names cannot differ by their order alone.
_HIGH: Final = {
    "recency": Word("lapsed", very=("long-gone", "")),
    "age": Word("older"),
    "orders": Word("frequent", very=("very frequent", "")),
    "placed_orders": Word("frequent", very=("very frequent", "")),
    "items": Word("many-item"),
    "categories": Word("wide-ranging"),
    "average_order_value": Word("big-basket"),
    "gross_spend": Word("high-spending", "big spenders", ("top-spending", "top spenders")),
    "return_rate": Word("habitual", "returners", ("serial", "returners")),
}
_LOW: Final = {
    "recency": Word("recent"),
    "age": Word("younger"),
    "orders": Word("occasional", once="one-time"),
    "placed_orders": Word("occasional", once="one-time"),
    "items": Word("few-item"),
    "categories": Word("focused", once="single-category"),
    "average_order_value": Word("small-basket"),
    "gross_spend": Word("low-spending", "low spenders"),
}
_NOUNS: Final = ("return_rate", "gross_spend")
"""Which feature gives the noun, the first that is among the words."""
_MORE: Final = {
    "recency": ("longer away", "seen lately"),
    "age": ("older", "younger"),
    "orders": ("more orders", "fewer orders"),
    "placed_orders": ("more orders", "fewer orders"),
    "items": ("more items", "fewer items"),
    "gross_spend": ("spending more", "spending less"),
    "average_order_value": ("dearer baskets", "cheaper baskets"),
    "categories": ("more variety", "less variety"),
    "return_rate": ("more returns", "fewer returns"),
}


class Portrait(msgspec.Struct, frozen=True, kw_only=True):
    """What a name is made from."""

    medians: Mapping[str, float]
    """Raw units."""
    z: Mapping[str, float]
    """Mean of each numeric feature against all customers', in standard deviations, transformed units."""
    top: Mapping[str, tuple[str, float, float]]
    """The most over-represented value of each category: value, share in the segment, share overall."""
    frequent: Mapping[str, tuple[tuple[str, float], ...]] | None = None
    """Where nothing but categories makes the distance: the most frequent values of each with their share. None elsewhere."""


def name_segments(
    portraits: Sequence[Portrait], kept: Sequence[str | None] = (), taken: Iterable[str] = ()
) -> tuple[str, ...]:
    """One name per segment, all different; a name that is `kept` stays as it is, and none of `taken` is used for another.

    >>> loyal = Portrait(medians={"orders": 9.0}, z={"orders": 1.5, "gross_spend": 1.6}, top={})
    >>> once = Portrait(medians={"orders": 1.0}, z={"orders": -0.8, "gross_spend": -0.2}, top={})
    >>> name_segments([loyal, once])
    ('Frequent big spenders', 'One-time buyers')
    """
    held = list(kept) or [None] * len(portraits)
    somewhere = any(_place(portrait.frequent) for portrait in portraits if portrait.frequent is not None)
    used = {name for name in held if name is not None} | set(taken)
    names = []
    for portrait, old in zip(portraits, held, strict=True):
        name = old if old is not None else _unique(portrait, used, somewhere)
        used.add(name)
        names.append(name)
    return tuple(names)


def telling(z: Mapping[str, float]) -> dict[str, float]:
    """The one or two features that a name is given for, the most telling first.

    >>> telling({"orders": 0.4, "gross_spend": 2.0, "categories": -0.6, "return_rate": 0.0})
    {'gross_spend': 2.0, 'categories': -0.6}
    """
    return dict([(feature, value) for feature, value in _ranked(z) if _word(feature, value)][:2])


def moved(named_for: Mapping[str, float], z: Mapping[str, float]) -> tuple[str, ...]:
    """The features for which a segment has its name and which no longer set it apart that way.

    >>> moved({"orders": 1.2, "gross_spend": -0.6}, {"orders": 1.0, "gross_spend": 0.5})
    ('gross_spend',)
    """
    return tuple(
        feature
        for feature, then in named_for.items()
        if z.get(feature, 0.0) * then <= 0.0 or abs(z[feature]) < DISTINCT / 2
    )


def renamed(artifact: Artifact, model_id: str, segment_id: str, name: str) -> Artifact:
    """The model with another name for one segment: the same parameters, descended from `model_id`.

    Raises ValueError where the segment isn't there or the name cannot be used.
    """
    ids = [segment.id for segment in artifact.segments]
    if segment_id not in ids:
        raise ValueError(f"model {model_id} has no segment {segment_id!r}; there are {', '.join(ids)}")
    name = " ".join(name.split())
    if not name or len(name) > LONGEST or not name.isprintable():
        raise ValueError(f"a name has 1 to {LONGEST} printable characters; {name[:LONGEST]!r} has {len(name)}")
    others = {POPULATIONS[artifact.spec.population].reserved.casefold(): "prospect"} | {
        segment.name.casefold(): segment.id for segment in artifact.segments if segment.id != segment_id
    }
    if name.casefold() in others:
        raise ValueError(f"segment {others[name.casefold()]} has the name {name!r} already; names must differ")
    segments = tuple(
        msgspec.structs.replace(segment, name=name, named_for=telling(segment.traits))
        if segment.id == segment_id
        else segment
        for segment in artifact.segments
    )
    return declared(msgspec.structs.replace(artifact, segments=segments, parent=model_id))


def _unique(portrait: Portrait, used: set[str], somewhere: bool) -> str:
    candidates = _candidates(portrait, somewhere)
    for name in candidates:
        if name not in used:
            return name
    number = 2
    while f"{candidates[0]} {number}" in used:
        number += 1
    return f"{candidates[0]} {number}"


def _candidates(portrait: Portrait, somewhere: bool) -> list[str]:
    """Names from the plainest to the most particular; `somewhere`: some segment of the model is named by its place."""
    values = _values(portrait)
    if portrait.frequent is not None:
        people = _people(portrait.frequent, somewhere)
        told = people.casefold()
        news = [text for name, text in values.items() if _readable(name, portrait.top[name][0]).casefold() not in told]
        return [people, *(f"{people}, {text}" for text in news)]
    features = [feature for feature, value in _ranked(portrait.z) if _word(feature, value)][:4]
    if any(map(is_share, portrait.z)):
        liked = list(filter(is_share, features))
        strong = [feature for feature in liked if portrait.z[feature] >= portrait.z[liked[0]] / 2][:2]
        plain = _lovers(strong)
        more = [_lovers(liked[:count]) for count in range(len(strong) + 1, len(liked) + 1)]
        return [plain, *more, *(f"{plain}, {value}" for value in values.values())]
    two = _title(portrait, features[:2])
    names = [f"{two}, {value}" for value in list(values.values())[:1]] if len(features) < 2 else []
    names += [_title(portrait, features[:count]) for count in range(2, len(features) + 1)] or [two]
    names += [f"{two}, {more}" for more in [*values.values(), *_comparisons(portrait)]]
    return names


def _lovers(features: Sequence[str]) -> str:
    """People by what they like best.

    >>> _lovers(["category_share:Jeans", "brand_share:Acme"]), _lovers([])
    ('Jeans and Acme lovers', 'Customers of mixed tastes')
    """
    labels = [feature.partition(":")[2] for feature in features]
    return (
        f"{' and '.join([', '.join(labels[:-1]), labels[-1]][len(labels) < 2 :])} lovers"
        if labels
        else "Customers of mixed tastes"
    )


def _people(frequent: Mapping[str, tuple[tuple[str, float], ...]], somewhere: bool = False) -> str:
    """People by what most of them are, and by where they are from, if only from elsewhere than those who have a place.

    >>> _people({"gender": (("F", 0.9),), "age_band": (("25-34", 0.7),), "country": (("France", 1.0),)})
    'Women 25-34 from France'
    >>> _people({"gender": (("(unknown)", 1.0),), "region": (("Asia", 0.9),)})
    'Customers of unknown gender from Asia'
    >>> _people({"gender": (("M", 0.9),), "country": (("Brazil", 0.3), ("Japan", 0.2))}, somewhere=True)
    'Men from other countries'
    """
    most = {name: values[0][0] for name, values in frequent.items() if values and values[0][1] > MOST}
    gender, band = most.get("gender"), most.get("age_band")
    text = "customers" if gender in (None, UNKNOWN) else _readable("gender", gender or "")
    if band not in (None, UNKNOWN):
        text += f" {band}"
    if unknown := [name for name, value in (("gender", gender), ("age", band)) if value == UNKNOWN]:
        text += f" of unknown {' and '.join(unknown)}"
    if most.get("country") == UNKNOWN:
        text += " of unknown country"
    elif place := _place(frequent):
        text += f" from {place}"
    elif somewhere and ("country" in frequent or "region" in frequent):
        text += " from other countries"
    return text[0].upper() + text[1:]


def _place(frequent: Mapping[str, tuple[tuple[str, float], ...]]) -> str:
    """Where people are from: a country, two or three by name, or a region, the fewest words that speak for nearly all; nothing where they are from all over.

    >>> _place({"country": (("Germany", 0.52), ("France", 0.48)), "region": (("Western Europe", 1.0),)})
    'France and Germany'
    >>> _place({"country": (("France", 0.3), ("United Kingdom", 0.3), ("Germany", 0.3)), "region": (("Western Europe", 1.0),)})
    'Western Europe'
    >>> _place({"country": (("South Korea", 0.5), ("Japan", 0.2), ("Australia", 0.2)), "region": (("Asia", 0.7),)})
    'Australia, Japan and South Korea'
    >>> _place({"country": (("United States", 0.6),)}), _place({"country": (("Spain", 0.1),), "region": (("(unknown)", 0.9),)})
    ('the United States', 'elsewhere')
    """
    countries, regions = frequent.get("country", ()), frequent.get("region", ())
    known = [(spoken(value), share) for value, share in countries if value != UNKNOWN]
    for count, needed in ((1, NEARLY_ALL), (2, BOTH)):
        if sum(share for _, share in known[:count]) >= needed:
            return " and ".join(sorted(name for name, _ in known[:count]))
    if regions and regions[0][1] >= NEARLY_ALL:
        return "elsewhere" if regions[0][0] == UNKNOWN else regions[0][0]
    if len(known) == 3 and sum(share for _, share in known) >= NEARLY_ALL:
        first, second, third = sorted(name for name, _ in known)
        return f"{first}, {second} and {third}"
    if known and known[0][1] > MOST:
        return known[0][0]
    return regions[0][0] if regions and regions[0][1] > MOST and regions[0][0] != UNKNOWN else ""


def _ranked(z: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(z.items(), key=lambda item: (-abs(item[1]), item[0]))


def _word(feature: str, z: float) -> Word | None:
    if is_share(feature):  # what they like says something of customers, what they don't like does not
        return Word(feature.partition(":")[2]) if z >= DISTINCT else None
    return (_HIGH if z > 0 else _LOW).get(feature) if abs(z) >= DISTINCT else None


def _title(portrait: Portrait, features: Sequence[str]) -> str:
    chosen = {feature: word for feature in features if (word := _word(feature, portrait.z[feature]))}
    gives_noun = next((feature for feature in _NOUNS if feature in chosen and chosen[feature].noun), None)
    adjectives, noun = [], "buyers" if chosen else "typical customers"
    for feature in [name for name in _HIGH if name in chosen]:
        word = chosen[feature]
        very = portrait.z[feature] >= VERY
        adjective = (very and word.very[0]) or word.adjective
        if word.once and portrait.medians.get(feature) == 1.0:
            adjective = word.once
        if feature == gives_noun:
            noun = (very and word.very[1]) or word.noun
            if feature != "return_rate":
                continue
        adjectives.append(adjective)
    text = " ".join([*dict.fromkeys(adjectives), noun])
    return text[0].upper() + text[1:]


def _values(portrait: Portrait) -> dict[str, str]:
    """By category, the most over-represented first."""
    lifted = [
        (share / overall, feature, value)
        for feature, (value, share, overall) in portrait.top.items()
        if overall > 0 and share >= SHARE and share / overall >= LIFT
    ]
    ranked = sorted(lifted, key=lambda t: (-t[0], t[1]))
    return {feature: f"mostly {_readable(feature, value)}" for _, feature, value in ranked}


def _readable(feature: str, value: str) -> str:
    plain = {"F": "women", "Female": "women", "M": "men", "Male": "men"}
    return plain.get(value, value) if feature == "gender" else value


def _comparisons(portrait: Portrait) -> list[str]:
    return [_MORE[f][0 if z > 0 else 1] for f, z in _ranked(portrait.z) if abs(z) > 0.05 and f in _MORE]
