"""The drift check: blocks in, alerts out. Pure: the same records of `drift-blocks` give the same alerts, whoever folds them and how often."""

from __future__ import annotations

from typing import Final

import msgspec

from schemas.changes import DriftAlert
from schemas.drift import DISTANCE, HOUR, Baseline, Block, Hits, OpenAlert, Record, Standing, Sums, Tally
from schemas.reference import MIX
from schemas.times import rfc3339
from stream_app.drift import detectors, words
from stream_app.drift.adwin import BLOCK, Watch
from stream_app.drift.detectors import Finding, Thresholds
from stream_app.drift.incidents import CONSEQUENCES, Incident, Incidents, Pace, Step
from stream_app.drift.rhythm import WEEK, Rhythm

WEAK: Final = 0.7
"""An alert is not resolved while its signals are above this part of their threshold."""
MODELS: Final = 3
"""Baselines that are kept."""
LEARN: Final = 1000
"""Events after which a rate that no reference tells is known."""
FORGET: Final = 100_000
"""Events after which the older half of what was learnt counts half."""


class Reached(msgspec.Struct, frozen=True):
    """How far a source partition is counted: offset, and the hour of production (since 1970)."""

    last: int
    hour: int


class State(msgspec.Struct, kw_only=True):
    """All that the drift check remembers; JSON, so that it can be kept and read."""

    position: int = 0
    """The next offset of `drift-blocks`."""
    reached: dict[str, Reached] = {}
    baselines: dict[str, Baseline] = {}
    model_id: str = ""
    clock: int = 0
    """The latest event time, microseconds."""
    small: Tally = msgspec.field(default_factory=Tally)
    window: Tally = msgspec.field(default_factory=Tally)
    wide: Tally = msgspec.field(default_factory=Tally)
    long: Tally = msgspec.field(default_factory=Tally)
    latest: Tally = msgspec.field(default_factory=Tally)
    """The last window that was complete."""
    pending: Sums = msgspec.field(default_factory=Sums)
    means: list[float] = []
    """What ADWIN has been given since its last detection."""
    learnt: dict[str, Hits] = {}
    """Rates that no reference tells: flips, invalid, and by field of the messages."""
    rhythm: Rhythm = msgspec.field(default_factory=Rhythm)
    incidents: Incidents = msgspec.field(default_factory=Incidents)
    blocks: int = 0
    skipped: int = 0
    """Blocks that were counted before."""


to_bytes: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(State).decode


