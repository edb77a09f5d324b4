"""How the segments got their present sizes, from flows: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from segment_api.journal import Flow

WINDOWS: Final = {
    "15m": (900, 10),
    "1h": (3_600, 60),
    "24h": (86_400, 600),
    "7d": (604_800, 3_600),
    "30d": (2_592_000, 21_600),
}
"""Name of a window -> its length and the step between its points, seconds."""


class Point(NamedTuple):
    """Customers per segment at a moment (seconds since 1970)."""

    at: int
    customers: dict[str, int]


def trend(now: int, sizes: Mapping[str, int], flows: Iterable[Flow], window: str) -> list[Point]:
    """The sizes at each step of a window that ends now, walked back from the present ones.

    >>> [p.customers for p in trend(30, {"a": 1, "b": 2}, [Flow(20, "a", "b", "behaviour", 1)], "15m")][-3:]
    [{'a': 2, 'b': 1}, {'a': 1, 'b': 2}, {'a': 1, 'b': 2}]
    """
    length, step = WINDOWS[window]
    end = now // step * step + step
    net: dict[int, Counter[str]] = {}
    for flow in flows:
        at = min(flow.at // step * step + step, end)
        bucket = net.setdefault(at, Counter())
        if flow.to_segment is not None:
            bucket[flow.to_segment] += flow.customers
        if flow.from_segment is not None:
            bucket[flow.from_segment] -= flow.customers
    present = Counter(dict(sizes))
    points = []
    for at in range(end, end - length - step, -step):
        points.append(Point(min(at, now), {s: max(0, present[s]) for s in sizes}))
        for segment, change in net.get(at, {}).items():
            present[segment] -= change
    return points[::-1]


class Migration(NamedTuple):
    """How many went from one segment (None: new customers) to another, for one cause."""

    from_segment: str | None
    to_segment: str
    cause: str
    customers: int


def migrations(flows: Iterable[Flow], since: int, causes: Iterable[str] = ()) -> list[Migration]:
    """Flows added up since a moment (seconds), the largest first; all causes, or some. The erased went nowhere."""
    wanted = set(causes)
    sums: Counter[tuple[str | None, str, str]] = Counter()
    for flow in flows:
        if flow.to_segment is not None and flow.at >= since and (not wanted or flow.cause in wanted):
            sums[flow.from_segment, flow.to_segment, flow.cause] += flow.customers
    return [Migration(*key, count) for key, count in sums.most_common()]
