"""Who went where as a picture: a bar for each segment they left and each they went to, and bands between; plain geometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from segment_api.segments import Migration

HEIGHT: Final = 200.0
"""Of all bands together, pixels."""
_LEAST: Final = 54.0
"""Of a bar: three lines of its label fit."""
_GAP: Final = 8.0
_THIN: Final = 1.5
NEW: Final = ""
"""The id of where new customers come from."""


class Bar(NamedTuple):
    """A segment on one side."""

    segment: str
    name: str
    customers: int
    y: float
    height: float


class Band(NamedTuple):
    """Customers who went from one bar to another: a path in a box 100 wide."""

    segment: str
    """Where they went: its colour."""
    path: str


class Picture(NamedTuple):
    """All of it; pixels."""

    height: float
    left: list[Bar]
    right: list[Bar]
    bands: list[Band]


def picture(flows: Sequence[Migration]) -> Picture | None:
    """The picture of these flows; None of none.

    >>> made = picture([Migration(from_segment=None, from_name=None, to_segment="s1", to_name="A", cause="time", customers=3)])
    >>> made.left[0].name, made.right[0].name, made.bands[0].path
    ('new customers', 'A', 'M0,0.0 C50,0.0 50,0.0 100,0.0 L100,200.0 C50,200.0 50,200.0 0,200.0 Z')
    """
    pairs: Counter[tuple[str, str]] = Counter()
    names = {NEW: "new customers"}
    for flow in flows:
        pairs[flow.from_segment or NEW, flow.to_segment] += flow.customers
        names[flow.to_segment] = flow.to_name
        if flow.from_segment:
            names[flow.from_segment] = flow.from_name or flow.from_segment
    if not pairs:
        return None
    scale = HEIGHT / pairs.total()
    thick = {pair: max(_THIN, count * scale) for pair, count in pairs.items()}
    sides = [_bars(pairs, thick, names, side) for side in (0, 1)]
    height = max(bars[-1].y + bars[-1].height for bars in sides)
    tops = [_middled(bars, thick, height, side) for side, bars in enumerate(sides)]
    bands = []
    for left in sides[0]:
        for right in sides[1]:
            pair = left.segment, right.segment
            if pair in thick:
                a, b, t = tops[0][left.segment], tops[1][right.segment], thick[pair]
                tops[0][left.segment] += t
                tops[1][right.segment] += t
                bands.append(Band(right.segment, _path(a, b, t)))
    return Picture(height, sides[0], sides[1], bands)


def _bars(
    pairs: Counter[tuple[str, str]], thick: dict[tuple[str, str], float], names: dict[str, str], side: int
) -> list[Bar]:
    customers: Counter[str] = Counter()
    for pair, count in pairs.items():
        customers[pair[side]] += count
    bars, y = [], 0.0
    for segment in sorted(customers, key=lambda s: (s == NEW, s)):
        height = max(_LEAST, sum(t for pair, t in thick.items() if pair[side] == segment))
        bars.append(Bar(segment, names[segment], customers[segment], y, height))
        y += height + _GAP
    return bars


def _middled(bars: list[Bar], thick: dict[tuple[str, str], float], height: float, side: int) -> dict[str, float]:
    """Move the shorter side into the middle; where each bar's first band begins."""
    down = (height - bars[-1].y - bars[-1].height) / 2
    bars[:] = [bar._replace(y=bar.y + down) for bar in bars]
    return {
        bar.segment: bar.y + (bar.height - sum(t for pair, t in thick.items() if pair[side] == bar.segment)) / 2
        for bar in bars
    }


def _path(a: float, b: float, t: float) -> str:
    return (
        f"M0,{a:.1f} C50,{a:.1f} 50,{b:.1f} 100,{b:.1f} L100,{b + t:.1f} C50,{b + t:.1f} 50,{a + t:.1f} 0,{a + t:.1f} Z"
    )
