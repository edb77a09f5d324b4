"""What a run did to the result, counted against the oracle."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from schemas.customer import Customer
from schemas.features import facts
from schemas.membership import Membership
from schemas.model import Model
from tests.installation import Installation

SHOWN = 10
"""Differences told in words."""


@dataclass(slots=True)
class Judgement:
    """Differences between what the stream made and what one plain loop makes of the same input."""

    lost: int = 0
    """Orders that are missing from their customers."""
    wrong: int = 0
    """Customers and changes that are missing, too many, or not as they should be."""
    duplicates: int = 0
    """Changes that came again under the same id with the same content: allowed after a crash."""
    differences: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether there is no difference but repeated changes."""
        return not self.lost and not self.wrong

    def differs(self, what: str) -> None:
        """Count a difference and tell the first few."""
        self.wrong += 1
        if len(self.differences) < SHOWN:
            self.differences.append(what)


def unprojected(shop: Installation, state: dict[str, Customer], patience: float) -> list[str]:
    """Customers whom Redis does not show as the state has them, some seconds after everything was done."""
    left = list(state)
    until = time.monotonic() + patience
    while True:
        shown = dict(shop.projections(left))
        left = [user_id for user_id, row in shown.items() if not _is_shown(row, state[user_id])]
        if not left or time.monotonic() > until:
            texts = (f"redis shows customer {n} as {shown[n]}, the state has {state[n].segment}" for n in left)
            return [text[:300] for text in texts]
        time.sleep(0.5)


def _is_shown(row: Membership | None, customer: Customer) -> bool:
    wanted = (customer.sequence, customer.segment, customer.revision)
    return row is not None and (row.sequence, row.segment, row.revision) == wanted


def judge(shop: Installation, state: dict[str, Customer], model: Model, alike: bool = False) -> Judgement:
    """Compare every customer and every change with the oracle's; `alike`: other models decided too, all of them as this one does."""
    found = Judgement()
    expected, expected_changes = shop.oracle(model)
    for user_id in sorted(state.keys() | expected.keys()):
        wanted, customer = expected.get(user_id), state.get(user_id)
        if wanted is None:
            found.differs(f"customer {user_id} should not be there")
            continue
        if customer is None:
            found.lost += facts(wanted.profile).placed_orders
            found.differs(f"customer {user_id} is missing")
            continue
        found.lost += max(0, facts(wanted.profile).placed_orders - facts(customer.profile).placed_orders)
        for name in ("profile", "segment", "nearest", "sequence", "applied"):
            have, want = getattr(customer, name), getattr(wanted, name)
            if have != want:
                found.differs(f"customer {user_id}: {name} is {have!r}, should be {want!r}"[:500])
                break
    unsaid: dict[str, str] = {"decided_at": ""} | ({"model_id": ""} if alike else {})
    wanted_changes = {change.change_id: msgspec.structs.replace(change, **unsaid) for change in expected_changes}
    seen: Counter[str] = Counter()
    steps: dict[str, int] = {}
    for change in shop.changes():
        seen[change.change_id] += 1
        if seen[change.change_id] == 1:
            if change.sequence != steps.get(change.user_id, 0) + 1:
                found.differs(
                    f"change {change.change_id} comes after the {steps.get(change.user_id, 0)}th of its customer"
                )
            steps[change.user_id] = change.sequence
        plain = msgspec.structs.replace(change, **unsaid)
        if wanted_changes.get(change.change_id) != plain:
            found.differs(f"change {plain} should be {wanted_changes.get(change.change_id)}"[:500])
    for change_id in wanted_changes.keys() - seen.keys():
        found.differs(f"change {change_id} is missing")
    found.duplicates = seen.total() - len(seen)
    return found
