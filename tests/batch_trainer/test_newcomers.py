"""Newcomers are guessed at where their traits tell something, with honest probabilities, and nowhere else."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from batch_trainer import page
from batch_trainer.newcomers import MARGIN, Learnt, Measured, learn, verdict
from batch_trainer.recipes import RECIPES
from batch_trainer.report import summary
from batch_trainer.trainer import Training, train
from batch_trainer.warehouse import open_warehouse
from schemas.features import Facts
from schemas.model import Model
from schemas.newcomer import Evidence, probabilities
from schemas.sealed import from_bytes, to_bytes
from schemas.signing import Keyring
from tests.batch_trainer.shops import Shop, regulars
from tests.schemas.models import SIGNER

NOW = 1_790_000_000_000_000
IDS = ("s1", "s4", "s2")


def truth(known: Facts) -> list[float]:
    """The planted probabilities: young people from Search are mostly of the first kind, the old of the third."""
    assert known.age is not None
    old = min(1.0, max(0.0, (known.age - 20) / 50))
    first = (0.75 if known.traffic_source == "Search" else 0.4) * (1 - old)
    third = 0.8 * old * (0.7 if known.country == "FR" else 1.0)
    return [first, 1 - first - third, third]


def people(count: int, seed: int) -> tuple[list[Facts], list[int]]:
    chance = random.Random(seed)
    rows = [
        Facts(
            orders=1,
            age=chance.randint(18, 74),
            gender=chance.choice("FM"),
            country=chance.choice(["FR", "DE", "US"]),
            traffic_source=chance.choice(["Search", "Email"]),
        )
        for _ in range(count)
    ]
    return rows, [chance.choices(range(3), truth(known))[0] for known in rows]


@pytest.fixture(scope="module")
def planted() -> Learnt:
    rows, labels = people(6000, 1)
    return learn(rows, np.array(labels), IDS, 222)


def test_where_traits_tell_it_speaks_and_its_probabilities_are_the_planted_ones(planted: Learnt) -> None:
    made = planted.newcomers
    assert made.speaks, made.reason
    assert made.evidence is not None
    assert made.evidence.log_loss < (1 - MARGIN) * made.evidence.baseline
    fresh, _ = people(2000, 2)
    off = [abs(p - q) for known in fresh for p, q in zip(probabilities(made, known), truth(known), strict=True)]
    assert sum(off) / len(off) < 0.04


def test_what_it_says_of_customers_it_has_not_seen_comes_true_as_often(planted: Learnt) -> None:
    fresh, labels = people(20_000, 3)
    guesses = [probabilities(planted.newcomers, known) for known in fresh]
    for low in np.arange(0.3, 1.0, 0.1):
        own = [
            (max(p), p.index(max(p)) == i) for p, i in zip(guesses, labels, strict=True) if low <= max(p) < low + 0.1
        ]
        if len(own) >= 500:
            said, seen = (sum(column) / len(own) for column in zip(*own, strict=True))
            assert said == pytest.approx(seen, abs=0.05), f"from {low:.1f}"
    assert all(row.said == pytest.approx(row.seen, abs=0.08) for row in planted.calibration if row.customers >= 300)
    assert planted.newcomers.evidence is not None
    told = -sum(math.log(p[i]) for p, i in zip(guesses, labels, strict=True)) / len(labels)
    assert planted.newcomers.evidence.log_loss == pytest.approx(told, abs=0.03), "measured as it turned out"


def test_where_traits_tell_nothing_it_is_silent_with_the_figures() -> None:
    rows, labels = people(6000, 1)
    random.Random(4).shuffle(labels)
    made = learn(rows, np.array(labels), IDS, 222).newcomers
    assert (made.speaks, made.segments, made.terms) == (False, (), ())
    assert "5 % are needed" in made.reason
    assert made.evidence is not None
    assert made.evidence.accuracy <= made.evidence.largest + 0.02


def test_a_gain_that_chance_may_have_made_is_no_gain() -> None:
    evidence = Evidence(customers=250, log_loss=0.9, baseline=1.0, accuracy=0.6, largest=0.5)
    assert verdict(Measured(evidence, 0.01))[0]
    speaks, reason = verdict(Measured(evidence, 0.05))
    assert not speaks
    assert "may be chance" in reason
    useless = Evidence(customers=250, log_loss=0.9, baseline=1.0, accuracy=0.5, largest=0.5)
    assert "no more often" in verdict(Measured(useless, 0.01))[1]


def test_too_few_customers_or_no_traits_are_silence() -> None:
    rows, labels = people(150, 1)
    assert "150 customers" in learn(rows, np.array(labels), IDS, 1).newcomers.reason
    nobody = [Facts(orders=1, brand="Acme") for _ in range(600)]
    assert "no customer has a known age" in learn(nobody, np.array([0, 1, 2] * 200), IDS, 1).newcomers.reason


def test_a_trait_that_is_not_known_counts_as_the_average_customers(planted: Learnt) -> None:
    someone = [Facts(age=age, gender="F", country="FR", traffic_source="Search") for age in range(18, 75)]
    average = np.mean([truth(known) for known in someone], axis=0)
    ageless = probabilities(planted.newcomers, Facts(gender="F", country="FR", traffic_source="Search"))
    assert ageless == pytest.approx(average.tolist(), abs=0.1)


def test_a_value_that_was_never_seen_counts_as_the_rare_ones() -> None:
    rows, labels = people(6000, 5)
    rare = [Facts(orders=1, age=30, gender="F", country=f"land {i}", traffic_source="Email") for i in range(60)]
    made = learn(rows + rare, np.array(labels + [2] * 60), IDS, 1).newcomers
    country = next(term for term in made.terms if term.feature == "country")
    assert sorted(country.table) == ["(unknown)", "DE", "FR", "US"]
    never = Facts(age=30, gender="F", country="never seen", traffic_source="Email")
    assert probabilities(made, never)[2] > 0.7, "the rare ones were all of the third"


def test_customers_who_did_not_tell_are_learnt_from_like_others() -> None:
    rows, labels = people(3000, 6)
    silent = [Facts(orders=1) for _ in range(1500)]
    made = learn(rows + silent, np.array(labels + [1] * 1500), IDS, 1).newcomers
    assert made.speaks
    assert probabilities(made, Facts())[1] > 0.9


def test_two_segments_are_guessed_at_like_more() -> None:
    rows, labels = people(3000, 7)
    made = learn(rows, np.array([min(i, 1) for i in labels]), ("a", "b"), 1).newcomers
    assert made.speaks
    off = [abs(probabilities(made, known)[0] - truth(known)[0]) for known in rows]
    assert sum(off) / len(off) < 0.05


def test_the_guess_depends_on_nothing_but_customers_and_seed() -> None:
    rows, labels = people(2000, 8)
    assert learn(rows, np.array(labels), IDS, 3) == learn(rows, np.array(labels), IDS, 3)


def telling(count: int, *, told: bool = True) -> Shop:
    """The regulars' four kinds, from four countries and of four ages; or the same traits dealt out at random."""
    shop = regulars(count)
    chance = random.Random(2)
    kinds = [(20, "FR"), (30, "DE"), (45, "US"), (70, "JP")]
    rows = []
    for user, row in enumerate(shop.rows["customers"]):
        own = user % 4 if told and chance.random() < 0.9 else chance.randrange(4)
        age, country = kinds[own]
        rows.append((row[0], row[1], float(age + chance.randint(-2, 2)), row[3], country, row[5]))
    shop.rows["customers"] = rows
    return shop


