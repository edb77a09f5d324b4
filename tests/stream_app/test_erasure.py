"""Whoever was erased leaves a marker and nothing else, whatever comes late, twice or out of order; everyone else is untouched."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
import redis
import redis.asyncio
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from sandbox.redis import Redis
from schemas import topics
from schemas.customer import Customer, Erasure, from_bytes, to_bytes
from schemas.erasure import DAY, is_signed
from schemas.erasure import order as deletion
from schemas.events import decode
from schemas.membership import sizes_key, user_key
from schemas.profile import Profile
from schemas.settings import Settings
from schemas.signing import Keyring, Signer
from schemas.times import rfc3339
from segstream import audit, kafka
from segstream.erasure import erase
from segstream.export import export
from stream_app.customers import Customers
from stream_app.erasure import GRACE, MARKER, has_ended
from stream_app.helper import renderer
from stream_app.metrics import Metrics
from stream_app.projection import Projection
from stream_app.segmenter import Position, step
from stream_app.stores import MemoryStore
from stream_app.work import Work, fold, forget
from tests.installation import Installation, order, orders
from tests.schemas.models import SIGNER, model
from tests.schemas.shops import USER, event, messages
from tests.segment_api.conftest import listening
from tests.stream_app.anew import decided_anew
from tests.stream_app.test_worker import processed
from tests.waiting import wait_for

KEY = USER.encode()
PLANTED = "vera.planted@example.org"
SOURCE = Position(1, "signups", 0, -1)
AT = 1_767_225_600_000_000
TRUSTS = partial(is_signed, keys=Keyring([SIGNER.public]))
DELETE = deletion(USER, AT, 30, SIGNER)
UNTIL = AT + 30 * DAY


class Fetched:
    """A record as it comes from Kafka; `timestamp` in milliseconds."""

    def __init__(self, value: bytes, offset: int, produced: int = AT, key: bytes = KEY) -> None:
        self.key, self.value, self.offset, self.timestamp = key, value, offset, produced // 1000


def folded(batch: list[Fetched], store: MemoryStore | None = None) -> tuple[Customers, Work]:
    customers = Customers(MemoryStore() if store is None else store)
    return customers, fold(batch, SOURCE, customers, model(), "", trusts=TRUSTS)


def rest(customers: Customers) -> Customer:
    found = customers.look(KEY)
    assert found is not None
    return found


@given(messages, messages, st.integers(0, 3))
def test_before_and_after_an_erasure_makes_no_difference_only_the_marker_is_left(
    before: list[bytes], after: list[bytes], again: int
) -> None:
    batch = [Fetched(value, n) for n, value in enumerate([*before, *[DELETE] * (again + 1), *after, DELETE])]
    customers, work = folded(batch)
    left = rest(customers)
    assert (left.is_erased, left.erased, left.profile) == (True, Erasure(AT, UNTIL), Profile())
    assert (left.segment, left.nearest, left.left, left.model_id, left.margin) == (None, None, None, "", 0.0)
    assert len(to_bytes(left)) < MARKER
    assert (work.erased, work.ignored, work.repeated) == (1, len(after), again + 1)
    told = [change for change in work.changes if change.cause == "erasure"]
    assert work.changes[-1:] == told, "told once, and last"
    assert (told[0].to_segment, told[0].features, told[0].sequence) == (None, {}, left.sequence)
    assert told[0].from_segment == (work.changes[-2].to_segment if len(work.changes) > 1 else None)


@given(messages, messages, st.data())
def test_who_comes_after_the_time_of_her_erasure_is_whom_these_events_make_however_often_the_rest_is_read_again(
    during: list[bytes], fresh: list[bytes], data: Any
) -> None:
    news = [Fetched(value, 100 + n, UNTIL + n) for n, value in enumerate(fresh)]
    late = [Fetched(value, 1 + n, AT) for n, value in enumerate(during)]
    cut = data.draw(st.integers(0, len(late)))
    customers, _ = folded([Fetched(DELETE, 0), *late[:cut], *news])
    other = Position(0, "orders", 0, -1)  # the same late ones in another topic, whose fence knows nothing of them
    assert fold([*late, Fetched(DELETE, 90, UNTIL)], other, customers, model(), "", trusts=TRUSTS).changes == []
    plain = Customer()
    for record in news:
        step(plain, decode(KEY, record.value), Position(1, "signups", 0, record.offset), model(), "")  # type: ignore[arg-type]
    found = rest(customers)
    assert (found.profile, found.segment, found.nearest) == (plain.profile, plain.segment, plain.nearest)
    assert found.is_erased == (not fresh)


@given(messages)
def test_an_erasure_however_the_load_is_cut_by_crashes_is_the_same(batch: list[bytes]) -> None:
    records = [Fetched(value, n) for n, value in enumerate([*batch, DELETE, *batch])]
    whole, _ = folded(records)
    store = MemoryStore()
    for end in range(1, len(records) + 1):  # all is read again and again; only what was stored is remembered
        customers, _ = folded(records[:end], store)
        if customers.close():
            customers.stored(end)
    assert from_bytes(store.get(KEY) or b"") == rest(whole)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (deletion(USER, AT, 30, Signer.generate()), "Unsigned"),
        (DELETE.replace(b"2026-01-01", b"2026-01-02"), "Unsigned"),
        (DELETE.replace(b"signature", b"signed"), "InvalidEvent"),
    ],
)
def test_an_order_that_no_trusted_key_has_signed_erases_nobody(value: bytes, error: str) -> None:
    _, key, first = order(1, 1)
    customers = Customers(MemoryStore())
    batch = [Fetched(first, 0, key=key), Fetched(value.replace(b'"u1"', b'"1"'), 1, key=key)]
    work = fold(batch, SOURCE, customers, model(), "", trusts=TRUSTS)
    assert [letter.error for letter in work.dead_letters] == [error]
    found = customers.look(key)
    assert found is not None
    assert found.profile.orders == 1


def test_what_an_erased_customer_sends_is_not_even_kept_as_a_dead_letter_and_no_model_moves_her() -> None:
    customers, work = folded([Fetched(DELETE, 0), Fetched(b"not json", 1), Fetched(b"", 2)])
    assert (work.ignored, work.dead_letters) == (2, [])
    moved = decided_anew([KEY], customers, model(shift=1.0), "model")
    assert (moved.rescored, moved.changes) == (0, [])


def test_a_marker_goes_a_day_after_its_time_and_nothing_else_does() -> None:
    store = MemoryStore()
    customers, _ = folded([Fetched(DELETE, 0)], store)
    _, key, value = order(1, 1)
    fold([Fetched(value, 1, key=key)], Position(0, "orders", 0, -1), customers, model(), "")
    customers.close()
    assert customers.markers([KEY, key], lambda record: True) == [], "those on their way are being worked on"
    customers.stored(0)
    for now, gone in ((UNTIL + GRACE - 1, []), (UNTIL + GRACE, [KEY])):
        assert customers.markers([KEY, key], partial(has_ended, now=now)) == gone
    forget([KEY], 0, customers)
    assert customers.look(KEY) is None
    assert customers.close() == {KEY: None}
    assert customers.look(KEY) is None
    customers.stored(1)
    assert store.keys() == [key]


def test_a_record_from_before_there_were_erasures_is_read_and_one_with_is_read_by_those_from_before() -> None:
    class Before(msgspec.Struct, array_like=True):
        format: int
        applied: list[int]
        revision: int
        sequence: int
        model_id: str
        segment: str | None
        nearest: str | None
        margin: float
        profile: Profile
        left: str | None = None
        left_at: int = 0

    made = Customer(sequence=3, segment="s1", nearest="s1")
    old = msgspec.msgpack.encode(msgspec.msgpack.decode(to_bytes(made), type=Before))
    assert len(old) < len(to_bytes(made))
    assert from_bytes(old) == made
    marked = Customer(erased=Erasure(AT, UNTIL))
    assert from_bytes(to_bytes(marked)) == marked


def test_redis_forgets_her_and_no_older_row_brings_her_back(own_redis: Redis) -> None:
    customers, _ = folded(
        [Fetched(event("Order Completed", "2026-01-01T00:00:00Z", order_id=n, total=5), n) for n in range(3)]
    )

    async def law() -> None:
        client = redis.asyncio.Redis.from_url(own_redis.url)
        projection = Projection(
            client,
            "t:",
            Metrics(),
            interval=0.1,
            clock=lambda: AT,
            customers=lambda _: customers,
            model=model,
            is_busy=lambda: False,
            events_come=lambda: False,
            is_deciding=lambda: False,
            renderer=renderer,
        )

        async def shown(customer: Customer) -> bool:
            customers.open(KEY, customer)
            await projection._write([(0, KEY)])
            return bool(await client.exists(user_key("t:", USER)))

        stale = copied(rest(customers))
        assert await shown(stale)
        fold([Fetched(DELETE, 10)], SOURCE, customers, model(), "", trusts=TRUSTS)
        marker = copied(rest(customers))
        assert not await shown(marker)
        assert sum(map(int, (await client.hgetall(sizes_key("t:"))).values())) == 0
        assert not await shown(stale), "written by a former owner"
        customers.open(KEY, marker)
        fold([Fetched(event("Signed Up", "2026-02-01T00:00:00Z"), 11, UNTIL)], SOURCE, customers, model(), "")
        assert await shown(rest(customers)), "who comes after her time is a customer"
        assert await shown(copied(marker)), "and no former owner erases her again"
        await client.aclose()

    asyncio.run(law())


def copied(customer: Customer) -> Customer:
    return from_bytes(to_bytes(customer))


def command(shop: Installation, *arguments: str) -> tuple[int, str]:
    """Run a command in a process of its own; its exit code, and all that it said."""
    env = os.environ | shop.environment | {"SEGSTREAM_SIGNING_KEY": SIGNER.to_text()}
    done = subprocess.run(
        [sys.executable, "-m", "segstream", *arguments], env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def erased_under_load(shop: Installation, gone: list[str], settings: Settings) -> list[dict[str, Any]]:
    """Erase customers while orders come, half of them right before the worker is killed; every order to erase, as it was done."""
    load = threading.Thread(target=shop.produce, args=(orders(16_000, 300), 2000))
    first = shop.worker()
    load.start()
    processed(first, 4_000)
    done = [erase(settings, user, "a test", wait=60) for user in gone[:2]]
    assert all(one["applied"] for one in done)
    done += [erase(settings, user, "a test", wait=0) for user in gone[2:]]
    first.kill()
    shop.worker().wait_ready()
    load.join()
    for message in kafka.read(settings, topics.SIGNUPS.name):
        shop.produced.append((message.topic(), message.partition(), message.offset(), message.key(), message.value()))
    return done


class Reticent:
    """A producer to whom Kafka does not tell where a record lies, as after a lost acknowledgement."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.flush = client.flush

    def produce(self, *args: Any, on_delivery: Any, **more: Any) -> None:
        def delivered(error: Any, message: Any) -> None:
            on_delivery(error, SimpleNamespace(partition=message.partition, offset=lambda: None))

        self.client.produce(*args, on_delivery=delivered, **more)


