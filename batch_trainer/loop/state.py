"""What the loop remembers between its steps: the run that is under way, how far it has come, and what is still to be told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from batch_trainer.loop.alerts import Reason
from schemas.changes import ModelEvent
from schemas.settings import Settings
from schemas.vitals import Vitals

SECOND: Final = 1_000_000
Phase = Literal["training", "shadowing", "activating", "refusing", "probation", "rolling-back"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One way from a reason to a model, or to the reason why there is none."""

    run_id: str
    reasons: tuple[Reason, ...]
    started_at: int
    """Microseconds UTC, as all times here."""
    phase: Phase = "training"
    attempts: int = 0
    """How often a training was begun for it."""
    base: str | None = None
    """The model that was active when the candidate was published."""
    candidate: str = ""
    since: int = 0
    """When its present phase began."""
    verdict: str = ""
    """Why it is activated, refused or rolled back."""
    before: tuple[Vitals, ...] = ()
    """The workers when the shadow began."""
    switched: tuple[Vitals, ...] = ()
    """The workers when the candidate was activated."""

    @property
    def reason(self) -> str:
        """Its reasons in words."""
        return "; ".join(reason.text for reason in self.reasons)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the loop knows, as it stands in Redis."""

    run: Run | None = None
    not_before: int = 0
    """When the next training may start that nobody asks for by hand."""
    trained_at: int = 0
    """When the last run started, for the schedule."""
    untold: tuple[ModelEvent, ...] = ()
    """Steps that `model-events` has not been told of yet."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants a training now."""

    request_id: str
    reason: str
    by: str
    at: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The thresholds; times in microseconds. See the settings of the same names."""

    min_gap: int
    max_age: int
    schedule: int
    sample: int
    shadow_for: int
    shadow_timeout: int
    max_moved: float
    worse_distance: float
    rollback_within: int
    unready: float
    dead_letters: float
    changes: float

    @classmethod
    def of(cls, s: Settings) -> Policy:
        """The policy that the settings describe."""
        return cls(
            min_gap=round(s.trainer_min_gap * SECOND),
            max_age=round(s.trainer_max_age * SECOND),
            schedule=round(s.trainer_schedule * SECOND),
            sample=s.shadow_sample,
            shadow_for=round(s.shadow_seconds * SECOND),
            shadow_timeout=round(max(s.shadow_timeout, s.shadow_seconds) * SECOND),
            max_moved=s.shadow_max_moved,
            worse_distance=s.shadow_worse_distance,
            rollback_within=round(s.rollback_within * SECOND),
            unready=s.rollback_unready,
            dead_letters=s.rollback_dead_letters,
            changes=s.rollback_changes,
        )


def run_id(reasons: Sequence[Reason], now: int) -> str:
    """The id of a run: the same for the same reasons at the same moment."""
    text = f"{now}:" + ";".join(f"{reason.kind}:{reason.source}:{reason.text}" for reason in reasons)
    return "r-" + hashlib.sha256(text.encode()).hexdigest()[:12]


encode: Final = msgspec.json.Encoder().encode


def decode(data: bytes | None) -> State:
    """The state that `encode` wrote; of nothing, the first one."""
    return State() if data is None else msgspec.json.decode(data, type=State)


def builtins(value: Any) -> Any:
    """A value as plain JSON types, for the details of an event."""
    return msgspec.to_builtins(value)
