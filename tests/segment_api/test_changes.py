"""What is told of changes is what was on Kafka: nothing lost, nothing twice, across restarts and reconnections."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis
from confluent_kafka import Producer

from sandbox.kafka import Kafka
from schemas import drift, topics
from schemas.changes import DriftAlert, SegmentChanged, encode
from schemas.membership import sizes_key
from schemas.reference import Counts, Distribution
from schemas.registry import Registry
from schemas.settings import Settings
from schemas.times import rfc3339
from segment_api import trends
from segment_api.audience import from_event_id, to_event_id
from segment_api.changes import Change
from segment_api.journal import Journal, Read
from segstream import kafka
from segstream.redrive import for_the_api
from tests.installation import emptied
from tests.segment_api.conftest import listening
from tests.waiting import wait_for

SEGMENTS = ("s1", "s2", "s3")


def change(user: str, sequence: int, source: str | None, to: str, at: int, cause: Any = "behaviour") -> SegmentChanged:
    return SegmentChanged(
        change_id=f"{user}:orders:0:{sequence}:{sequence}", user_id=user, from_segment=source, from_name=source, to_segment=to,
        to_name=to, cause=cause, caused_by=f"orders:0:{sequence}", model_id="m-1", feature_spec="behaviour", margin=0.1,
        features={"orders": float(sequence)}, event_time=rfc3339(at), decided_at=rfc3339(at), sequence=sequence,
    )  # fmt: skip


def lives(count: int, begin: int, seed: int = 1) -> tuple[list[SegmentChanged], list[tuple[int, dict[str, int]]]]:
    """Changes of some customers, and the sizes after each: what a plain count of who is where says."""
    dice, where, steps = random.Random(seed), dict[str, str](), dict[str, int]()
    made, sizes, count_of = [], [], Counter[str]()
    for n in range(count):
        user = f"u{dice.randrange(count // 4 + 1)}"
        here = where.get(user)
        to = dice.choice([s for s in SEGMENTS if s != here])
        steps[user] = steps.get(user, 0) + 1
        at = begin + n * 3_000_000
        made.append(change(user, steps[user], here, to, at, "bootstrap" if here is None else "behaviour"))
        count_of[to] += 1
        if here is not None:
            count_of[here] -= 1
        where[user] = to
        sizes.append((at, dict(count_of)))
    return made, sizes


def records(changes: list[SegmentChanged]) -> list[Read]:
    seen = Counter[int]()
    found = []
    for one in changes:
        partition = hash(one.user_id) % 3
        found.append(Read(topics.CHANGES.name, partition, seen[partition], encode(one)))
        seen[partition] += 1
    return found


def test_the_trend_is_a_plain_count_of_who_was_where(tmp_path: Path) -> None:
    begin = 1_767_225_600_000_000
    changes, sizes = lives(900, begin)
    journal = Journal(tmp_path / "j.sqlite", 100_000)
    journal.append(records(changes))
    now = sizes[-1][0] // 1_000_000 + 1
    for window, (length, step) in trends.WINDOWS.items():
        points = trends.trend(now, sizes[-1][1], journal.flows(now - length), window)
        assert points[-1] == (now, sizes[-1][1])
        assert len(points) == length // step + 1
        for point in points:
            known = [count for at, count in sizes if at < point.at * 1_000_000] if point.at < now else [sizes[-1][1]]
            truth = known[-1] if known else {}
            assert point.customers == {s: truth.get(s, 0) for s in SEGMENTS}, (window, point.at)


def test_what_comes_twice_counts_once_and_a_time_line_is_complete(tmp_path: Path) -> None:
    changes, _ = lives(400, 1_767_225_600_000_000)
    journal = Journal(tmp_path / "j.sqlite", 100_000)
    rows = records(changes)
    assert len(journal.append(rows)) == 400
    assert journal.append(rows[100:]) == []
    again = [row._replace(offset=row.offset + 10_000) for row in rows[:50]]
    assert journal.append(again) == [], "sent again after a crash: other offsets, equal ids"
    assert sum(flow.customers for flow in journal.flows(0)) == 400
    for user in {c.user_id for c in changes}:
        assert journal.timeline(user, 999) == [c for c in reversed(changes) if c.user_id == user]
    assert journal.latest(7) == changes[:-8:-1]
    assert (
        journal.latest(5, "s2", ["behaviour"])
        == [c for c in reversed(changes) if "s2" in (c.from_segment, c.to_segment) and c.cause == "behaviour"][:5]
    )


def test_migrations_add_up_whatever_is_rolled_up(tmp_path: Path) -> None:
    changes, _ = lives(12_000, 1_767_225_600_000_000 - 6 * 86_400_000_000)
    journal = Journal(tmp_path / "j.sqlite", 2_000)
    rows = records(changes)
    for start in range(0, len(rows), 1000):
        journal.append(rows[start : start + 1000])
    found = trends.migrations(journal.flows(0), 0)
    truth = Counter((c.from_segment, c.to_segment, c.cause) for c in changes)
    assert {(m.from_segment, m.to_segment, m.cause): m.customers for m in found} == truth
    assert journal.count() <= 4_000, "the file is bounded"
    assert len(journal.flows(0)) < len({(f // 10) for f in range(36_000)}) * len(truth) / 2
    ends = Counter(row.partition for row in rows)
    assert journal.since(dict.fromkeys(ends, 0), 10_000) is None, "not all of them are kept"
    behind = {p: n - 20 for p, n in ends.items()}
    late = journal.since(behind, 10_000)
    assert late is not None
    assert [(s.partition, s.offset) for s in late] == [
        (r.partition, r.offset) for r in rows if r.offset >= behind[r.partition]
    ]


def test_a_change_is_told_with_all_that_it_says_on_kafka() -> None:
    assert tuple(Change.model_fields) == SegmentChanged.__struct_fields__


def test_the_id_of_an_event_is_its_places() -> None:
    for places in ({}, {0: 5}, {0: 1, 2: 7}):
        back = from_event_id(to_event_id(places))
        assert back == ({p: places.get(p, 0) for p in range(max(places) + 1)} if places else None)
    for nonsense in ("x", "1..2", "-1", "1.²", "9" * 40):
        assert from_event_id(nonsense) is None


@pytest.fixture
def live(settings: Settings, registry: Registry, shared_kafka: Kafka) -> Settings:
    emptied(shared_kafka.bootstrap)
    made = settings.model_copy(update={"kafka": shared_kafka.bootstrap, "partitions": 3})
    kafka.create(made)
    return made


def send(settings: Settings, changes: list[SegmentChanged]) -> None:
    client = Producer({"bootstrap.servers": settings.kafka, "partitioner": "murmur2_random", "linger.ms": 2})
    for one in changes:
        client.produce(topics.CHANGES.name, encode(one), one.user_id.encode())
    assert client.flush(30) == 0


class Ear:
    """A client of the stream: what it heard, and the id of the last event."""

    def __init__(self, client: httpx.Client, path: str, last: str | None = None) -> None:
        self.heard: list[dict[str, Any]] = []
        self.kinds: list[str] = []
        self.last = last or ""
        self._stop = threading.Event()
        headers = {"Last-Event-ID": last} if last else {}
        self._thread = threading.Thread(target=self._listen, args=(str(client.base_url) + path, headers), daemon=True)
        self._thread.start()
        wait_for(lambda: bool(self.last) or bool(self.kinds), "connected")

    def _listen(self, url: str, headers: dict[str, str]) -> None:
        with (
            contextlib.suppress(httpx.RemoteProtocolError),  # a server that stops ends its streams in the middle
            httpx.Client(timeout=60) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            kind = ""
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    self.kinds.append(kind)
                    self.heard.append(json.loads(value))
                if self._stop.is_set():
                    return

    def close(self) -> str:
        self._stop.set()
        return self.last


def test_listeners_hear_every_change_once_also_when_they_come_back(live: Settings) -> None:
    changes, _ = lives(300, time.time_ns() // 1000)
    with listening(live) as client:
        wait_for(lambda: client.get("/v1/changes").json()["caught_up"], "the journal follows")
        ear, only = (
            Ear(client, "/v1/changes/stream"),
            Ear(client, "/v1/changes/stream?segment=s2&cause=behaviour&user=u3"),
        )
        send(live, changes[:100])
        wait_for(lambda: len(ear.heard) == 100, "all are heard")
        wanted = [
            c
            for c in changes
            if c.user_id == "u3" and c.cause == "behaviour" and "s2" in (c.from_segment, c.to_segment)
        ]
        place = ear.close()
    send(live, changes[100:200])
    with listening(live) as client:  # another copy of the API, or the same one after a restart
        wait_for(lambda: client.get("/v1/changes").json()["caught_up"], "the journal follows")
        again = Ear(client, "/v1/changes/stream", place)
        only_again = Ear(client, "/v1/changes/stream?segment=s2&cause=behaviour&user=u3", only.close())
        send(live, changes[200:])
        wait_for(lambda: len(again.heard) == 200, "what was missed and what is new")
        heard = [msgspec.convert(row, SegmentChanged) for row in ear.heard + again.heard]
        assert sorted(heard, key=lambda c: c.change_id) == sorted(changes, key=lambda c: c.change_id)
        for user in {c.user_id for c in changes}:
            assert [c for c in heard if c.user_id == user] == [c for c in changes if c.user_id == user]
        wait_for(lambda: len(only.heard + only_again.heard) == len(wanted), "the filter lets hers pass")
        assert [r["change_id"] for r in only.heard + only_again.heard] == [c.change_id for c in wanted]
        body = client.get("/v1/users/u3/timeline").json()
        assert [c["change_id"] for c in body["changes"]] == [
            c.change_id for c in reversed(changes) if c.user_id == "u3"
        ]
        assert client.get("/v1/changes/stream", headers={"Last-Event-ID": "x"}).status_code == 422


def test_who_listens_while_the_past_is_read_is_told_of_what_comes_and_is_not_let_go(live: Settings) -> None:
    changes, _ = lives(3_000, time.time_ns() // 1000)
    send(live, changes[:-50])
    with listening(live) as client:
        ears = [Ear(client, "/v1/changes/stream") for _ in range(5)]
        send(live, changes[-50:])
        for ear in ears:
            wait_for(lambda ear=ear: len(ear.heard) == 50, "what came is heard")
            assert sorted(row["change_id"] for row in ear.heard) == sorted(c.change_id for c in changes[-50:])


def test_trend_migrations_and_alerts_are_told(live: Settings) -> None:
    changes, sizes = lives(60, time.time_ns() // 1000 - 400_000_000)
    redis.Redis.from_url(live.redis).hset(sizes_key(live.prefix), mapping=sizes[-1][1])
    alert = DriftAlert(
        alert_id="a1", level="drift", signal="log_distance", model_id="m-1", direction="up", partition=0, statistic=3.0, reference_mean=0.0,
        reference_std=1.0, n=50, event_time="2026-01-01T00:00:00Z", raised_at="2026-01-01T00:00:00Z", cooldown_until="2026-01-01T01:00:00Z",
        message="Customers lie farther away.", suggested_action="Retrain.",
    )  # fmt: skip
    send(live, changes)
    client = Producer({"bootstrap.servers": live.kafka})
    over = msgspec.structs.replace(alert, status="resolved", raised_at="2026-01-01T03:00:00Z")
    for told_again in (alert, alert, over, alert):
        client.produce(topics.DRIFT_ALERTS.name, encode(told_again))
    client.flush(30)
    standing = drift.Standing(
        model_id="m-1", at="2026-01-01T03:00:00Z", blocks=1, effect=0.1, mix_effect=0.1, window=0, open=(),
        known=drift.Baseline(model_id="m-1", features={"orders": Distribution(n=100, edges=(2.0,), shares=(0.5, 0.5))}),
        latest=drift.Tally(features={"orders": Counts(bins=(10, 90))}),
    )  # fmt: skip
    redis.Redis.from_url(live.redis).set(drift.standing_key(live.prefix), drift.encode(standing))
    with listening(live) as api:
        wait_for(lambda: api.get("/v1/changes").json()["caught_up"], "the journal follows")
        trend = api.get("/v1/segments/trend?window=15m").json()
        assert {s: n for s, n in trend["points"][-1]["customers"].items() if n} == sizes[-1][1]
        assert sum(trend["points"][0]["customers"].values()) == 0
        told = api.get("/v1/segments/migrations?window=15m&cause=behaviour").json()["migrations"]
        truth = Counter((c.from_segment, c.to_segment) for c in changes if c.cause == "behaviour")
        assert {(m["from_segment"], m["to_segment"]): m["customers"] for m in told} == truth
        assert [(a["alert_id"], a["status"]) for a in api.get("/v1/alerts").json()["alerts"]] == [("a1", "resolved")]
        (signal,) = api.get("/v1/drift").json()["signals"]
        assert (signal["name"], signal["current"], signal["psi"] > signal["threshold"]) == ("orders", [0.1, 0.9], True)
        assert "Orders" in api.get("/drift").text


def test_dead_letters_are_told_by_reason_and_sent_again_once(live: Settings) -> None:
    client = Producer({"bootstrap.servers": live.kafka})
    for n in range(12):
        error = "InvalidEvent" if n % 4 else "TooLate"
        said = [("error", error.encode()), ("message", f"reason {n}".encode()), ("source_topic", b"orders")]
        client.produce(topics.dead_letter_topic("orders"), f"letter {n}".encode(), str(n), n % 3, headers=said)
    client.flush(30)

    def held() -> int:
        return sum(1 for _ in kafka.read(live, topics.ORDERS.name))

    with listening(live, redrive=for_the_api(live)) as api:
        wait_for(lambda: sum(r["letters"] for r in api.get("/v1/deadletters").json()["reasons"]) == 12, "all are read")
        told = {r["error"]: (r["letters"], r["source"]) for r in api.get("/v1/deadletters").json()["reasons"]}
        assert told == {"InvalidEvent": (9, "orders"), "TooLate": (3, "orders")}
        only = {"source": "orders", "error": "TooLate"}
        assert api.post("/v1/deadletters/redrive", json=only | {"dry_run": True}).json()["sent"] == 3
        assert held() == 0
        assert api.post("/v1/deadletters/redrive", json=only).json()["errors"] == {"TooLate": 3}
        assert api.post("/v1/deadletters/redrive", json=only).json()["sent"] == 0
        assert held() == 3


def test_a_topic_made_anew_is_read_anew(live: Settings) -> None:
    changes, _ = lives(40, time.time_ns() // 1000)
    journal = Journal(live.home / "api" / "journal.sqlite", 10_000)
    journal.append([row._replace(offset=row.offset + 500) for row in records(changes)])
    send(live, changes[:10])
    with listening(live) as api:
        wait_for(lambda: len(api.get("/v1/changes").json()["changes"]) == 10, "only what is on the topic")
