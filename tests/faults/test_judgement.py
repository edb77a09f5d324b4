"""The judge of the fault runs must see what it is there to see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from schemas.changes import SegmentChanged
from schemas.customer import Customer
from tests.faults.judgement import judge
from tests.installation import Installation, orders
from tests.schemas.models import model


class Told(Installation):
    """An installation without servers: what was produced, and what the stream is said to have made of it."""

    def __init__(self) -> None:
        super().__init__(Path(), "", "")
        rows = orders(200, 20)
        self.produced = [(topic, 0, offset, key, value) for offset, (topic, key, value) in enumerate(rows)]
        self.told_state, self.told_changes = self.oracle(model())

    def state(self) -> dict[str, Customer]:
        return self.told_state

    def changes(self) -> list[SegmentChanged]:
        return self.told_changes


def _last_order_forgotten(shop: Told) -> None:
    everything = shop.produced
    shop.produced = everything[:-1]
    shop.told_state = shop.oracle(model())[0]
    shop.produced = everything


def _change_forgotten(shop: Told) -> None:
    del shop.told_changes[3]


def _change_altered(shop: Told) -> None:
    shop.told_changes[3] = msgspec.structs.replace(shop.told_changes[3], to_segment="s9")


def _customer_forgotten(shop: Told) -> None:
    del shop.told_state["3"]


def _change_repeated(shop: Told) -> None:
    shop.told_changes.append(msgspec.structs.replace(shop.told_changes[3], decided_at="later"))


def test_what_the_oracle_says_is_exact() -> None:
    shop = Told()
    found = judge(shop, shop.state(), model())
    assert found.exact
    assert (found.lost, found.wrong, found.duplicates) == (0, 0, 0)


@pytest.mark.parametrize("spoil", [_last_order_forgotten, _change_forgotten, _change_altered, _customer_forgotten])
def test_whatever_is_missing_or_altered_is_not_exact(spoil: Callable[[Told], None]) -> None:
    shop = Told()
    spoil(shop)
    found = judge(shop, shop.state(), model())
    assert not found.exact
    assert found.differences
    assert (found.lost > 0) == (spoil in (_last_order_forgotten, _customer_forgotten))


def test_a_change_that_comes_again_with_the_same_content_is_a_duplicate_and_exact() -> None:
    shop = Told()
    _change_repeated(shop)
    found = judge(shop, shop.state(), model())
    assert found.exact
    assert found.duplicates == 1
