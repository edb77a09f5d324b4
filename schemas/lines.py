"""Product lines as numbers: a customer's brands and categories are written down once, and each line names its two by their places.

The labels have places, counted from 1; place 0 is 'not known'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

MAX_LABELS: Final = 1000
"""Different brands (and categories) of one customer that are told apart; any more count as not known."""
SOUGHT: Final = -1
"""Stands for a favourite that has to be looked for among the orders."""

_BITS: Final = 10
_MASK: Final = (1 << _BITS) - 1
_Choice = TypeVar("_Choice")


class Labels(msgspec.Struct, array_like=True, gc=False):
    """How often each label was chosen, and which one most often; a tie goes to the one chosen last."""

    known: list[str] = []
    """The labels by their places; the first one has place 1."""
    counts: list[int] = msgspec.field(default_factory=lambda: [0])
    """Of each place: how often it was chosen."""
    favourite: int = 0
    """Its place, or SOUGHT."""

    def choose(self, wanted: Iterable[str | None], newest: bool) -> list[int]:
        """Count choices, in order, and say their places; `newest` when nothing was chosen at the same time or later.

        >>> labels = Labels()
        >>> labels.choose(["Jeans", "Socks", "Jeans"], True), labels.name(labels.favourite)
        ([1, 2, 1], 'Jeans')
        """
        labels, counts, favourite = self.known, self.counts, self.favourite
        sought = favourite == SOUGHT  # then it is nothing in what follows
        places = []
        for label in wanted:
            if label in labels:
                place = labels.index(label) + 1
            elif label is None or len(counts) > MAX_LABELS:
                place = 0
            else:
                place = len(counts)
                labels.append(label)
                counts.append(0)
            times = counts[place] = counts[place] + 1
            if times >= counts[favourite]:
                favourite = place
            places.append(place)
        self.favourite = SOUGHT if sought or (places and not newest) else favourite
        return places

    def name(self, place: int) -> str | None:
        """The label at a place."""
        return self.known[place - 1] if place else None

    def count(self, label: str) -> int:
        """How often a label was chosen."""
        return self.counts[self.known.index(label) + 1] if label in self.known else 0

    def names(self) -> list[str | None]:
        """The labels by their places."""
        return [None, *self.known]

    def leaders(self) -> list[int]:
        """The places chosen most often."""
        most = max(self.counts)
        return [place for place, count in enumerate(self.counts) if count == most]


class Line(NamedTuple):
    """One kind of product line of an order: the places of its brand and category, and how often it was chosen."""

    brand: int
    category: int
    times: int


def codes(brands: Sequence[int], categories: Sequence[int]) -> list[int]:
    """The product lines of an order as numbers, one per different line, by its last occurrence.

    >>> [decode(code) for code in codes([1, 2, 1], [5, 5, 5])]
    [Line(brand=2, category=5, times=1), Line(brand=1, category=5, times=2)]
    """
    found = [brand << _BITS | category for brand, category in zip(brands, categories)]  # noqa: B905 (as long as each other)
    if len(found) > 1 and len(set(found)) < len(found):
        found = [(times - 1) << 2 * _BITS | code for code, times in counted(found).items()]
    return found


def counted(chosen: Iterable[_Choice]) -> dict[_Choice, int]:
    """How often each was chosen, by its last occurrence.

    >>> counted("aba")
    {'b': 1, 'a': 2}
    """
    times: dict[_Choice, int] = {}
    for choice in chosen:
        times[choice] = times.pop(choice, 0) + 1
    return times


def decode(code: int) -> Line:
    """The line that a number of `codes` stands for."""
    return Line(code >> _BITS & _MASK, code & _MASK, (code >> 2 * _BITS) + 1)
