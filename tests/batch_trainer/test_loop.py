"""When the loop trains, what a candidate must show, and when it is taken back: laws on values alone."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_trainer.gates import failing
from batch_trainer.loop import alerts, judge
from batch_trainer.loop.alerts import Alert, Sign, still_open
from batch_trainer.loop.decide import (
    ATTEMPTS,
    Activate,
    Record,
    Rest,
    RollBack,
    Seen,
    Train,
    Withdraw,
    activated,
    attempted,
    decide,
    nominated,
)
from batch_trainer.loop.state import SECOND, Policy, Request, Run, State
from schemas.changes import DriftAlert, encode
from schemas.registry import Candidate
from schemas.settings import Settings
from schemas.shadow import Look, compare
from schemas.vitals import Vitals, rates
from tests.schemas.models import model

NOW = 1_770_000_000 * SECOND
POLICY = Policy.of(Settings(trainer_max_age=0, shadow_sample=10, shadow_seconds=60, shadow_timeout=600))
ACTIVE = model()
OTHER = model(shift=-1.0)
ASKED = Request(request_id="q-1", reason="after the sale", by="ann", at=1)


def alert(signal: str, level: str = "drift", **more: object) -> Alert:
    name = f"{signal}:{more.get('feature')}"
    return Alert(alert_id=name, signal=signal, level=level, model_id=ACTIVE.id, **more)  # type: ignore[arg-type]


DISTANCE, ORDERS, SPEND = (
    Sign(signal="log_distance"),
    Sign(signal="feature", feature="orders"),
    Sign(signal="feature", feature="gross_spend"),
)


def seen(*found: Alert, **more: object) -> Seen:
    return Seen(active=ACTIVE.id, model=ACTIVE, alerts=found, **more)  # type: ignore[arg-type]


def begun(phase: str = "training", **more: object) -> State:
    run = Run(
        run_id="r-1", reasons=(), started_at=NOW, since=NOW, base=ACTIVE.id, candidate=OTHER.id, phase=phase, **more
    )  # type: ignore[arg-type]
    return State(run=run)


def looks(moved: int, stayed: int, farther: float = 1.0) -> list[Look]:
    return [Look("s1", "s2", 1.0, farther)] * moved + [Look("s1", "s1", 1.0, farther)] * stayed


@pytest.mark.parametrize(
    ("found", "trains"),
    [
        ([alert("log_distance")], True),
        ([alert("segment_mix")], True),
        ([alert("log_distance", "warning")], False),
        ([alert("feature", feature="orders")], False),
        ([alert("feature", feature="orders", evidence=(ORDERS, DISTANCE))], False),
        ([alert("feature", feature="orders", evidence=(ORDERS, SPEND, DISTANCE))], True),
        ([alert("feature", "warning", feature="orders"), alert("feature", "warning", feature="gross_spend")], True),
        ([alert("nulls", feature="orders", evidence=(ORDERS, SPEND, DISTANCE))], False),
        ([alert("unseen", "warning", feature="brand", statistic=0.05)], True),
        ([alert("unseen", feature="brand", statistic=0.01)], False),
        ([alert("event_rate")], False),
        ([msgspec.structs.replace(alert("log_distance"), model_id="m-old")], False),
    ],
)
def test_distance_mix_several_features_and_unseen_values_are_answered_by_training(
    found: list[Alert], trains: bool
) -> None:
    action = decide(State(), seen(*found), POLICY, NOW)
    assert isinstance(action, Record if trains else Rest)
    if isinstance(action, Record):
        assert action.state.run is not None
        assert action.state.run.reasons[0].source in {one.alert_id for one in found}
        assert [event.action for event in action.state.untold] == ["training-started"]


def test_alerts_are_read_with_and_without_a_lifecycle() -> None:
    old = DriftAlert(
        alert_id="a", level="drift", signal="log_distance", model_id=ACTIVE.id, direction="up", partition=0, statistic=2.0,
        reference_mean=0.0, reference_std=1.0, n=50, event_time="", raised_at="", cooldown_until="", message="farther", suggested_action="",
    )  # fmt: skip
    data = msgspec.json.decode(encode(old)) | {"status": "opened"}
    data.pop("partition", None)
    richer = [alerts.decode(msgspec.json.encode(data | {"status": s})) for s in ("opened", "escalated", "resolved")]
    plain = alerts.decode(encode(old))
    assert plain is not None
    assert [one.alert_id for one in still_open([plain])] == ["a"]
    assert [one.status for one in still_open([one for one in richer[:2] if one])] == ["escalated"]
    assert still_open([one for one in richer if one]) == ()
    assert alerts.decode(b"[" * 100_000) is None


def test_without_being_asked_the_gap_is_kept_and_by_hand_it_is_not() -> None:
    waiting = State(not_before=NOW + 1)
    assert isinstance(decide(waiting, seen(alert("log_distance")), POLICY, NOW), Rest)
    assert isinstance(decide(waiting, seen(alert("log_distance")), POLICY, NOW + 1), Record)
    asked = decide(waiting, seen(requests=(ASKED,)), POLICY, NOW)
    assert isinstance(asked, Record)
    assert asked.answered == (ASKED.request_id,)
    assert asked.state.not_before == NOW + POLICY.min_gap


def test_an_old_model_a_schedule_and_no_model_at_all_are_reasons() -> None:
    trained = 1_767_225_600 * SECOND  # the test model's 2026-01-01
    old = msgspec.structs.replace(POLICY, max_age=30 * 86_400 * SECOND)
    assert isinstance(decide(State(), seen(), old, trained + old.max_age), Rest)
    assert isinstance(decide(State(), seen(), old, trained + old.max_age + 1), Record)
    often = msgspec.structs.replace(POLICY, schedule=3600 * SECOND)
    assert isinstance(decide(State(trained_at=NOW - often.schedule + 1), seen(), often, NOW), Rest)
    assert isinstance(decide(State(trained_at=NOW - often.schedule), seen(), often, NOW), Record)
    assert isinstance(decide(State(), Seen(), POLICY, NOW), Record)


@given(st.integers(0, 10**9), st.sampled_from(["training", "shadowing", "activating", "refusing", "probation"]))
def test_while_a_run_is_under_way_nothing_starts_another(later: int, phase: str) -> None:
    asked = replace(seen(alert("log_distance"), requests=(ASKED,)), active=ACTIVE.id)
    action = decide(begun(phase), asked, POLICY, NOW + later)
    assert not (isinstance(action, Record) and action.answered)
    if isinstance(action, Record) and action.state.run is not None:
        assert action.state.run.run_id == "r-1"


def test_a_training_that_never_ends_is_given_up_and_one_that_has_published_is_not_repeated() -> None:
    state = begun()
    for _ in range(ATTEMPTS):
        action = decide(state, seen(), POLICY, NOW)
        assert isinstance(action, Train)
        state = attempted(state, action.run)
    abandoned = decide(state, seen(), POLICY, NOW)
    assert isinstance(abandoned, Record)
    assert abandoned.state.run is None
    assert [event.action for event in abandoned.state.untold] == ["training-abandoned"]
    there = Candidate(model_id=OTHER.id, run_id="r-1", base=ACTIVE.id, at=NOW)
    found = decide(state, seen(candidate=there), POLICY, NOW)
    assert isinstance(found, Record)
    assert found.state.run is not None
    assert found.state.run.phase == "shadowing"


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.2, 5.0), st.integers(0, 1000))
def test_a_candidate_is_activated_only_where_every_gate_holds(
    moved: int, stayed: int, farther: float, waited: int
) -> None:
    comparison = compare(looks(moved, stayed, farther))
    state = begun("shadowing")
    action = decide(state, seen(comparison=comparison, shadowed=OTHER), POLICY, NOW + waited * SECOND)
    good = (
        moved + stayed >= 10
        and moved <= 0.25 * (moved + stayed)
        and comparison.log_distance_after <= 0.25 + comparison.log_distance_before
    )
    if isinstance(action, Rest):
        assert waited < 60 or moved + stayed < 10
        return
    assert isinstance(action, Record)
    assert action.state.run is not None
    assert (action.state.run.phase == "activating") == (good and waited >= 60)
    follow = decide(action.state, seen(), POLICY, NOW)
    assert isinstance(follow, Activate if action.state.run.phase == "activating" else Withdraw)
    told = action.state.untold[-1]
    assert told.action == "shadow-compared"
    assert told.details["comparison"]["customers"] == moved + stayed


def test_a_candidate_is_refused_when_another_model_was_activated_meanwhile() -> None:
    state = begun("shadowing")
    action = decide(state, replace(seen(), active="m-another"), POLICY, NOW)
    assert isinstance(action, Record)
    assert action.state.run is not None
    assert action.state.run.phase == "refusing"
    assert "m-another" in action.state.run.verdict


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.floats(0, 9), st.floats(0, 9))))
def test_a_comparison_does_not_depend_on_the_order_of_its_customers(rows: list[tuple[str, str, float, float]]) -> None:
    found = compare(Look(*row) for row in rows)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert compare(Look(*row) for row in shuffled) == found
    assert sum(pair.customers for pair in found.matrix) == found.customers == len(rows)
    assert found.moved == sum(a != b for a, b, *_ in rows)


def one(worker: str = "a", **more: object) -> Vitals:
    return Vitals(worker=worker, at=NOW, model_id=OTHER.id, **more)  # type: ignore[arg-type]


BEFORE, SWITCHED = one(events=0), one(events=1000, changes=50, dead_letters=1)


@pytest.mark.parametrize(
    ("report", "worse"),
    [
        (one(events=2000, changes=100, dead_letters=2), ""),
        (one(events=2000, changes=350, dead_letters=1), "changed segment"),
        (one(events=2000, changes=100, dead_letters=40), "dead letters"),
        (one(events=2000, changes=100, dead_letters=10, faults=9), "decisions failed"),
        (one(events=1050, changes=100, dead_letters=40), ""),
        (one(events=2000, changes=100, unready_for=61.0), "not been ready"),
        (one(events=2000, changes=100, unready_for=59.0), ""),
        (one(events=1001, changes=50, refused_id=OTHER.id, refused="golden row 3"), "golden row 3"),
        (one(events=10, changes=1), ""),
    ],
)
def test_health_that_has_become_worse_takes_the_model_back(report: Vitals, worse: str) -> None:
    state = begun("probation", before=(BEFORE,), switched=(SWITCHED,))
    action = decide(state, replace(seen(vitals=(report,)), active=OTHER.id), POLICY, NOW + 100 * SECOND)
    if not worse:
        assert isinstance(action, Rest)
        return
    assert isinstance(action, Record)
    assert action.state.run is not None
    assert worse in action.state.run.verdict
    assert isinstance(decide(action.state, seen(), POLICY, NOW), RollBack)


def test_workers_that_all_fall_silent_take_the_model_back_and_time_confirms_it() -> None:
    state = begun("probation", before=(BEFORE,), switched=(SWITCHED,))
    world = replace(seen(), active=OTHER.id)
    assert isinstance(decide(state, world, POLICY, NOW + 59 * SECOND), Rest)
    silent = decide(state, world, POLICY, NOW + 61 * SECOND)
    assert isinstance(silent, Record)
    assert silent.state.run is not None
    assert silent.state.run.phase == "rolling-back"
    fine = decide(state, replace(world, vitals=(SWITCHED,)), POLICY, NOW + POLICY.rollback_within)
    assert isinstance(fine, Record)
    assert fine.state.run is None
    assert fine.state.untold[-1].action == "confirmed"
    by_hand = decide(state, replace(world, active="m-by-hand"), POLICY, NOW)
    assert isinstance(by_hand, Record)
    assert by_hand.state.run is None


def test_a_worker_that_starts_anew_counts_from_zero() -> None:
    again = one(events=30, changes=2)
    assert rates((one(events=1000, changes=90),), (again, one("b", events=5))).events == 35


def test_the_same_step_has_the_same_id_however_often_it_is_decided() -> None:
    first, second = (decide(State(), seen(alert("segment_mix")), POLICY, NOW) for _ in range(2))
    assert first == second
    assert isinstance(first, Record)
    run = first.state.run
    assert run is not None
    entry = Candidate(model_id=OTHER.id, run_id=run.run_id, base=ACTIVE.id, at=NOW)
    told = activated(nominated(first.state, run, entry, (), NOW), run, NOW).untold
    assert [event.event_id for event in told] == [
        f"{run.run_id}:{step}" for step in ("training-started", "candidate-published", "activated")
    ]


def test_a_model_is_measured_by_what_it_has_learnt_itself() -> None:
    """Another scale of distances is no worse a model: only what is far from its own reference is."""
    from schemas.artifact import Reference
    from schemas.model import Model

    def learnt(mean: float, std: float) -> Model:
        made = msgspec.structs.replace(ACTIVE.artifact, reference={"log_distance": Reference(100, mean, std)})
        return Model(made, "m")

    comparison = compare(looks(0, 20, farther=7.0))
    same_place = judge.shadow(comparison, learnt(0.0, 1.0), learnt(1.9459, 1.0), POLICY)
    assert not failing(same_place)
    assert "shadow_distance" in failing(judge.shadow(comparison, learnt(0.0, 1.0), learnt(0.0, 1.0), POLICY))