def trained(shop: Shop, path: Path) -> Training:
    with open_warehouse(*shop.write(path)) as warehouse:
        return train(warehouse, RECIPES["behaviour"], now=NOW, k=4)


def test_a_training_carries_the_guess_into_the_signed_artifact_and_the_report(tmp_path: Path) -> None:
    done = trained(telling(800), tmp_path)
    report = done.report["newcomers"]
    assert report["speaks"], report["reason"]
    assert report["traits"] == ["age", "gender", "country", "traffic_source"]
    assert summary(done)["newcomers"]["speaks"]
    model = from_bytes(to_bytes(done.artifact, SIGNER), Keyring([SIGNER.public]))
    assert all(len(row.guess) == 4 for row in model.artifact.golden)
    with open_warehouse(f"duckdb://{tmp_path / 'shop.duckdb'}", tmp_path / "shop.toml") as warehouse:
        everybody = warehouse.facts().facts
    segments = model.assign_many(everybody)
    for age, country in ((20, "FR"), (30, "DE"), (45, "US"), (70, "JP")):
        likely = model.likely(Facts(age=age, country=country))
        alike = Counter(i for known, i in zip(everybody, segments, strict=True) if known.country == country)
        ((most, times),) = alike.most_common(1)
        assert likely is not None
        assert likely.segment == most
        assert likely.probability == pytest.approx(times / alike.total(), abs=0.12)
    text = page.html(done.report, {})
    assert "with a likely segment by age, gender, country, traffic source" in text
    assert "Probability given" in text


def test_a_training_on_traits_that_tell_nothing_says_so(tmp_path: Path) -> None:
    done = trained(telling(800, told=False), tmp_path)
    assert not done.report["newcomers"]["speaks"]
    assert Model(done.artifact, "").likely(Facts(age=20, country="FR")) is None
    assert "Nothing is said of who has only signed up" in page.html(done.report, {})
