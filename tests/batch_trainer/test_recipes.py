"""Every kind of segmentation trains, is accepted by every reader, has names that say what it is, and is honest of what is not known."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from batch_trainer import fit, moments, population, vocabulary
from batch_trainer.recipes import RECIPES
from batch_trainer.report import write_report
from batch_trainer.trainer import Training, train
from batch_trainer.warehouse import open_warehouse
from schemas.artifact import PROSPECT
from schemas.features import POPULATIONS, facts
from schemas.model import Model
from schemas.profile import Profile
from schemas.sealed import from_bytes, to_bytes
from schemas.signing import Keyring
from tests.batch_trainer.shops import NOW, TYPES, Shop
from tests.schemas.models import SIGNER

KINDS = ("rfm", "demographic", "geographic", "psychographic")


def villages(count: int = 600, seed: int = 3) -> Shop:
    """Customers of planted ages, countries, tastes and last orders; some tell nothing of themselves, some never order."""
    chance = random.Random(seed)
    start = datetime(2024, 1, 1)  # noqa: DTZ001 - a warehouse's naive time stamps
    people = [("F", 21.0, "Brasil"), ("M", 50.0, "Germany"), ("F", 70.0, "Japan"), (None, None, None)]
    rows: dict[str, list[tuple[object, ...]]] = {name: [] for name in TYPES}
    for user in range(count):
        gender, age, country = people[user % 4]
        if chance.random() < 0.05:
            country = "Atlantis"
        rows["customers"].append((str(user), start, age, gender, country, "Search"))
        if user % 10 == 9:
            continue
        taste, lapsed = chance.choice(["Jeans", "Socks", "Hats"]), user % 3 == 0
        for number in range(chance.choice([1, 1, 6])):
            order = f"{user}-{number}"
            at = start + timedelta(days=chance.randint(0, 40) if lapsed else chance.randint(380, 400))
            rows["orders"].append((order, str(user), at, "Complete", None))
            for line in range(3):
                label = taste if chance.random() < 0.9 else chance.choice(["Jeans", "Socks", "Hats", "Rare"])
                rows["order_items"].append((order, line, "p", f"b{chance.randrange(40)}", label, 20.0, 1.0))
    return Shop(rows)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return villages().write(tmp_path_factory.mktemp("villages"))


@pytest.fixture(scope="module")
def trained(shop: tuple[str, Path]) -> dict[str, Training]:
    found = {}
    for kind in KINDS:
        with open_warehouse(*shop) as warehouse:
            found[kind] = train(warehouse, RECIPES[kind], now=NOW)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_published_and_reported(kind: str, trained: dict[str, Training], tmp_path: Path) -> None:
    training = trained[kind]
    assert training.publishable, training.refusal()
    model = from_bytes(to_bytes(training.artifact, SIGNER), Keyring([SIGNER.public]))
    assert model.artifact.min_reader == 2
    text = write_report(training, tmp_path).read_text()
    assert all(segment.name.split(",")[0] in text for segment in model.segments)
    population = POPULATIONS[model.spec.population]
    assert f"customers {population.inside}" in text
    assert ("with orders" in text) == (population.inside == "with orders"), (
        "who is segmented is not told by another kind's words"
    )


def names(training: Training) -> set[str]:
    return {segment.name for segment in training.artifact.segments}


def test_the_names_say_what_kind_it_is(trained: dict[str, Training]) -> None:
    assert any("apsed" in name or "ong-gone" in name for name in names(trained["rfm"]))
    assert {"Women 18-24 from Brasil", "Men 45-54 from Germany", "Women 65+ from Japan"} <= names(
        trained["demographic"]
    )
    assert {"Customers from Brasil", "Customers from Germany", "Customers from Japan"} <= names(trained["geographic"])
    assert {"Jeans lovers", "Socks lovers", "Hats lovers"} <= {
        name.split(",")[0] for name in names(trained["psychographic"])
    }


def test_whoever_tells_nothing_is_in_the_reserved_segment_and_is_not_guessed_at(trained: dict[str, Training]) -> None:
    for kind in ("demographic", "geographic"):
        model = Model(trained[kind].artifact, "")
        silent, told = Profile(), Profile(traits={2: (0, "Japan")})
        assert model.decide(silent, None, None).segment == PROSPECT
        assert model.names[PROSPECT] == "Unknown"
        assert model.likely(silent) is None
        assert model.decide(told, None, None).segment != PROSPECT, "without an order too"
        assert model.assign_many([facts(told), facts(silent)])[1] == PROSPECT


def test_the_labels_are_carried_by_the_model_and_stay_over_a_retraining(
    shop: tuple[str, Path], trained: dict[str, Training]
) -> None:
    artifact = trained["psychographic"].artifact
    used = {column.feature for column in artifact.spec.columns}
    assert used >= {"category_share:Hats", "category_share:Jeans", "category_share:Socks"}
    with open_warehouse(*shop) as warehouse:
        before = vocabulary.settled(warehouse, RECIPES["psychographic"]).spec
        assert (
            len([c for c in before.columns if c.feature.startswith("brand_share:")]) == vocabulary.MOST["brand_share"]
        )
        previous = Model(artifact, trained["psychographic"].model_id)
        assert vocabulary.settled(warehouse, RECIPES["psychographic"], previous).spec == artifact.spec
        again = train(warehouse, RECIPES["psychographic"], now=NOW + 1, previous=previous)
    assert again.artifact.spec_hash == artifact.spec_hash
    assert [s.id for s in again.artifact.segments] == [s.id for s in artifact.segments]


@pytest.mark.parametrize("kind", KINDS)
def test_moments_give_the_projection_that_everybody_gives(kind: str, shop: tuple[str, Path]) -> None:
    with open_warehouse(*shop) as warehouse:
        recipe = vocabulary.settled(warehouse, RECIPES[kind])
        people = population.look(warehouse, recipe, 10**6)
        known = moments.measure(warehouse.engine, people.facts, people.spec, recipe.rare)
    columns = fit.frame(people.spec, people.rows)
    there = fit.project(recipe, people.spec, columns).points(columns)
    here = fit.project_moments(recipe, people.spec, known).points(columns)
    for i in range(0, len(here), 50):
        assert np.linalg.norm(here - here[i], axis=1) == pytest.approx(
            np.linalg.norm(there - there[i], axis=1), abs=1e-4
        )
