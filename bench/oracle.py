"""What must come out: one plain loop over the same log, and the comparison of what an engine sent with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench import job
from bench.generator import Log, Message
from bench.job import Customer
from schemas.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a log of events must have led to."""

    events: int
    ends: tuple[int, ...]
    """Records in each partition."""
    changes: Mapping[str, bytes]
    """Change id -> the change, with `decided_at` empty."""
    states: Mapping[bytes, bytes] = field(repr=False)
    """Customer -> her state as the changelog holds it."""


def everyone(_: bytes) -> bool:
    """All customers."""
    return True


class Oracle:
    """The log folded event by event; of those customers that `keep` names, where all would be too many."""

    def __init__(self, model: Model, partitions: int, keep: Callable[[bytes], bool] = everyone) -> None:
        self.keep = keep
        self.log = Log(partitions)
        self.model = model
        self.customers: dict[bytes, Customer] = {}
        self.changes: dict[str, bytes] = {}
        self.events = 0

    def append(self, message: Message) -> tuple[int, int]:
        """Fold the next message of the log; its partition and offset."""
        partition, offset = self.log.append(message.key)
        self.events += 1
        if not self.keep(message.key):
            return partition, offset
        found = self.customers.get(message.key)
        done = job.apply(found, message.key, message.value, partition, offset, self.model, "")
        assert done is not None, "the fence must let every new offset through"
        self.customers[message.key] = done[0]
        for change in done[1]:
            self.changes[change.change_id] = job.encoded(change, 0)[1]
        return partition, offset

    def expected(self) -> Expected:
        """What the log so far must have led to."""
        states = {key: job.to_bytes(customer) for key, customer in self.customers.items()}
        return Expected(events=self.events, ends=tuple(self.log.ends), changes=dict(self.changes), states=states)


class ReceivedId(msgspec.Struct):
    """The one field of a change that tells which it is."""

    change_id: str


change_id = msgspec.json.Decoder(ReceivedId).decode


@dataclass(slots=True)
class Judgement:
    """How what came out differs from what must come out."""

    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    reordered: int = 0
    states_wrong: int | None = None
    """Customers whose stored state differs; None where the engine's state cannot be read."""
    first: str = ""
    """The first difference, in words."""

    @property
    def exact(self) -> bool:
        """Nothing lost and nothing wrong; repeated changes carry the same id and do no harm."""
        return not (self.lost or self.wrong or self.reordered or self.states_wrong)

    def differs(self, what: str) -> None:
        """Keep the first difference."""
        self.first = self.first or what


def judge(expected: Expected, received: Iterable[tuple[bytes, bytes]], tolerance: float = 0.0) -> Judgement:
    """Compare the changes received (key, value; in the order of their partitions) with those expected.

    `tolerance` is relative, for numbers computed by another language's mathematical library.
    """
    result = Judgement()
    seen: dict[str, int] = {}
    sequence: dict[str, int] = {}
    for key, value in received:
        change = msgspec.json.decode(value)
        identity = change.get("change_id", "")
        wanted = expected.changes.get(identity)
        change["decided_at"] = ""
        if wanted is None:
            result.wrong += 1
            result.differs(f"a change that must not be: {change}")
            continue
        user = change["user_id"]
        if key != user.encode() or not same(change, msgspec.json.decode(wanted), tolerance):
            result.wrong += 1
            result.differs(f"is {change}, must be {wanted.decode()}")
        if identity in seen:
            result.duplicated += 1
        elif change["sequence"] <= sequence.get(user, 0):
            result.reordered += 1
            result.differs(f"{identity} came after number {sequence[user]}")
        seen[identity] = 1
        sequence[user] = max(sequence.get(user, 0), change["sequence"])
    result.lost = len(expected.changes) - len(seen)
    if result.lost:
        result.differs(f"lost: {next(name for name in expected.changes if name not in seen)}")
    return result


def same(found: Any, wanted: Any, tolerance: float) -> bool:
    """Whether two JSON values are equal, floating-point numbers within a relative tolerance."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[k], wanted[k], tolerance) for k in wanted)
    if isinstance(found, float) and isinstance(wanted, float | int):
        return math.isclose(found, wanted, rel_tol=tolerance, abs_tol=tolerance)
    return bool(found == wanted)


def wrong_states(expected: Expected, found: Mapping[bytes, bytes]) -> int:
    """Customers whose stored state is missing, too many, or not equal."""
    wrong = sum(1 for key in found if key not in expected.states)
    for key, wanted in expected.states.items():
        have = found.get(key)
        if have != wanted and (have is None or job.from_bytes(have) != job.from_bytes(wanted)):
            wrong += 1
    return wrong
