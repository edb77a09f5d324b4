"""Each gate says its threshold, the value and a verdict; a retraining that nobody asked to be different must not move many."""

from __future__ import annotations

import msgspec
import pytest

from batch_trainer.choose import Candidate, fixed
from batch_trainer.gates import MOVED, NAMES, Gate, failing, gates, named
from batch_trainer.migration import Migration, golden, migration, tallied
from batch_trainer.recipes import RECIPES
from schemas.artifact import PROSPECT, Artifact, model_id
from schemas.features import BEHAVIOUR, Facts, available
from schemas.model import Model
from tests.schemas.models import artifact, model

RECIPE = RECIPES["behaviour"]
CHOICE = fixed([Candidate(k=3, sse=1.0, smallest_share=0.3, stability=0.9)], 3, "3 were asked for")


def good() -> Artifact:
    return msgspec.structs.replace(artifact(), recipe="behaviour", rows=1000)


def active(found: Artifact | None = None) -> Model:
    found = found or good()
    return Model(found, model_id(found))


def moves(moved: int) -> Migration:
    return Migration(before=(), after=(), matrix=(), names={}, customers=100, moved=moved, shifts={})


def verdicts(found: tuple[Gate, ...]) -> dict[str, str]:
    return {gate.name: gate.verdict for gate in found if gate.verdict != "holds"}


def test_a_good_model_passes_every_gate() -> None:
    found = gates(good(), RECIPE, CHOICE, active(), moves(1))
    assert verdicts(found) == {}
    assert failing(found) == ""
    assert tuple(gate.name for gate in found) == NAMES
    assert len(set(NAMES)) == 10
    assert all(gate.meaning for gate in found)


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"rows": 49}, "rows"),
        ({"rows": 2}, "customers_per_segment"),
        ({"explained_variance": (0.3, 0.2)}, "explained_variance"),
        ({"bias": (float("nan"), 0.0)}, "finite"),
        ({"bias": (0.2, 0.0)}, "golden_rows"),
        ({"segments": tuple(msgspec.structs.replace(s, share=0.001) for s in artifact().segments)}, "smallest_segment_share"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_gate_holds_back_what_it_is_for(change: dict[str, object], gate: str) -> None:
    found = gates(msgspec.structs.replace(good(), **change), RECIPE, CHOICE)
    assert verdicts(found)[gate] == "fails"
    assert gate in failing(found)


def test_an_unstable_choice_is_a_warning_not_a_ban() -> None:
    shaky = msgspec.structs.replace(CHOICE, stable=False)
    assert verdicts(gates(good(), RECIPE, shaky)) == {"stability": "warns"}
    low = fixed([Candidate(k=3, sse=1.0, smallest_share=0.3, stability=0.4)], 3, "asked for")
    assert verdicts(gates(good(), RECIPE, low)) == {"stability": "warns"}


def test_a_retraining_that_moves_many_is_held_back_unless_it_was_asked_to_be_different() -> None:
    many = moves(int(100 * MOVED) + 1)
    assert verdicts(gates(good(), RECIPE, CHOICE, active(), many)) == {"moved_share": "fails"}
    assert verdicts(gates(good(), RECIPE, CHOICE, active(), many, k=3)) == {"moved_share": "fails"}, "3 as before"
    fewer = msgspec.structs.replace(good(), centroids=good().centroids[:2], segments=good().segments[:2])
    assert verdicts(gates(good(), RECIPE, CHOICE, active(fewer), many, k=3)) == {"moved_share": "warns"}
    other = msgspec.structs.replace(good(), recipe="article")
    assert verdicts(gates(good(), RECIPE, CHOICE, active(other), many)) == {"moved_share": "warns"}


def test_a_waived_gate_is_told_and_holds_nothing_back() -> None:
    many = moves(int(100 * MOVED) + 1)
    waived = named("moved_share,stability")
    found = gates(good(), RECIPE, CHOICE, active(), many, waived=waived)
    assert verdicts(found) == {"moved_share": "waived"}
    assert failing(found) == ""
    assert failing(found, "waived").startswith("moved_share: 0.26, needs at most 0.25")
    assert verdicts(gates(good(), RECIPE, CHOICE, active(), moves(0), waived=waived)) == {}
    small = msgspec.structs.replace(good(), rows=49)
    assert verdicts(gates(small, RECIPE, CHOICE, active(), many, waived=waived))["rows"] == "fails"
    with pytest.raises(ValueError, match=r"no gate move_share; there are rows, .*moved_share"):
        named("move_share")


def test_the_same_recipe_with_other_features_is_held_back() -> None:
    spec = available(BEHAVIOUR, {"orders", "spend"})
    other = msgspec.structs.replace(good(), spec=spec, spec_hash=spec.hash())
    assert verdicts(gates(good(), RECIPE, CHOICE, active(other), moves(0))) == {"same_features": "fails"}
    switched = msgspec.structs.replace(other, recipe="article")
    assert verdicts(gates(good(), RECIPE, CHOICE, active(switched), moves(0))) == {"same_features": "warns"}


def test_a_migration_counts_every_customer_once() -> None:
    before, after = model(), model(shift=0.5)
    rows = [Facts(placed_orders=n, orders=n, spend=n * 1500, categories=n % 5) for n in range(60)]
    found = migration(before, after, rows)
    olds, news = before.assign_many(rows), after.assign_many(rows)
    assert found.customers == 59, "the one without orders is a prospect by both"
    assert PROSPECT not in found.before
    assert found.moved == sum(a != b for a, b in zip(olds, news, strict=True)) > 0
    for i, old in enumerate(found.before):
        for j, new in enumerate(found.after):
            assert found.matrix[i][j] == list(zip(olds, news, strict=True)).count((old, new))
    assert migration(before, before, rows).moved == 0
    assert tallied(before, after, iter([rows[:7], [], rows[7:]])) == found, "in batches as at once"
    assert golden(before, after) == [before.artifact.golden[0].facts]
