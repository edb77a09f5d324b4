"""The drift check: silent while nothing changes, speaks when something does and names it once, and says the same whenever it is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.changes import DriftAlert, Evidence
from schemas.coherence import coherence
from schemas.drift import Baseline, Block, Hits, Hour, Record, Sums, Tally, decode, encode
from schemas.reference import MIX, Bins, Counts, counts, distribution, psi
from stream_app.drift.detectors import Finding, Thresholds
from stream_app.drift.incidents import Incidents
from stream_app.drift.monitor import Monitor, to_bytes
from tests.stream_app.planted import USUAL, Day, Stream, baseline

UNITS = Day(shift={"gross_spend": 30.0}, distance=3.0)
whole = st.integers(0, 10_000)
tallies = st.builds(
    Tally,
    events=whole,
    looked_at=whole,
    invalid=whole,
    flips=whole,
    begin=whole,
    end=whole,
    features=st.dictionaries(
        st.sampled_from(["a", "b"]), st.builds(Counts, bins=st.tuples(whole, whole), nulls=whole, unseen=whole)
    ),
    sums=st.dictionaries(st.just("log_distance"), st.builds(Sums, n=whole, total=st.integers(), squares=whole)),
    fields=st.dictionaries(st.sampled_from(["total", "age"]), st.builds(Hits, hits=whole, n=whole)),
    hours=st.dictionaries(st.integers(1, 3), st.builds(Hour, events=whole, looked_at=whole, late=whole)),
)


@given(tallies, tallies, tallies)
@settings(max_examples=50)
def test_tallies_merge_in_any_order(a: Tally, b: Tally, c: Tally) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Tally() == a


def told(records: Iterable[Record], monitor: Monitor | None = None) -> list[DriftAlert]:
    monitor = monitor or Monitor()
    return [alert for record in records for alert in monitor.fold(record)]


def story(*parts: tuple[int, Day], seed: int = 1) -> list[Record]:
    stream = Stream(seed)
    return [baseline(), *(block for events, day in parts for block in stream.blocks(events, day))]


def test_a_steady_stream_raises_no_alert() -> None:
    assert told(story((200_000, USUAL))) == []


@pytest.mark.parametrize(
    ("day", "signal", "feature", "within"),
    [
        (Day(shift={"categories": 0.5}), "feature", "categories", 2_500),
        (UNITS, "feature", "gross_spend", 500),
        (Day(nulls={"country": 0.9}), "nulls", "country", 500),
        (Day(new_label=0.05), "unseen", "country", 2_500),
        (Day(distance=0.5), "log_distance", None, 2_500),
        (Day(invalid=0.2), "invalid", None, 500),
    ],
    ids=["half a sigma", "wrong unit", "a field goes null", "a new label", "farther from the centres", "unusable"],
)
def test_a_change_is_one_alert_that_names_it(day: Day, signal: str, feature: str | None, within: int) -> None:
    stream = Stream(3)
    monitor = Monitor()
    assert told([baseline(), *stream.blocks(10_000)], monitor) == []
    alerts = told(stream.blocks(within, day), monitor)
    assert {(a.alert_id, a.signal, a.feature) for a in alerts[-1:]} == {(alerts[0].alert_id, signal, feature)}
    assert len({a.alert_id for a in [*alerts, *told(stream.blocks(5_000, day), monitor)]}) == 1
    assert alerts[-1].status in ("opened", "escalated")
    assert alerts[-1].message
    assert alerts[-1].suggested_action


def test_an_alert_shows_what_moved_and_where_to() -> None:
    alert = told(story((10_000, USUAL), (1_000, UNITS)))[0]
    assert alert.level == "drift"
    lead = alert.evidence[0]
    assert (lead.feature, lead.top[0]) == ("gross_spend", lead.bins[-1])
    assert len(lead.bins) == len(lead.reference) == len(lead.current)
    assert alert.affected_share > 0.3
    assert alert.message.startswith("Gross spend")


def test_what_is_shown_as_the_threshold_is_what_speaks() -> None:
    limits = Thresholds(psi=0.3, psi_mix=0.2)
    monitor = Monitor(limits=limits)
    told(story((1_000, USUAL)), monitor)
    standing = monitor.standing()
    assert {look.name: look.threshold for look in standing.looks()} == {
        name: 0.2 if name == MIX else 0.3 for name in standing.known.features
    }


def test_an_alert_is_resolved_when_three_windows_are_clean_and_opens_anew_after_that() -> None:
    alerts = told(story((10_000, USUAL), (3_000, UNITS), (6_000, USUAL), (3_000, UNITS)))
    ids = list(dict.fromkeys(a.alert_id for a in alerts))
    assert len(ids) == 2
    first = [a.status for a in alerts if a.alert_id == ids[0]]
    assert (first[0], first[-1], first.count("resolved")) == ("opened", "resolved", 1)


def test_a_new_model_ends_what_was_found_of_customers_and_is_held_against_what_goes_on() -> None:
    stream, broken = Stream(1), Day(shift=UNITS.shift, distance=UNITS.distance, invalid=0.2)
    monitor = Monitor()
    before = told([baseline(), *stream.blocks(10_000), *stream.blocks(2_000, broken)], monitor)
    assert {a.signal for a in before} == {"feature", "invalid"}
    over = told([baseline("m-2")], monitor)
    assert [(a.signal, a.status, a.model_id) for a in over] == [("feature", "resolved", "m-1")]
    assert "m-2" in over[0].message
    stream.model_id = "m-2"
    after = [a for a in told(stream.blocks(2_000, broken), monitor) if a.signal == "feature"]
    assert {(a.status, a.model_id) for a in after[:1]} == {("opened", "m-2")}
    assert {a.alert_id for a in after}.isdisjoint(a.alert_id for a in before)


def test_a_small_move_of_those_who_share_a_value_is_seen() -> None:
    rng = np.random.default_rng(1)
    rates = np.where(rng.random(20_000) < 0.7, 0.0, rng.uniform(0.3, 1.0, 20_000))
    known = distribution(rates.tolist(), np.ones(20_000))
    assert known is not None
    assert psi(known, counts(known, (rates[:1000] + 0.1).tolist())) > 0.25
    assert psi(known, counts(known, rates[:1000].tolist())) < 0.05


def test_another_break_while_an_alert_is_open_is_an_alert_of_its_own() -> None:
    both = Day(shift=UNITS.shift, distance=UNITS.distance, nulls={"country": 0.9})
    alerts = told(story((10_000, USUAL), (6_000, UNITS), (2_000, both)))
    assert [(a.signal, a.feature) for a in alerts if a.status == "opened"] == [
        ("feature", "gross_spend"),
        ("nulls", "country"),
    ]


def test_folding_the_topic_again_tells_the_same_alerts() -> None:
    records = story((10_000, USUAL), (3_000, UNITS), (6_000, USUAL))
    first = told(decode(encode(record)) for record in records)
    assert told(records) == first
    assert len({a.event_id for a in first}) == len(first)


@pytest.mark.parametrize("at", [1, 7, 90, 103, 150])
def test_a_new_owner_goes_on_from_the_state_that_was_kept(at: int) -> None:
    records = story((4_000, USUAL), (2_000, UNITS), (4_000, USUAL))
    before = Monitor()
    alerts = told(records[:at], before)
    after = Monitor.from_bytes(to_bytes(before.state), before.limits, 3_600_000_000)
    assert alerts + told(records[at:], after) == told(records)


def test_blocks_that_come_twice_count_once() -> None:
    records = story((10_000, USUAL), (3_000, UNITS))
    twice = [record for record in records for _ in range(2)]
    monitor, again = Monitor(), Monitor()
    assert told(twice, again) == told(records, monitor)
    assert again.state.skipped == len(records) - 1
    assert msgspec.structs.replace(again.state, skipped=0) == monitor.state


def test_blocks_of_a_model_that_is_no_longer_in_use_say_nothing() -> None:
    stream, old = Stream(1), Stream(2, model_id="m-0")
    old.offset = 1_000
    monitor = Monitor()
    told([baseline("m-0"), baseline(), *stream.blocks(1_000)], monitor)
    assert told((msgspec.structs.replace(b, partition=1) for b in old.blocks(3_000, UNITS)), monitor) == []


def test_a_model_without_distributions_is_silent() -> None:
    bare = msgspec.structs.replace(baseline(), features={}, sums={})
    stream = Stream(1)
    assert told([bare, *stream.blocks(3_000), *stream.blocks(3_000, Day(distance=2.0))]) == []


def test_an_empty_hour_speaks_once_two_weeks_are_known() -> None:
    stream = Stream(1)
    monitor = Monitor()
    told([baseline(), *stream.blocks(3 * 168 * 100)], monitor)
    stream.offset += 300  # three hours without anything
    alerts = told(stream.blocks(200), monitor)
    assert next((a.signal, a.direction, a.status) for a in alerts) == ("event_rate", "down", "opened")
    assert [a.status for a in told(stream.blocks(600), monitor)] == ["resolved"]


def test_a_block_survives_the_topic() -> None:
    block = Stream(1).block()
    assert decode(encode(block)) == block
    assert isinstance(block, Block)


def test_a_worker_starts_without_the_training_libraries() -> None:
    program = (
        "import sys, stream_app.worker; print([m for m in ('sklearn', 'pandas', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    program = "import stream_app.drift.adwin, river.datasets, river.drift.datasets; from river.drift.kswin import KSWIN; print(KSWIN.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "KSWIN", "what was left out can still be had"


def customers(shift: float = 0.0) -> dict[str, np.ndarray]:
    """20,000 of them, who spend about what they order; `shift` moves the number of orders alone."""
    rng = np.random.default_rng(5)
    number, value = rng.normal(0.0, 1.0, 20_000), rng.normal(0.0, 1.0, 20_000)
    spend = 0.65 * (number + value) + rng.normal(0.0, 0.4, 20_000)
    return {"orders": number + shift, "average_order_value": value, "gross_spend": spend}


def leaning(events: int, shift: float, lean: float, seed: int) -> list[Record]:
    """Events of these customers, where who spends much orders more than usual by `lean` standard deviations."""
    usual, now, weights = customers(), customers(shift), np.ones(20_000)
    spend = usual["gross_spend"]
    features = {name: distribution(x.tolist(), weights, spend) for name, x in usual.items()}
    known = {name: one for name, one in features.items() if one is not None}
    places = {name: Bins(one).places(usual[name].tolist()) for name, one in known.items()}
    expected = Baseline(model_id="m-1", features=known, coherence=coherence(places, known, weights))
    often = np.exp(lean * spend)
    drawn = np.random.default_rng(seed).choice(20_000, events, p=often / often.sum())
    records: list[Record] = [expected]
    for first in range(0, events, 50):
        seen = {name: counts(one, now[name][drawn[first : first + 50]].tolist()) for name, one in known.items()}
        tally = Tally(events=50, looked_at=50, begin=first + 1, end=first + 50, features=seen)
        records.append(Block(topic="orders", partition=0, first=first, last=first + 49, model_id="m-1", tally=tally))
    return records


@pytest.mark.parametrize("lean", [-0.3, 0.3])
def test_who_orders_at_an_hour_or_in_a_sale_is_no_alert(lean: float) -> None:
    assert told(leaning(20_000, 0.0, lean, 11)) == []


@pytest.mark.parametrize("lean", [-0.1, 0.0, 0.1])
def test_a_quarter_of_a_sigma_of_one_feature_is_named_whoever_orders(lean: float) -> None:
    alerts = told(leaning(2_000, 0.25, lean, 12))
    assert {(a.signal, a.feature, a.direction) for a in alerts} == {("relation", "orders", "up")}
    assert "than the other features of the same customers lead one to expect" in alerts[0].message
    assert alerts[0].evidence[0].bins


def test_that_another_feature_has_moved_too_is_told_once_and_what_is_computed_from_the_same_facts_is_not() -> None:
    found, needs = (
        Incidents(),
        {"orders": ("orders",), "spend": ("spend",), "basket": ("spend", "orders"), "brands": ("brand",)},
    )

    def feature(name: str) -> Finding:
        return Finding(signal="feature", feature=name, statistic=0.5, threshold=0.1, n=1000, drastic=True)

    def shown(*names: str) -> list[str]:
        steps = found.note(
            [feature(name) for name in names],
            where="w",
            model_id="m-1",
            needs=needs,
            first_seen=0,
            now=0,
            pace="window",
        )
        assert all(step.incident.level == "drift" for step in steps)
        return [step.status for step in steps]

    assert shown("spend") == ["opened"]
    assert shown("spend", "basket") == []
    assert shown("spend", "basket", "brands") == ["escalated"]
    assert shown("spend", "basket", "brands", "orders") == []
    assert len(found.open) == 1


def test_the_step_that_tells_of_several_features_is_not_taken_for_the_one_before() -> None:
    def step(*features: str, status: Literal["opened", "escalated"]) -> str:
        signs = tuple(
            Evidence(signal="feature", feature=name, statistic=0.5, threshold=0.1, n=1, direction="up")
            for name in features
        )
        return DriftAlert(
            alert_id="a-1", level="drift", signal="feature", model_id="m-1", direction="up", partition=-1, statistic=0.5, reference_mean=0.0,
            reference_std=1.0, n=50, event_time="", raised_at="", cooldown_until="", message="", suggested_action="", status=status,
            feature="spend", evidence=signs,
        ).event_id  # fmt: skip

    ids = [
        step("spend", status="opened"),
        step("spend", status="escalated"),
        step("spend", "brands", status="escalated"),
    ]
    assert len(set(ids)) == 3
    assert step("spend", "brands", status="opened") == ids[0]