class Monitor:
    """A state and the detectors over it."""

    def __init__(
        self, state: State | None = None, limits: Thresholds | None = None, cooldown: int = 3_600_000_000
    ) -> None:
        self.state = state or State()
        self.limits = limits or Thresholds()
        self._cooldown = cooldown
        self._watch = Watch(self.state.means)
        self.state.means = self._watch.means

    @classmethod
    def from_bytes(cls, data: bytes, limits: Thresholds, cooldown: int) -> Monitor:
        """Go on where a state was left (`to_bytes(monitor.state)`). Raises msgspec.MsgspecError where it is none."""
        return cls(_decode(data), limits, cooldown)

    @property
    def known(self) -> Baseline:
        """What the model in use expects; empty before the first one."""
        return self.state.baselines.get(self.state.model_id, Baseline(model_id=self.state.model_id))

    def fold(self, record: Record) -> list[DriftAlert]:
        """Take in the next record of `drift-blocks`; the steps of alerts that follow from it, in order."""
        if isinstance(record, Baseline):
            return self._install(record)
        return self._block(record)

    def _install(self, one: Baseline) -> list[DriftAlert]:
        s = self.state
        s.baselines.pop(one.model_id, None)
        s.baselines[one.model_id] = one  # the one that was announced last is the last
        for old in list(s.baselines)[:-MODELS]:
            del s.baselines[old]
        if one.model_id == s.model_id:
            return []
        steps = s.incidents.supersede(one.model_id)
        told = [words.alert(step, self._context(step.incident, Tally()), s.clock, self._cooldown) for step in steps]
        s.model_id = one.model_id
        s.small = s.window = s.wide = s.long = s.latest = Tally()
        s.pending = Sums()
        s.learnt.pop("flips", None)
        self._restart([])
        return told

    def _restart(self, means: list[float]) -> None:
        self._watch = Watch(means)
        self.state.means = self._watch.means

    def _block(self, block: Block) -> list[DriftAlert]:
        s, tally = self.state, block.tally
        place = f"{block.topic}:{block.partition}"
        hour = max(tally.hours, default=0)
        before = s.reached.get(place)
        # Anew from offset 0, and an hour later than anything before: a topic that was created again.
        if before is not None and block.first <= before.last and hour <= before.hour + 1:
            s.skipped += 1
            return []
        s.blocks += 1
        s.reached[place] = Reached(block.last, max(hour, before.hour if before else 0))
        s.clock = max(s.clock, tally.end)
        told = [
            alert
            for found in s.rhythm.add(place, tally.hours, self.limits)
            for alert in self._judge(found, found, Tally(end=s.clock, begin=s.clock), block, "hour", settle=True)
        ]
        if block.model_id != s.model_id:
            return told  # of a worker that has not changed over yet
        s.small, s.window = s.small + tally, s.window + tally
        told += self._adwin(tally, block)
        if _is_full(s.small, self.limits.small):
            full, s.small = s.small, Tally()
            told += self._judge(self._gross(full), [], full, block, "window", settle=False)
        if _is_full(s.window, self.limits.window):
            told += self._window(block)
        return told

    def _window(self, block: Block) -> list[DriftAlert]:
        s, limits = self.state, self.limits
        full, s.window = s.window, Tally()
        s.latest, s.wide, s.long = full, s.wide + full, s.long + full
        told = self._judge(
            self._regular(full, limits), self._regular(full, _weaker(limits)), full, block, "window", settle=True
        )
        if any(alert.status == "resolved" for alert in told):
            s.wide = s.long = Tally()  # what they hold of it is over, and was told
        self._learn(full)
        if s.wide.looked_at >= limits.wide:
            wide, s.wide = s.wide, Tally()
            told += self._judge_many(wide, block, "wide")
        if s.long.looked_at >= limits.long and s.long.end - s.long.begin >= WEEK * HOUR:
            long, s.long = s.long, Tally()
            told += self._judge_many(long, block, "long")
        return told

    def _adwin(self, tally: Tally, block: Block) -> list[DriftAlert]:
        s, seen = self.state, tally.sums.get(DISTANCE)
        reference = self.known.sums.get(DISTANCE)
        if seen is None or reference is None or reference.std <= 0.0:
            return []
        s.pending = s.pending + seen
        if s.pending.n < BLOCK:
            return []
        mean, s.pending = s.pending.mean, Sums()
        changed = self._watch.update(mean)
        s.means = self._watch.means
        if changed is None:
            return []
        found = detectors.level(DISTANCE, changed[1], max(BLOCK, s.window.looked_at), reference, self.limits)
        return self._judge(found, [], s.window, block, "window", settle=False)

    def _gross(self, tally: Tally) -> list[Finding]:
        effect = self.limits.psi_gross
        gross = detectors.shifts(tally, self.known, self.limits, effect=effect, mix=effect)
        return gross + self._gaps(tally, self.limits)

    def _judge_many(self, tally: Tally, block: Block, pace: Pace) -> list[DriftAlert]:
        """Small moves, which only many events show."""
        found, weak = (
            [
                *detectors.shifts(tally, self.known, some, effect=some.psi_long, mix=min(some.psi_long, some.psi_mix)),
                *detectors.relations(tally, self.known, some),
            ]
            for some in (self.limits, _weaker(self.limits))
        )
        return self._judge(found, weak, tally, block, pace, settle=True)

    def _regular(self, tally: Tally, limits: Thresholds) -> list[Finding]:
        known = self.known
        found = detectors.shifts(tally, known, limits, effect=limits.psi, mix=limits.psi_mix)
        found += detectors.relations(tally, known, limits)
        found += self._gaps(tally, limits)
        found += detectors.levels(tally, known, limits)
        if (usual := self._usual("flips")) is not None and tally.looked_at:
            found += detectors.rate("flips", tally.flips, max(tally.flips, tally.events), usual, limits.flips)
        return found

    def _gaps(self, tally: Tally, limits: Thresholds) -> list[Finding]:
        found = detectors.gaps(tally, self.known, limits)
        for name, seen in tally.fields.items():
            if (usual := self._usual(name)) is not None:
                found += [
                    msgspec.structs.replace(one, feature=name)
                    for one in detectors.rate("nulls", seen.hits, seen.n, usual, limits.nulls)
                ]
        usual = self._usual("invalid") or 0.0
        return found + detectors.rate("invalid", tally.invalid, max(tally.events, tally.invalid), usual, limits.invalid)

    def _usual(self, name: str) -> float | None:
        seen = self.state.learnt.get(name)
        return seen.hits / seen.n if seen is not None and seen.n >= LEARN else None

    def _learn(self, tally: Tally) -> None:
        """From windows that show nothing: what is normal where no reference tells."""
        if self.state.incidents.open:
            return
        seen = {"flips": Hits(hits=tally.flips, n=tally.events), "invalid": Hits(hits=tally.invalid, n=tally.events)}
        for name, one in {**seen, **tally.fields}.items():
            total = self.state.learnt.get(name, Hits()) + one
            if total.n > FORGET:
                total = Hits(hits=total.hits // 2, n=total.n // 2)
            self.state.learnt[name] = total

    def _judge(
        self, found: list[Finding], weak: list[Finding], tally: Tally, block: Block, pace: Pace, *, settle: bool
    ) -> list[DriftAlert]:
        s, needs = self.state, self.known.needs
        steps: list[Step] = []
        if found:
            found = self._explained(found, tally)
            steps += s.incidents.note(
                found, where=f"{block.block_id}:{pace}", model_id=s.model_id, needs=needs,
                first_seen=tally.begin or s.clock, now=s.clock, pace=pace,
            )  # fmt: skip
        if settle:
            shown = {one.key for one in (*found, *weak)}
            steps += s.incidents.settle(shown, pace, s.clock, self._cooldown, self.limits, needs)
        return [words.alert(step, self._context(step.incident, tally), s.clock, self._cooldown) for step in steps]

    def _explained(self, found: list[Finding], tally: Tally) -> list[Finding]:
        """Where only consequences are seen: with them the features that have moved by more than chance, though not enough to speak."""
        if not all(one.signal in CONSEQUENCES for one in found):
            return found
        moved = detectors.shifts(tally, self.known, self.limits, effect=0.0, mix=0.0)
        return found + [one for one in moved if one.signal == "feature"]

    def _context(self, incident: Incident, tally: Tally) -> words.Context:
        known = self.state.baselines.get(incident.model_id, self.known)
        return words.Context(
            known=known, tally=tally if incident.model_id == self.state.model_id else Tally(end=tally.end)
        )

    def standing(self) -> Standing:
        """How things are, for people."""
        s = self.state
        open_ones = tuple(
            OpenAlert(
                alert_id=one.alert_id, level=one.level, signal=one.lead.signal, feature=one.lead.feature or None,
                first_seen=rfc3339(one.first_seen),
            )
            for one in s.incidents.open
        )  # fmt: skip
        return Standing(
            model_id=s.model_id, at=rfc3339(s.clock), blocks=s.blocks, known=self.known, latest=s.latest, open=open_ones,
            effect=self.limits.psi, mix_effect=self.limits.psi_mix, window=s.window.looked_at,
        )  # fmt: skip


def _is_full(tally: Tally, size: int) -> bool:
    return max(tally.looked_at, tally.invalid, tally.features[MIX].n if MIX in tally.features else 0) >= size


def _weaker(limits: Thresholds) -> Thresholds:
    return msgspec.structs.replace(
        limits, psi=WEAK * limits.psi, psi_mix=WEAK * limits.psi_mix, psi_long=WEAK * limits.psi_long, shift=WEAK * limits.shift, nulls=WEAK * limits.nulls,
        unseen=WEAK * limits.unseen, invalid=WEAK * limits.invalid, flips=WEAK * limits.flips, relation=WEAK * limits.relation,
    )  # fmt: skip
