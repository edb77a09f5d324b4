"""Laws of what is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import api, report, training
from bench.hotpath import verdicts
from bench.report import BEGIN, END, OWN, Verdict, quantile, spread


def engine(rate: float, cpu: float, **more: Any) -> dict[str, Any]:
    """An engine's summary."""
    numbers = {"events_per_s": rate, "cpu_us": cpu, "peak_mib": 100.0, "start_to_first": 1.0}
    counts = dict.fromkeys(("lost", "wrong", "reordered", "duplicated", "states_wrong"), 0)
    return {"label": f"engine {rate:g}", "events": 10, **{k: spread([v]) for k, v in numbers.items()}, **counts, **more}


def hotpath(**engines: dict[str, Any]) -> dict[str, Any]:
    """A part's result."""
    return {
        "part": "hotpath",
        "events": 1000,
        "customers": 50,
        "slice": 10,
        "repetitions": 1,
        "share_of_changes": 0.1,
        "engines": engines,
        "failures": ["quix: ended with 1:\nlog"],
        "verdicts": [verdict.document() for verdict in verdicts(engines)],
    }


def test_a_promise_holds_exactly_when_the_bound_is_met() -> None:
    assert [Verdict.at_least("x", v, 2.0).holds for v in (1.999, 2.0, 2.1)] == [False, True, True]
    assert [Verdict.at_most("x", v, 2.0).holds for v in (1.9, 2.0, 2.001)] == [True, True, False]


def test_what_was_not_measured_stands_in_the_table_as_a_promise_that_does_not_hold() -> None:
    found = api._Found(failures=["the questions failed: 503"])
    part = api._result(api.Plan(), found)
    assert len(part["verdicts"]) == 6
    assert not any(v["holds"] for v in part["verdicts"])
    text = report.markdown(report.document("make bench", [part], "0" * 12, 0.0))
    assert text.count("not measured") == 6
    assert "could not be measured: the questions failed: 503" in text
    assert json.loads(json.dumps(part, allow_nan=False))["verdicts"] == part["verdicts"]


def test_the_promises_compare_with_each_engine_that_took_part() -> None:
    ours = engine(100.0, 20.0)
    made = {
        v.name: v for v in verdicts({"segstream": ours, "aiokafka": engine(110.0, 18.0), "faust": engine(6.0, 300.0)})
    }
    assert made["events/s, as a multiple of engine 110"].holds
    assert not made["events/s, as a multiple of engine 6"].holds, "16.7 times is not 20 times"
    assert not any("engine 7" in name for name in made)
    assert verdicts({"aiokafka": ours}) == []


def test_a_lost_change_or_a_wrong_state_breaks_the_promise() -> None:
    for fault in ("lost", "wrong", "reordered", "states_wrong"):
        made = verdicts({"segstream": engine(100.0, 20.0, **{fault: 1})})
        assert [v.name for v in made if not v.holds] == ["changes lost, wrong or out of order, and states wrong"]


def test_quantiles_are_values_that_were_seen() -> None:
    values = [float(i) for i in range(1, 101)]
    assert quantile(values, 0.5) == 50.0
    assert quantile(values, 0.99) == 99.0
    assert quantile(values, 1.0) == 100.0


def test_the_page_tells_engines_failures_and_broken_promises() -> None:
    part = hotpath(segstream=engine(100.0, 30.0), aiokafka=engine(110.0, 18.0))
    text = report.markdown(report.document("make bench", [part], "abc123", 0.5))
    assert text.index("| engine 110 |") < text.index("| engine 100 |"), "the fastest first"
    assert "could not be measured: quix: ended with 1" in text
    assert "| CPU per event with three products, transport included, us | 30 | <= 25 | **no** |" in text
    assert "make bench" in text
    assert "commit abc123" in text


def test_the_table_goes_between_the_markers_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    report.put_into(page, "new")
    report.put_into(page, "newer")
    assert page.read_text() == f"before\n{BEGIN}\nnewer\n{END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="between"):
        report.put_into(page, "new")


def test_a_part_with_a_place_of_its_own_leaves_the_others_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = (OWN.format(name="training", end=which) for which in ("begin", "end"))
    page.write_text(f"{BEGIN}\nall\n{END}\n{begin}\n{end}\n")
    report.put_into(page, "its own", "training")
    assert page.read_text() == f"{BEGIN}\nall\n{END}\n{begin}\nits own\n{end}\n"


def test_training_promises_its_memory_at_every_size_and_its_sse_where_it_was_compared() -> None:
    mine = {"seconds": 9.0, "in_warehouse": 4.0, "peak_mb": 900.0, "segmented": 80}
    theirs = {"fits": "6 segments, one start", "seconds": 3.0, "peak_mb": 5000.0}
    rows = [
        {"customers": 100, "trainer": mine, "scikit_learn": theirs, "sse_ratio": 1.0012, "time_ratio": 3.0},
        {"customers": 10_000_000, "trainer": mine | {"peak_mb": 1600.0}},
    ]
    made = training.verdicts(rows)
    assert [(v.name.split(",")[0], v.holds) for v in made] == [
        ("peak MB of the trainer", True),
        ("SSE over all customers / scikit-learn's", False),
        ("peak MB of the trainer", False),
    ]
    part = {"part": "training", "rows": rows, "verdicts": [v.document() for v in made]}
    text = report.markdown(report.document("make bench", [part], "abc123", 0.5))
    assert "| 100 | 80 | 9 | 4 | 900 | 6 segments, one start | 3 | 5,000 | 3.00 | 1.00120 |" in text
    assert "| 10,000,000 | 80 | 9 | 4 | 1,600 | - | - | - | - | - |" in text


def test_the_picture_names_every_engine_and_its_numbers() -> None:
    pytest.importorskip("vl_convert", reason="the picture needs the extra `bench`")
    from bench.chart import picture

    drawn = picture({"segstream": engine(38_000.0, 24.1), "faust": engine(1_200.0, 690.3)})
    for text in ("engine 38000", "engine 1200", "38,000", "690.3"):
        assert text in drawn