def test_an_order_of_which_kafka_does_not_tell_the_place_is_waited_for(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = shop.settings.model_copy(update={"signing_key": SecretStr(SIGNER.to_text())})
    shop.prepare()
    shop.produce(orders(40, 5))
    shop.worker().wait_ready()
    told = kafka.producer
    monkeypatch.setattr(kafka, "producer", lambda *args, **more: Reticent(told(*args, **more)))
    assert erase(settings, "3", "a test", wait=60)["applied"]


def neighbours(api: httpx.Client) -> set[str]:
    return {one["user_id"] for one in api.get("/v1/users/10/similar", params={"k": 50}).json()["similar"]}


def test_customers_are_erased_amid_traffic_and_a_crash_and_nothing_is_left_of_them_anywhere(shop: Installation) -> None:
    one = shop.prepare()
    settings = shop.settings.model_copy(update={"signing_key": SecretStr(SIGNER.to_text())})
    shop.produce(orders(600, 300, first=50_000))
    planted = [topics.ORDERS.name, PLANTED.encode(), order(1, 1)[2].replace(b'"1"', json.dumps(PLANTED).encode())]
    shop.produce([tuple(planted)])  # type: ignore[list-item]
    gone = [PLANTED, "7", "8", "9"]
    with listening(settings) as api:
        done = erased_under_load(shop, gone, settings)
        shop.produce([tuple(planted), (topics.ORDERS.name, b"8", b"broken")])  # type: ignore[list-item]
        shop.caught_up()
        shop.assert_exact(one)
        assert shop.dead_letters() == []
        client = redis.Redis.from_url(shop.redis)
        wait_for(lambda: not any(client.exists(user_key(settings.prefix, user)) for user in gone), "redis forgets")
        state = shop.state()
        for user, said in zip(gone, done, strict=True):
            assert state[user].erased is not None
            assert said["ignored_until"] == rfc3339(state[user].erased.until)
            told = [change for change in shop.changes() if change.user_id == user]
            assert (told[-1].cause, told[-1].to_segment) == ("erasure", None)
            assert [m.value() for m in kafka.of_key(settings, topics.STATE.name, user.encode())][-1] is None
            answer = api.get(f"/v1/users/{user}")
            assert (answer.status_code, PLANTED in answer.text) == (404, False)
        sizes = sizes_key(settings.prefix)
        wait_for(lambda: sum(map(int, client.hgetall(sizes).values())) == len(state) - len(gone), "all are shown")
        wait_for(lambda: api.get("/v1/changes").json()["caught_up"], "the API has read all changes")
        wait_for(lambda: not neighbours(api) & set(gone), "nobody is like one of them")
        for user in gone:
            wait_for(lambda user=user: not api.get(f"/v1/users/{user}/timeline").json()["changes"], "no time line")  # type: ignore[misc]
    journal = shop.home / "api" / "journal.sqlite"
    with closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert PLANTED.encode() not in journal.read_bytes(), "what is deleted is overwritten"
    worker = shop.workers[-1]
    assert worker.metric("segstream_events_ignored_total") > 0
    code, said_ = command(shop, "users", "show", PLANTED)
    assert code == 1
    logs = said_ + worker.get("/metrics")[1] + "".join(w.log.read_text() for w in shop.workers)
    code, said_ = command(shop, "users", "erase", PLANTED, "--reason", "again", "--json")
    assert code == 0, said_
    assert PLANTED not in logs + said_
    document = export(settings, PLANTED, "she asked")
    assert set(document["customer"]) == {"erased_at", "ignored_until"}
    assert document["told_last"] is None
    kinds = [entry["action"] for entry in document["audit"]]
    assert kinds == ["erase", "erase", "export"]
    trail = [message.value() for message in kafka.read(settings, topics.AUDIT.name)]
    assert PLANTED.encode() not in b"".join(trail)
    assert len(audit.entries(settings, action="erase")) == len(gone) + 1


def problems(shop: Installation) -> list[str]:
    return [row["name"] for row in kafka.check(shop.settings) if row["problem"]]


def test_topics_are_made_to_forget_and_an_export_holds_what_was_sent_decided_and_told(shop: Installation) -> None:
    shop.prepare()
    forgets = ConfigEntry(kafka.LAG, "999999999999", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topics.USERS.name, incremental_configs=[forgets])
    client = kafka.admin(shop.settings)  # it must live until the answer is there
    [made.result() for made in client.incremental_alter_configs([resource]).values()]
    wait_for(lambda: problems(shop) == [topics.USERS.name], "the broker shows a topic that would keep what was erased")
    kafka.create(shop.settings)
    assert problems(shop) == []
    shop.worker().wait_ready()
    sent = orders(40, 2)
    shop.produce([*sent, (topics.ORDERS.name, b"1", b"broken")])
    shop.caught_up()
    code, said = command(shop, "users", "export", "1", "--json", "--by", "dpo", "--out", str(shop.home / "one.json"))
    assert code == 0, said
    document = json.loads((shop.home / "one.json").read_text())
    assert (shop.home / "one.json").stat().st_mode & 0o777 == 0o600
    where = kafka.partition_of(b"1", shop.settings.partitions)
    assert {m.partition() for m in kafka.read(shop.settings, topics.ORDERS.name, only=where)} == {where}
    hers = [json.loads(value) for _, key, value in sent if key == b"1"]
    assert [row["content"] for row in document["received"]["orders"]] == [*hers, "broken"]
    assert [row["content"] for row in document["not_usable"]["orders"]] == ["broken"]
    profile = document["customer"]["profile"]
    assert {row["order_id"] for row in profile["orders"]} == {row["properties"]["order_id"] for row in hers}
    assert sum(row["total"] for row in profile["orders"]) == pytest.approx(profile["counted"]["spend"])
    assert [row["sequence"] for row in document["changes"]] == list(
        range(1, document["customer"]["changes_so_far"] + 1)
    )
    assert document["told_last"] == document["changes"][-1]
    assert document["customer"]["segment"] == document["changes"][-1]["to_segment"]
    assert [(entry["action"], entry["by"]) for entry in document["audit"]] == [("export", "dpo")]
    assert command(shop, "users", "export", "nobody", "--json")[0] == 1
