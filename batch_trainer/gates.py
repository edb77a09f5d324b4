"""What a model must reach before it is published: each gate says its threshold, the value found and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from batch_trainer.choose import UNSTABLE, Choice
from batch_trainer.migration import Migration
from batch_trainer.recipes import Recipe
from schemas.artifact import Artifact, RejectedModel
from schemas.model import Model
from schemas.sealed import check
from schemas.times import DAY, to_micros


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One condition for publishing."""

    name: str
    threshold: Any
    value: Any
    holds: bool
    meaning: str
    """What is looked at and what to do where it does not hold."""
    bound: Literal["at least", "at most", "not after", ""] = ""
    """How the value must stand to the threshold; empty: be it."""
    blocks: bool = True
    """Whether the model must not be published where it does not hold; else it is a warning."""
    waived: bool = False
    """Whether it was said beforehand that it need not hold."""

    @property
    def verdict(self) -> str:
        """In one word: `holds`, `warns`, `waived` or `fails`."""
        if self.holds:
            return "holds"
        return "warns" if not self.blocks else "waived" if self.waived else "fails"


NAMES: Final = (
    "rows",
    "customers_per_segment",
    "finite",
    "smallest_segment_share",
    "explained_variance",
    "dates",
    "stability",
    "same_features",
    "moved_share",
    "golden_rows",
)
"""Every gate, in order."""

MOVED: Final = 0.25
"""More than this share of the customers must not move by a retraining that nobody asked to be different."""


def gates(
    artifact: Artifact,
    recipe: Recipe,
    choice: Choice,
    active: Model | None = None,
    moves: Migration | None = None,
    k: int | None = None,
    waived: Collection[str] = (),
) -> tuple[Gate, ...]:
    """All gates of a fitted model; `moves` is the migration from the `active` model, `k` the number of segments asked for, `waived` the names
    of the gates that need not hold."""
    count = len(artifact.centroids)
    least_rows = max(50, 10 * count)
    share = min(segment.share for segment in artifact.segments)
    variance = math.fsum(artifact.explained_variance)
    found = (
        Gate(
            name="rows",
            threshold=least_rows,
            bound="at least",
            value=artifact.rows,
            holds=artifact.rows >= least_rows,
            meaning="customers learnt from, at least 50 and 10 per segment; wait for more or ask for fewer segments",
        ),
        Gate(
            name="customers_per_segment",
            threshold=count,
            bound="at least",
            value=artifact.rows,
            holds=artifact.rows >= count,
            meaning="not fewer customers than segments; ask for fewer segments",
        ),
        _finite(artifact),
        Gate(
            name="smallest_segment_share",
            threshold=recipe.least_share,
            bound="at least",
            value=share,
            holds=share >= recipe.least_share,
            meaning="share of customers of the smallest segment; a smaller one is likely a few outliers: ask for fewer segments",
        ),
        Gate(
            name="explained_variance",
            threshold=recipe.least_variance,
            bound="at least",
            value=variance,
            holds=variance >= recipe.least_variance,
            meaning="share of the variance that the projection keeps; check the features for noise",
        ),
        _dates(artifact),
        _stability(choice),
        _same_features(artifact, active),
        _moved(artifact, active, moves, k),
        _golden(artifact),
    )
    return tuple(msgspec.structs.replace(gate, waived=gate.name in waived) for gate in found)


def named(text: str) -> frozenset[str]:
    """The gates of a list with commas. Raises ValueError where there is no such gate.

    >>> sorted(named("stability, moved_share")), named("")
    (['moved_share', 'stability'], frozenset())
    """
    wanted = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := sorted(wanted - frozenset(NAMES)):
        raise ValueError(f"there is no gate {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return wanted


def failing(found: Sequence[Gate], verdict: str = "fails") -> str:
    """The gates that forbid publishing (or have another verdict), in words; empty where none does.

    >>> failing([Gate(name="rows", threshold=50, bound="at least", value=12, holds=False, meaning="customers learnt from")])
    'rows: 12, needs at least 50 (customers learnt from)'
    """
    return "; ".join(
        f"{g.name}: {_short(g.value)}, needs {f'{g.bound} {_short(g.threshold)}'.strip()} ({g.meaning})"
        for g in found
        if g.verdict == verdict
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finite(artifact: Artifact) -> Gate:
    values = [*artifact.bias, *artifact.explained_variance, *(v for row in artifact.centroids for v in row)]
    values += [v for term in artifact.numbers for v in (term.default, *term.weights)]
    values += [v for term in artifact.categories for row in (term.unseen, *term.table.values()) for v in row]
    wrong = sum(not math.isfinite(value) for value in values)
    return Gate(
        name="finite",
        threshold=0,
        value=wrong,
        holds=wrong == 0,
        meaning="parameters that are not finite numbers; look for a broken column",
    )


def _dates(artifact: Artifact) -> Gate:
    return Gate(
        name="dates",
        threshold=artifact.trained_at,
        bound="not after",
        value=artifact.data_until,
        # A day of grace for time stamps without a zone.
        holds=_at(artifact.data_until) <= _at(artifact.trained_at) + DAY,
        meaning="the last order is not in the future; look for mistyped dates or a wrong zone in the source",
        blocks=False,
    )


def _at(text: str) -> int:
    return to_micros(datetime.fromisoformat(text))


def _stability(choice: Choice) -> Gate:
    value = choice.chosen().stability
    return Gate(
        name="stability",
        threshold=UNSTABLE,
        bound="at least",
        value="not measured" if value is None else value,
        holds=choice.stable is not False and (value is None or value >= UNSTABLE),
        meaning=(
            "agreement of segments learnt from either half of the customers, and the evidence that there are segments at all; "
            "without it the segments are a way to divide customers, not kinds of customers"
        ),
        blocks=False,
    )


def _same_features(artifact: Artifact, active: Model | None) -> Gate:
    hash_ = None if active is None else active.artifact.spec_hash
    return Gate(
        name="same_features",
        threshold=hash_ or "no active model",
        value=artifact.spec_hash,
        holds=active is None or hash_ == artifact.spec_hash,
        meaning="the features that distance is measured by are those of the active model; if a column has gone from the source, bring it back",
        # Another recipe was asked for; the same recipe with other features has lost (or won) a column on its way.
        blocks=active is not None and active.artifact.recipe == artifact.recipe,
    )


def _moved(artifact: Artifact, active: Model | None, moves: Migration | None, k: int | None) -> Gate:
    share = None if moves is None else moves.share
    asked = active is not None and (
        active.artifact.recipe != artifact.recipe or (k is not None and k != len(active.segments))
    )
    return Gate(
        name="moved_share",
        threshold=MOVED,
        bound="at most",
        value="no active model" if share is None else share,
        holds=share is None or share <= MOVED,
        meaning="share of customers who would change segment by the model alone; see the report for who goes where before publishing",
        blocks=not asked,
    )


def _golden(artifact: Artifact) -> Gate:
    try:
        check(artifact)
    except RejectedModel as error:
        reason = str(error)
    else:
        reason = ""
    return Gate(
        name="golden_rows",
        threshold="every reader's check",
        value=reason or "accepted",
        holds=not reason,
        meaning=f"the checks a worker makes on loading, {len(artifact.golden)} golden rows among them; a failure is a defect of the trainer",
    )
