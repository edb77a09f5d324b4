"""Whether a worker gets on, judged over looks at it: what should move and has not moved for how long.

The rules are those of Burrow (linkedin/Burrow, evaluator): progress counts, not how far behind one is; whoever stands at the end of
the log is well; going back is not standing still. Time that the process itself was stopped for counts against nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.offsets import Place

LATE: Final = 5.0
"""A look that comes so many seconds later than the last one says that the whole process was stopped."""

LOOP: Final = "loop"
COMMIT: Final = "commit "
"""How the names of these begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen of a worker at one moment; times in monotonic seconds."""

    at: float
    beat: float
    """When the event loop last answered."""
    ends: Mapping[Place, int] | None
    """The ends of the logs over a connection of our own, None where no broker answers."""
    acknowledged: Mapping[Place, int]
    """The offset behind what was done, of every owned partition."""
    committed: Mapping[Place, int]
    restoring: bool = False
    """Whether there are partitions whose customers are not complete."""
    restored: int = 0
    outside: str = ""
    """Why no partition can be assigned: the group does not know us, or never ends a rebalance. Empty where all is well."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Since when each thing has stood where it stands."""

    looked: float
    standing: Mapping[str, tuple[int, float, str]] = field(default_factory=dict)
    """What should move -> where it stands, since when, and what to say of it."""
    beat: float = 0.0
    """When the event loop last answered, or since when that is expected of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that should have moved."""

    what: str
    seconds: float
    text: str


def follow(memory: Memory, look: Look) -> Memory:
    """The memory after another look."""
    stopped = look.at - memory.looked > LATE
    standing = {}
    for what, stands, text in _standing(look):
        was, since, _ = memory.standing.get(what, (None, look.at, ""))
        standing[what] = (stands, look.at if stopped or was != stands else since, text)
    return Memory(look.at, standing, look.at if stopped else max(look.beat, memory.beat))


def _standing(look: Look) -> Iterator[tuple[str, int, str]]:
    """Everything that should get on: its name, where it stands, and what it is."""
    if look.ends is None:  # nothing can get on, and ending the process would mend nothing
        return
    for place, done in look.acknowledged.items():
        name = f"{place[0]}-{place[1]}"
        waiting = look.ends.get(place, 0) - done
        if waiting > 0:
            yield name, done, f"{name}: {waiting} records wait and none was acknowledged"
        committed = look.committed.get(place, done)
        if committed < done:
            yield (
                f"{COMMIT}{name}",
                committed,
                f"{name}: {done} is done, {committed} is committed and no commit follows",
            )
    if look.restoring:
        yield "restore", look.restored, f"customers are being restored and none has come ({look.restored} so far)"
    if look.outside:
        yield "group", 0, look.outside


def findings(memory: Memory) -> list[Finding]:
    """What has not moved until the last look, longest first.

    >>> waits = Look(at=100.0, beat=100.0, ends={("orders", 0): 9}, acknowledged={("orders", 0): 5}, committed={})
    >>> later = Look(at=104.0, beat=104.0, ends={("orders", 0): 9}, acknowledged={("orders", 0): 5}, committed={})
    >>> findings(follow(follow(Memory(99.0), waits), later))[0].text
    'orders-0: 4 records wait and none was acknowledged for 4 s'
    """
    now = memory.looked
    found = [
        Finding(what=what, seconds=now - since, text=f"{text} for {now - since:.0f} s")
        for what, (_, since, text) in memory.standing.items()
    ]
    held = now - memory.beat
    found.append(Finding(what=LOOP, seconds=held, text=f"the event loop has been held for {held:.0f} s"))
    return sorted(found, key=lambda finding: -finding.seconds)
