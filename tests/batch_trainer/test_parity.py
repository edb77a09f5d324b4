"""The law of parity: what SQL counts in the warehouse is what the stream's profile holds after a replay."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from batch_trainer import history
from batch_trainer.warehouse import Warehouse, open_warehouse
from schemas.events import decode
from schemas.features import SHARES, Facts, facts
from schemas.profile import Profile, update
from tests.batch_trainer.shops import THELOOK, UCI, Shop, regulars, shops, some_of_thelook


def replayed(warehouse: Warehouse) -> dict[str, Facts]:
    """The facts of every customer after all events of the history, each checked on its way."""
    profiles: dict[str, Profile] = {}
    last = 0
    for topic, key, value, at in history.events(warehouse):
        event = decode(key, value)
        assert event.at == at >= last
        assert event.replay
        assert topic == ("signups" if hasattr(event, "traits") else "orders")
        last = at
        update(profiles.setdefault(event.user_id, Profile()), event)
    for profile in profiles.values():
        profile.today = warehouse.today
    return {user_id: facts(profile, warehouse.shares) for user_id, profile in profiles.items()}


def counted(warehouse: Warehouse) -> dict[str, Facts]:
    customers = warehouse.facts()
    assert customers.user_ids == sorted(set(customers.user_ids))
    return dict(zip(customers.user_ids, customers.facts, strict=True))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(shop=shops())
def test_a_replayed_shop_gives_the_facts_that_sql_counts(shop: Shop) -> None:
    with TemporaryDirectory() as directory, open_warehouse(*shop.write(Path(directory))) as warehouse:
        warehouse.count_shares(f"{family}:{label}" for family in SHARES for label in ("A", "B", "ä", "Z", "x" * 200))
        assert replayed(warehouse) == counted(warehouse)


def test_the_number_of_events_is_known_beforehand(tmp_path: Path) -> None:
    with open_warehouse(*regulars(40).write(tmp_path)) as warehouse:
        assert history.count(warehouse) == len(list(history.events(warehouse)))


def test_a_replay_is_the_same_each_time(tmp_path: Path) -> None:
    url, source = regulars(40).write(tmp_path)
    with open_warehouse(url, source) as first, open_warehouse(url, source) as second:
        second.backend.raw_sql("SET threads = 1")
        assert list(history.events(first)) == list(history.events(second))


def test_a_second_read_does_not_cut_the_first_short_in_silence(tmp_path: Path) -> None:
    with open_warehouse(*regulars(400).write(tmp_path)) as warehouse:
        running = warehouse.batches(warehouse.orders, rows=100)
        next(running)
        warehouse.facts()
        with pytest.raises(RuntimeError, match="another read"):
            list(running)


@pytest.mark.skipif(not THELOOK.is_dir(), reason=f"theLook's data is not at {THELOOK}")
@pytest.mark.parametrize(
    ("one_in", "customers"),
    [
        pytest.param(10, 10_000, id="a tenth"),
        pytest.param(1, 100_000, id="whole", marks=pytest.mark.whole),
    ],
)
def test_thelook_streams_what_sql_counts(tmp_path: Path, one_in: int, customers: int) -> None:
    directory = some_of_thelook(tmp_path, one_in) if one_in > 1 else THELOOK
    with open_warehouse("duckdb://", "thelook_parquet", {"dir": str(directory)}) as warehouse:
        wanted = counted(warehouse)
        assert len(wanted) == customers
        assert not warehouse.left_out
        assert replayed(warehouse) == wanted
        warehouse.backend.raw_sql("SET threads = 1")
        assert counted(warehouse) == wanted


@pytest.mark.skipif(not UCI.is_dir(), reason=f"UCI Online Retail is not at {UCI}")
def test_uci_online_retail_in_full_streams_what_sql_counts() -> None:
    with open_warehouse("duckdb://", "uci_online_retail", {"dir": str(UCI)}) as warehouse:
        wanted = counted(warehouse)
        assert len(wanted) == 4372
        assert sum(f.placed_orders for f in wanted.values()) == 18_444
        assert set(warehouse.left_out) == {"categories", "category", "brand", "age", "gender", "traffic_source"}
        assert replayed(warehouse) == wanted
