"""What is unusual about a window of events: every signal against its threshold, max(business effect, what chance can do).

Chance: under the null hypothesis PSI is distributed as chi-square with B - 1 degrees of freedom times (1/n + 1/n_reference); a rate is held
against Wilson's bound. Both at one in ten million, so that the many looks of a year raise no false alarm.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from schemas.artifact import Reference
from schemas.coherence import left
from schemas.drift import DISTANCE, RECONSTRUCTION, Baseline, Tally
from schemas.reference import MIX, Counts, Distribution, Z, bound, chance, is_clock, psi

Direction = Literal["up", "down", "changed"]
Signal = Literal[
    "feature", "relation", "nulls", "unseen", "segment_mix", "log_distance", "reconstruction", "flips", "invalid", "event_rate", "lateness"
]  # fmt: skip
LEAK: Final = 0.1
"""So much of its spread what is left of a feature may move because others order: relations are not quite linear."""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The business effects: what is smaller is not worth waking anybody."""

    psi: float = 0.1
    """Of a feature, a rhythm allowed for: a shift of 0.3 standard deviations."""
    psi_mix: float = 0.05
    """Of the mix of segments: a segment of a tenth that becomes one of a sixth."""
    psi_long: float = 0.05
    """Of a wide window and of a week: a shift of nearly a quarter of a standard deviation."""
    relation: float = 0.15
    """Of a feature against the others of the same customers, standard deviations."""
    relation_drift: float = 0.5
    psi_gross: float = 1.0
    """Of the first few hundred events: a unit error."""
    psi_drift: float = 0.25
    """From here one signal alone is drift."""
    shift: float = 0.35
    """Of log distance and reconstruction error, standard deviations."""
    nulls: float = 0.05
    """Share of events beyond what training had."""
    unseen: float = 0.01
    invalid: float = 0.01
    flips: float = 0.1
    low: float = 0.3
    """An hour with fewer of the expected events is a broken pipeline."""
    high: float = 8.0
    late: float = 0.1
    """Share of late events beyond the expectation."""
    small: int = 200
    window: int = 1000
    wide: int = 4000
    long: int = 5000
    """Looks per window."""
    clean: int = 3
    """Windows in a row after which an alert is resolved, and after which a warning that goes on is drift."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One signal beyond its threshold."""

    signal: Signal
    feature: str = ""
    statistic: float
    threshold: float
    n: int
    direction: Direction = "changed"
    drastic: bool = False
    """Drift by itself."""
    likely: float = 0.0
    """How far beyond chance, as a multiple of what chance can do."""

    @property
    def key(self) -> str:
        """Signal and feature."""
        return f"{self.signal}:{self.feature}" if self.feature else self.signal

    @property
    def strength(self) -> float:
        """Multiple of the threshold."""
        return self.statistic / self.threshold if self.threshold > 0 else math.inf


def at_least(hits: int, n: int) -> float:
    """The share that is surely behind `hits` of n (Wilson's lower bound).

    >>> at_least(0, 100), round(at_least(50, 100), 2)
    (0.0, 0.27)
    """
    if not hits:
        return 0.0
    p, z2 = hits / n, Z * Z
    return max(0.0, (p + z2 / (2 * n) - Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n))


def moved(known: Distribution, seen: Counts) -> Direction:
    """Which way a number went; a category has only changed."""
    if known.labels:
        return "changed"
    before = math.fsum(i * share for i, share in enumerate(known.shares))
    return "up" if math.fsum(i * count for i, count in enumerate(seen.bins)) / max(1, seen.n) >= before else "down"


