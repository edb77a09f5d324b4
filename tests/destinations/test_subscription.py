"""Who gets what, and what the file of destinations may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destinations import configuration, formats, trial
from destinations.configuration import BadDestinations, Segments, parse, target
from destinations.subscription import Event, Unreadable, wanted
from tests.destinations.events import SECRET, alert, change, destination, record

DOCS = Path(__file__).parents[2] / "docs"
FILE = '[[destination]]\nname = "one"\nwants = "segment-changes"\nurl = "https://a.example/"\nsecret_env = ["S"]\n'


def test_a_retrain_and_a_replayed_history_start_no_campaign_unless_that_was_asked_for() -> None:
    causes = ["behaviour", "time", "model", "bootstrap", "correction"]
    given = {cause: record(change(cause=cause)) for cause in causes}
    assert [c for c in causes if wanted(destination(), given[c])] == ["behaviour", "time", "correction"]
    assert [c for c in causes if wanted(destination(causes=("model",)), given[c])] == ["model"]


def test_a_destination_gets_the_moves_into_and_out_of_its_segments() -> None:
    into, out = destination(segments=Segments(entered=("s2",))), destination(segments=Segments(left=("s1",)))
    either = destination(segments=Segments(entered=("s3",), left=("s3",)))
    moves = [("s1", "s2"), ("s3", "s2"), ("s1", "s3"), (None, "s3")]
    got = [
        [bool(wanted(one, record(change(from_segment=a, to_segment=b)))) for a, b in moves]
        for one in (into, out, either)
    ]
    assert got == [[True, True, False, False], [True, False, True, False], [False, True, True, True]]


def test_that_a_customer_was_erased_is_held_back_by_no_filter() -> None:
    body = {"change_id": "7:erased", "user_id": "7", "from_segment": "s1", "to_segment": None, "to_name": None}
    erased = record(json.dumps(body | {"cause": "erasure", "decided_at": "2026-01-01T00:00:00Z"}).encode())
    for one in (destination(), destination(segments=Segments(entered=("s9",)), causes=("time",))):
        event = wanted(one, erased)
        assert isinstance(event, Event)
        for form in ("segstream", "slack"):
            assert b"7" in formats.body(form, [event])  # type: ignore[arg-type]


def test_alerts_are_chosen_by_level_and_other_kinds_of_events_are_passed_over() -> None:
    one = destination(wants="drift-alerts", levels=("drift",))
    assert isinstance(wanted(one, record(alert())), Event)
    assert wanted(one, record(alert(level="warning"))) is None
    assert wanted(one, record(alert(), ce_type="something.new")) is None
    assert wanted(destination(), record(None)) is None


@given(st.binary(max_size=100) | st.sampled_from([b"[" * 100_000, b"{}", b"null", b'{"change_id": 1}', b"\xff"]))
def test_any_bytes_are_an_event_unwanted_or_unreadable(value: bytes) -> None:
    found = wanted(destination(), record(value))
    assert isinstance(found, Event | Unreadable | None)
    if isinstance(found, Unreadable):
        assert found.reason == "not the JSON of segment-changes", "it quotes nothing"


def test_cloud_events_carry_the_very_bytes_of_the_topic_and_an_id_that_stays() -> None:
    one = record(change(user_id="Ä<b>"), ce_id="id-1", ce_time="2026-01-01T00:00:02Z")
    event = wanted(destination(), one)
    assert isinstance(event, Event)
    (found,) = json.loads(formats.body("segstream", [event]))
    assert found["data"] == json.loads(one.value or b"")
    del found["data"]
    assert found == {
        "specversion": "1.0", "id": "id-1", "type": "segment.changed", "source": "segstream", "subject": "Ä<b>",
        "time": "2026-01-01T00:00:02Z", "datacontenttype": "application/json",
    }  # fmt: skip


def test_nobody_can_call_the_whole_chat_by_a_name() -> None:
    event = wanted(destination(), record(change(user_id="<!channel>", to_name="<@U1>\n*x*")))
    assert isinstance(event, Event)
    text = json.loads(formats.body("slack", [event]))["text"]
    assert "<" not in text
    assert "\n" not in text
    assert "&lt;!channel&gt;" in text


def alertmanager(**more: str) -> list[dict[str, dict[str, str]]]:
    value = json.loads(record(alert()).value or b"") | more
    event = wanted(destination(wants="drift-alerts"), record(json.dumps(value).encode()))
    assert isinstance(event, Event)
    return list(json.loads(formats.body("alertmanager", [event])))


def test_alertmanager_is_told_of_an_alert_for_as_long_as_it_holds() -> None:
    (told,) = alertmanager()
    assert told["labels"] == {"alertname": "SegstreamDrift", "alert_id": "a1", "model_id": "m-1", "severity": "drift"}
    assert (told["startsAt"], told["endsAt"]) == ("2026-01-01T00:00:05Z", "2026-01-31T00:00:05Z")
    (opened,) = alertmanager(status="opened", level="warning")
    ended, escalated = alertmanager(status="escalated")
    assert ended["labels"] == opened["labels"], "an escalation ends the alert of the lower severity"
    assert ended["endsAt"] == "2026-01-01T00:00:05Z"
    assert escalated["labels"]["severity"] == "drift"
    resolved = alertmanager(status="resolved")
    assert [one["labels"] for one in resolved] == [opened["labels"], escalated["labels"]]
    assert {one["endsAt"] for one in resolved} == {"2026-01-01T00:00:05Z"}  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ('typo = 1', "typo"), ('batch = 0', "batch"), ('causes = ["whim"]', "whim"), ('causes = []', "nothing"),
        ('url = "https://b.example/"', "overwrite"), ('levels = ["drift"]', "drift-alerts"), ('format = "alertmanager"', "alertmanager"),
        ('url_env = "U"', "either"), (FILE, "two destinations"), ("= 5", "invalid"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_is_refused_with_the_reason(more: str, reason: str) -> None:
    with pytest.raises(BadDestinations, match=f"(?i){reason}"):
        parse(FILE + more)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/", "ftp://a.example/", "https:///path", "https://u:p@a.example/", "https://a.example/#x", "https://127.0.0.1/",
        "https://[::1]/", "https://[::ffff:169.254.169.254]/", "https://a.example:99999/", "https://ä.example/", "https://a.example/ b", "a.example",
    ],
)  # fmt: skip
def test_addresses_that_no_request_may_go_to_are_refused_at_once_without_being_repeated(url: str) -> None:
    with pytest.raises(BadDestinations) as caught:
        parse(FILE.replace("https://a.example/", url))
    assert url not in str(caught.value)
    one = parse(FILE.replace('url = "https://a.example/"', 'url_env = "U"'))[0]
    with pytest.raises(BadDestinations):
        target(one, {"U": url, "S": SECRET})


def test_secrets_come_from_the_environment_and_are_shown_nowhere() -> None:
    one = parse(FILE + 'bearer_env = "B"')[0]
    found = target(one, {"S": SECRET, "B": "planted-token"})
    assert found.keys
    shown = repr(found) + repr(one)
    assert not any(text in shown for text in ("planted", SECRET[8:], "a.example/x"))
    for environ in ({}, {"S": SECRET}, {"S": "planted", "B": "t"}, {"S": SECRET, "B": "planted\r\nX: y"}):
        with pytest.raises(BadDestinations) as caught:
            target(one, environ)
        assert "planted" not in str(caught.value)


def test_the_documented_settings_are_those_there_are_and_the_example_is_read() -> None:
    assert configuration.settings_table() in (DOCS / "destinations.md").read_text()
    assert len(configuration.load(DOCS / "examples" / "destinations.toml")) == 3


def test_a_trial_event_is_one_that_the_destination_would_get() -> None:
    for one in (
        destination(segments=Segments(left=("s7",)), causes=("time",)),
        destination(wants="drift-alerts", levels=("warning",)),
    ):
        assert trial.example(one, 0).id.startswith("test:")
