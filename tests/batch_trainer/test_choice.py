"""The number of segments is the largest stable one, and where there is nothing to segment the trainer says so with its evidence."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_trainer.choose import STABLE, UNSTABLE, Candidate, choose, fixed
from batch_trainer.recipes import RECIPES
from batch_trainer.structure import Habit, Silhouette, habit, shuffled
from batch_trainer.trainer import Training, train
from batch_trainer.warehouse import open_warehouse
from bench.model import NOW, SEEDS, THELOOK, UCI, invent, shop_training, shuffled_columns, uci_choices
from schemas.features import Facts
from tests.batch_trainer.shops import some_of_thelook

CLEAR, NOTHING = Silhouette(0.5, 0.3, 0.01), Silhouette(0.31, 0.3, 0.01)
SOME = Habit(what="value of an order", correlation=0.3, dealt=0.01, customers=100)
NONE = Habit(what="value of an order", correlation=0.01, dealt=0.02, customers=100)


def rows(*stabilities: float | None, silhouette: Silhouette | None = CLEAR, share: float = 0.1) -> list[Candidate]:
    return [
        Candidate(k=k, sse=100.0 / k, smallest_share=share, stability=value, silhouette=silhouette)
        for k, value in enumerate(stabilities, start=3)
    ]


tables = st.lists(
    st.builds(
        lambda stability, share, found: (stability, share, found),
        st.one_of(st.none(), st.floats(0, 1)),
        st.floats(0, 0.3),
        st.sampled_from([CLEAR, NOTHING, None]),
    ),
    min_size=1,
    max_size=6,
)


@given(tables, st.one_of(st.none(), st.integers(3, 8)), st.sampled_from([(), (SOME,), (NONE,), (NONE, SOME)]))
def test_what_is_called_stable_is_stable(
    found: list[tuple[float | None, float, Silhouette | None]], present: int | None, habits: tuple[Habit, ...]
) -> None:
    table = [
        Candidate(k=k, sse=1.0, smallest_share=share, stability=stability, silhouette=silhouette)
        for k, (stability, share, silhouette) in enumerate(found, start=3)
    ]
    choice = choose(table, 5, present, habits)
    assert choice.habits == habits
    if not choice.stable:
        assert "no stable structure" in choice.reason
        return
    row = choice.chosen()
    assert row.stability is not None
    assert row.smallest_share >= 0.03
    assert row.stability >= (UNSTABLE if row.k == present else STABLE)
    assert row.silhouette is None or row.silhouette.better
    assert not habits or any(one.there for one in habits)


def test_the_largest_stable_number_before_the_first_unstable_one_is_chosen() -> None:
    assert choose(rows(0.9, 0.9, 0.8, 0.7, 0.95), 5).k == 4
    assert choose(rows(0.9, 0.86, 0.99), 5).k == 5
    assert choose(rows(0.9, None, None), 5).k == 3


def test_the_present_number_stays_until_it_is_unstable() -> None:
    assert choose(rows(0.99, 0.8, 0.99), 5, 4).k == 4
    moved = choose(rows(0.99, 0.7, 0.99), 5, 4)
    assert (moved.k, moved.stable) == (3, True)


def test_no_structure_is_said_with_the_evidence() -> None:
    unstable = choose(rows(0.5, 0.4), 5)
    assert (unstable.k, unstable.stable) == (5, False)
    assert "3: 0.50 (0.50, shuffled 0.30)" in unstable.reason
    assert "shuffled" in choose(rows(0.9, silhouette=NOTHING), 5).reason
    no_habits = choose(rows(0.9, 0.9), 5, None, [NONE])
    assert (no_habits.k, no_habits.stable) == (5, False)
    assert "value of an order 0.01, by chance up to 0.02" in no_habits.reason
    kept = choose(rows(0.9, 0.9), 5, 4, [NONE])
    assert (kept.k, kept.stable) == (4, False)
    assert "no stable structure" in kept.reason


def test_a_number_that_was_asked_for_is_taken_with_a_warning_where_it_finds_nothing() -> None:
    assert fixed(rows(0.9), 3, "3 were asked for").reason == "3 were asked for"
    assert "shuffled customers are separated as well" in fixed(rows(0.9, silhouette=NOTHING), 3, "3").reason


@given(
    st.lists(st.builds(Facts, orders=st.integers(1, 9), spend=st.integers(0, 99), age=st.none() | st.integers(18, 80)))
)
def test_shuffling_keeps_every_column(known: list[Facts]) -> None:
    again = shuffled(known, 3)
    for name in Facts.__struct_fields__:
        assert sorted(map(repr, (getattr(f, name) for f in again))) == sorted(
            map(repr, (getattr(f, name) for f in known))
        )


def test_habits_are_found_where_they_are_and_only_there() -> None:
    chance = random.Random(3)
    owners = [str(i % 200) for i in range(1000)]
    noise = [chance.gauss(0, 1) for _ in owners]
    own = {str(i): chance.gauss(0, 1) for i in range(200)}
    found = habit("x", owners, [own[o] + e for o, e in zip(owners, noise, strict=True)], 1)
    assert found is not None
    assert found.there
    assert found.correlation == pytest.approx(0.5, abs=0.1), "half of the variance is the customers' own"
    without = habit("x", owners, noise, 1)
    assert without is not None
    assert not without.there
    assert habit("x", owners, [1.0] * 1000, 1) is None, "nothing varies"
    assert habit("x", [str(i) for i in range(1000)], noise, 1) is None, "nobody came twice"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "shop.duckdb"
    invent(path, 5)
    return path


def test_shuffled_customers_have_no_stable_structure(shop: Path) -> None:
    assert shop_training(shop).choice.stable
    with shuffled_columns():
        choice = shop_training(shop).choice
    assert choice.stable is False
    assert "no stable structure" in choice.reason


def test_a_shop_whose_orders_are_dealt_out_at_random_has_no_stable_structure(shop: Path, tmp_path: Path) -> None:
    dealt = tmp_path / "dealt.duckdb"
    dealt.write_bytes(shop.read_bytes())
    with duckdb.connect(str(dealt)) as con:
        owners = [row[0] for row in con.execute("SELECT user_id FROM orders ORDER BY order_id").fetchall()]
        random.Random(4).shuffle(owners)
        ids = [row[0] for row in con.execute("SELECT order_id FROM orders ORDER BY order_id").fetchall()]
        con.execute("CREATE TABLE owners (order_id BIGINT, user_id BIGINT)")
        con.executemany("INSERT INTO owners VALUES (?, ?)", list(zip(ids, owners, strict=True)))
        con.execute("UPDATE orders SET user_id = w.user_id FROM owners w WHERE w.order_id = orders.order_id")
    choice = shop_training(dealt).choice
    assert choice.stable is False
    assert "by chance up to" in choice.reason


@pytest.fixture(scope="module", params=[10, pytest.param(1, marks=pytest.mark.whole)], ids=["a tenth", "whole"])
def thelook(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Training:
    if not THELOOK.is_dir():
        pytest.skip(f"theLook's data is not at {THELOOK}")
    one_in = request.param
    directory = some_of_thelook(tmp_path_factory.mktemp("thelook"), one_in) if one_in > 1 else THELOOK
    with open_warehouse("duckdb://", "thelook_parquet", {"dir": str(directory)}) as warehouse:
        return train(warehouse, RECIPES["behaviour"], now=NOW)


def test_thelook_has_no_stable_structure(thelook: Training) -> None:
    assert (thelook.choice.k, thelook.choice.stable) == (5, False)
    assert "no stable structure" in thelook.choice.reason


def test_the_traits_of_thelook_tell_nothing_of_newcomers(thelook: Training) -> None:
    made = thelook.artifact.newcomers
    assert made is not None
    assert made.evidence is not None
    assert not made.speaks
    assert made.evidence.log_loss > 0.99 * made.evidence.baseline


@pytest.mark.skipif(not UCI.is_dir(), reason=f"UCI Online Retail is not at {UCI}")
def test_the_number_of_segments_of_a_real_shop_does_not_depend_on_the_seed() -> None:
    # Two here; `make bench ARGS="--only model"` takes all of them.
    assert {(choice.k, choice.stable) for choice in uci_choices(SEEDS[:2])} == {(6, True)}


@pytest.mark.skipif(not UCI.is_dir(), reason=f"UCI Online Retail is not at {UCI}")
def test_a_real_shop_with_its_columns_shuffled_has_no_stable_structure() -> None:
    with shuffled_columns():
        [choice] = uci_choices((222,))
    assert choice.stable is False
    assert "no stable structure" in choice.reason