def shifts(tally: Tally, known: Baseline, limits: Thresholds, *, effect: float, mix: float) -> list[Finding]:
    """Features whose distribution has moved by `effect` (PSI), and the segments' by `mix`, and more than chance can do."""
    found = []
    for name, distribution in known.features.items():
        seen = tally.features.get(name)
        if seen is None or seen.n < limits.small or is_clock(name):
            continue
        is_mix = name == MIX
        statistic, least = psi(distribution, seen), bound(distribution, seen, mix if is_mix else effect)
        if statistic > least:
            found.append(
                Finding(
                    signal="segment_mix" if is_mix else "feature",
                    feature="" if is_mix else name,
                    statistic=statistic,
                    threshold=least,
                    n=seen.n,
                    direction=moved(distribution, seen),
                    drastic=statistic > limits.psi_drift,
                    likely=statistic / chance(distribution, seen),
                )
            )
    return found


def relations(tally: Tally, known: Baseline, limits: Thresholds) -> list[Finding]:
    """The feature that has left the others most, where one has by more than a rhythm and chance can do: the others follow from it."""
    if known.coherence is None:
        return []
    found = []
    for one in left(known.coherence, known.features, tally.features):
        if one.n < limits.small:
            return []
        error = Z * one.spread * math.sqrt(1.0 / one.n + 1.0 / known.coherence.n)
        threshold, away = max(limits.relation, LEAK * one.spread + error), abs(one.mean)
        if away > threshold:
            found.append(
                Finding(
                    signal="relation", feature=one.feature, statistic=away, threshold=threshold, n=one.n,
                    direction="up" if one.mean > 0 else "down", drastic=away > limits.relation_drift,
                    likely=(away / error) ** 2 if error else math.inf,
                )
            )  # fmt: skip
    return sorted(found, key=lambda f: (-f.likely, f.feature))[:1]


def gaps(tally: Tally, known: Baseline, limits: Thresholds) -> list[Finding]:
    """Features that are not known, or hold labels that training never saw, more often than they should."""
    found = []
    for name, distribution in known.features.items():
        seen = tally.features.get(name)
        if seen is None:
            continue
        n = seen.n + seen.nulls
        hits: list[tuple[Signal, int, float]] = [("nulls", seen.nulls, distribution.nulls + limits.nulls)]
        if distribution.complete and distribution.labels and name != MIX:
            hits.append(("unseen", seen.unseen, limits.unseen))
        for signal, count, threshold in hits:
            if n and at_least(count, n) > threshold:
                found.append(
                    Finding(
                        signal=signal, feature=name, statistic=count / n, threshold=threshold, n=n, direction="up",
                        drastic=count / n > 2 * threshold, likely=at_least(count, n) / threshold,
                    )
                )  # fmt: skip
    return found


def levels(tally: Tally, known: Baseline, limits: Thresholds) -> list[Finding]:
    """Distance to the centroid and reconstruction error whose mean has left the training data's."""
    found = []
    for name in (DISTANCE, RECONSTRUCTION):
        reference, seen = known.sums.get(name), tally.sums.get(name)
        if reference is None or seen is None or reference.std <= 0.0 or seen.n < limits.window:
            continue
        found += level(name, seen.mean, seen.n, reference, limits)
    return found


def level(name: str, mean: float, n: int, reference: Reference, limits: Thresholds) -> list[Finding]:
    """One such mean, where it has."""
    away = (mean - reference.mean) / reference.std
    if abs(away) <= limits.shift:
        return []
    signal: Signal = "log_distance" if name == DISTANCE else "reconstruction"
    return [
        Finding(
            signal=signal, statistic=abs(away), threshold=limits.shift, n=n, direction="up" if away > 0 else "down",
            drastic=abs(away) > 3 * limits.shift, likely=abs(away) * math.sqrt(n) / Z,
        )
    ]  # fmt: skip


def rate(signal: Signal, hits: int, n: int, expected: float, effect: float) -> list[Finding]:
    """A rate that has at least doubled, and grown by `effect`, against what was learnt."""
    threshold = expected + max(effect, expected)
    if not n or at_least(hits, n) <= threshold:
        return []
    return [
        Finding(
            signal=signal, statistic=hits / n, threshold=threshold, n=n, direction="up",
            drastic=hits / n > 2 * threshold, likely=at_least(hits, n) / threshold,
        )
    ]  # fmt: skip
