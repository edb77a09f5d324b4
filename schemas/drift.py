"""What the drift check passes on over `drift-blocks`: mergeable summaries of live events, and what they are compared with."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.artifact import Reference
from schemas.coherence import Coherence
from schemas.model import Model
from schemas.reference import MIX, Counts, Distribution, bound, psi

SCALE: Final = 1_000_000
"""Sums are integers of so many parts: they merge in any order to the same sum."""
DISTANCE: Final = "log_distance"
RECONSTRUCTION: Final = "reconstruction"
HOUR: Final = 3_600_000_000
"""Microseconds of an hour."""


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Count, sum and sum of squares of a quantity, in parts of SCALE. Merges with `+`."""

    n: int = 0
    total: int = 0
    squares: int = 0

    @property
    def mean(self) -> float:
        """The mean, 0 where nothing was counted."""
        return self.total / SCALE / self.n if self.n else 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(n=self.n + other.n, total=self.total + other.total, squares=self.squares + other.squares)


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """Live events that were produced in one hour: all of them, those looked at, and the late ones among these. Merges with `+`."""

    events: int = 0
    looked_at: int = 0
    late: int = 0

    def __add__(self, other: Hour) -> Hour:
        return Hour(
            events=self.events + other.events, looked_at=self.looked_at + other.looked_at, late=self.late + other.late
        )


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """How many of how many. Merges with `+`."""

    hits: int = 0
    n: int = 0

    def __add__(self, other: Hits) -> Hits:
        return Hits(hits=self.hits + other.hits, n=self.n + other.n)


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of live events under one model. `+` is associative and commutative; `Tally()` changes nothing."""

    events: int = 0
    """Live events read, unusable ones too."""
    looked_at: int = 0
    """Those of them whose customer was looked at: at high rates not every one."""
    invalid: int = 0
    """Messages that went to the dead letters."""
    flips: int = 0
    """Changes of a customer's segment by her behaviour."""
    begin: int = 0
    """The earliest event time, microseconds; 0 where nothing was looked at."""
    end: int = 0
    features: dict[str, Counts] = {}
    """By feature, and of the segments (`segment_mix`)."""
    sums: dict[str, Sums] = {}
    """Log distance to the centroid, log reconstruction error."""
    fields: dict[str, Hits] = {}
    """By field of the messages: how often it was empty."""
    hours: dict[int, Hour] = {}
    """By the hour in which they were produced, hours since 1970."""

    def __add__(self, other: Tally) -> Tally:
        begins = [begin for begin in (self.begin, other.begin) if begin]
        return Tally(
            events=self.events + other.events,
            looked_at=self.looked_at + other.looked_at,
            invalid=self.invalid + other.invalid,
            flips=self.flips + other.flips,
            begin=min(begins, default=0),
            end=max(self.end, other.end),
            features=_merged(self.features, other.features),
            sums=_merged(self.sums, other.sums),
            fields=_merged(self.fields, other.fields),
            hours=_merged(self.hours, other.hours),
        )


def _merged(a: dict, b: dict) -> dict:  # type: ignore[type-arg]
    made = dict(a)
    for key, value in b.items():
        made[key] = made[key] + value if key in made else value
    return made


class Block(msgspec.Struct, frozen=True, kw_only=True, tag="block"):
    """The tally of consecutive records of one partition, sent before these are acknowledged."""

    topic: str
    partition: int
    first: int
    """The first offset that it covers."""
    last: int
    """The last one; each record is in one block at most."""
    model_id: str
    tally: Tally

    @property
    def block_id(self) -> str:
        """Deterministic: where it was read.

        >>> Block(topic="orders", partition=2, first=100, last=355, model_id="m", tally=Tally()).block_id
        'orders:2:100-355'
        """
        return f"{self.topic}:{self.partition}:{self.first}-{self.last}"


class Baseline(msgspec.Struct, frozen=True, kw_only=True, tag="baseline"):
    """What a model expects: sent ahead of the first block under it, so that the topic explains itself."""

    model_id: str
    names: dict[str, str] = {}
    """Segment id -> name."""
    features: dict[str, Distribution] = {}
    sums: dict[str, Reference] = {}
    coherence: Coherence | None = None
    needs: dict[str, tuple[str, ...]] = {}
    """Feature -> what it is computed from: features that share these move together."""


def baseline(model: Model, needs: dict[str, tuple[str, ...]]) -> Baseline:
    """The baseline of a model; without distributions where it was trained before there were any."""
    sums: dict[str, Reference] = {
        name: model.artifact.reference[name] for name in (DISTANCE, RECONSTRUCTION) if name in model.artifact.reference
    }
    return Baseline(
        model_id=model.id,
        names=dict(model.names),
        features=model.artifact.distributions,
        sums=sums,
        coherence=model.artifact.coherence,
        needs={name: needs[name] for name in model.artifact.distributions if name in needs},
    )


Record = Block | Baseline

encode: Final = msgspec.json.Encoder().encode
_decoder: Final[msgspec.json.Decoder[Block | Baseline]] = msgspec.json.Decoder(Record)


def decode(data: bytes) -> Record:
    """The block or baseline that `encode` wrote. Raises msgspec.MsgspecError where it is none."""
    return _decoder.decode(data)


class OpenAlert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that is open, in short."""

    alert_id: str
    level: str
    signal: str
    feature: str | None
    first_seen: str


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A feature, or the mix of segments, then and now."""

    name: str
    psi: float
    threshold: float
    bins: tuple[str, ...]
    reference: tuple[float, ...]
    """Shares per bin."""
    current: tuple[float, ...]
    nulls: float
    n: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How things are with the drift check, as its owner shows it in Redis."""

    model_id: str
    at: str
    """The latest event time."""
    blocks: int
    known: Baseline
    latest: Tally
    """The last complete window."""
    open: tuple[OpenAlert, ...]
    effect: float
    """The PSI of a feature that matters."""
    mix_effect: float
    """That of the mix of segments."""
    window: int
    """Events looked at since that window."""

    def looks(self) -> list[Look]:
        """Every distribution with its threshold, the one that has moved most first."""
        found = []
        for name, known in self.known.features.items():
            seen = self.latest.features.get(name)
            if seen is None or not seen.n:
                continue
            names = self.known.names
            bins = tuple(names.get(label, label) for label in known.bins) if name == MIX else known.bins
            found.append(
                Look(
                    name=name,
                    psi=psi(known, seen),
                    threshold=bound(known, seen, self.mix_effect if name == MIX else self.effect),
                    bins=bins,
                    reference=known.shares,
                    current=tuple(count / seen.n for count in seen.bins),
                    nulls=seen.nulls / (seen.n + seen.nulls),
                    n=seen.n,
                )
            )
        return sorted(found, key=lambda look: -look.psi / look.threshold)


def standing_key(prefix: str) -> str:
    """The Redis key of the standing.

    >>> standing_key("segstream:")
    'segstream:drift'
    """
    return f"{prefix}drift"


def decode_standing(data: bytes) -> Standing:
    """The standing that `encode` wrote. Raises msgspec.MsgspecError where it is none."""
    return msgspec.json.decode(data, type=Standing)
