"""`segstream verify`: for every customer, what the stream holds against what the warehouse says."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from schemas import topics
from schemas.customer import Customer, from_bytes
from schemas.features import Facts, facts
from schemas.model import PROSPECT, Model
from schemas.settings import Settings
from segstream import context
from segstream.outcome import No

SHOWN: Final = 10
"""Differences told in words."""


@dataclass(slots=True)
class Parity:
    """How far stream and warehouse agree."""

    model_id: str
    customers: int = 0
    feature_mismatches: int = 0
    segment_mismatches: int = 0
    held: int = 0
    """Customers whom the hysteresis holds in another segment than the nearest: no mismatch."""
    erased: int = 0
    """Customers of the warehouse who were erased here: no mismatch, but look why the warehouse still has them."""
    differences: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether there is no difference at all."""
        return not self.feature_mismatches and not self.segment_mismatches

    def document(self) -> dict[str, Any]:
        """For scripts."""
        return {name: getattr(self, name) for name in self.__slots__}

    def differs(self, what: str) -> None:
        """Tell a difference, if not too many were told."""
        if len(self.differences) < SHOWN:
            self.differences.append(what)


def verify(settings: Settings, source: str, url: str, params: dict[str, str], wait: float) -> Parity:
    """Compare the state of every customer with the warehouse, once the workers have caught up.

    Raises No where they have not within `wait` seconds, or where there is no active model.
    """
    from batch_trainer.warehouse import open_warehouse
    from schemas.model import from_bytes as model_from_bytes

    registry = context.registry(settings)
    active = registry.active()
    data = registry.load(active) if active else None
    if data is None:
        raise No("there is no active model: `segstream train --publish`")
    model = model_from_bytes(data, context.keyring(settings))
    caught_up(settings, wait)
    with open_warehouse(url, source, params) as warehouse:
        deadline = time.monotonic() + wait
        while True:
            streamed = state(settings)
            if all(c.model_id == model.id for c in streamed.values() if not c.is_erased) or time.monotonic() > deadline:
                break
            time.sleep(0.5)  # the customers are being moved to a new model
        parts = (zip(some.user_ids, some.facts, strict=True) for some in warehouse.each())
        return compare(model, map(dict, parts), streamed)


def caught_up(settings: Settings, wait: float) -> None:
    """Wait until the workers have committed everything in the source topics. Raises No after `wait` seconds."""
    from segstream import kafka

    deadline = time.monotonic() + wait
    while True:
        lag = kafka.lag(settings)
        behind = {name: records for name, records in lag.items() if records != 0}
        if not behind:
            return
        if time.monotonic() > deadline:
            if all(records is None for records in behind.values()):
                raise No(
                    f"no worker of group {settings.app_id!r} has processed anything; start one: `segstream worker`"
                )
            text = ", ".join(f"{name} {'all' if n is None else n}" for name, n in sorted(behind.items()))
            raise No(f"the workers are still behind after {wait:.0f} s: {text}")
        time.sleep(0.2)


def state(settings: Settings) -> dict[str, Customer]:
    """Every customer as the changelog holds her."""
    from segstream import kafka

    latest: dict[bytes, bytes | None] = {}
    for message in kafka.read(settings, topics.USERS.name):
        latest[message.key()] = message.value()
    return {key.decode(): from_bytes(value) for key, value in latest.items() if value is not None}


def compare(model: Model, expected: Iterable[dict[str, Facts]], streamed: dict[str, Customer]) -> Parity:
    """Count and tell the differences between the warehouse's facts, part by part, and the streamed customers."""
    parity = Parity(model.id)
    strangers = {user_id for user_id, customer in streamed.items() if not customer.is_erased}
    for part in expected:
        strangers -= part.keys()
        _compare(parity, model, part, streamed)
    for user_id in sorted(strangers):
        parity.feature_mismatches += 1
        parity.differs(f"customer {user_id} is in the stream but not in the warehouse")
    return parity


def _compare(parity: Parity, model: Model, expected: dict[str, Facts], streamed: dict[str, Customer]) -> None:
    parity.customers += len(expected)
    nearest = model.nearest_many(list(expected.values()))
    for (user_id, wanted), (segment, margin) in zip(expected.items(), nearest, strict=True):
        customer = streamed.get(user_id)
        if customer is not None and customer.is_erased:
            parity.erased += 1
            continue
        if customer is None:
            parity.feature_mismatches += 1
            parity.segment_mismatches += 1
            parity.differs(f"customer {user_id} is in the warehouse but not in the stream")
            continue
        found = facts(customer.profile)
        if found != wanted:
            parity.feature_mismatches += 1
            for name in Facts.__struct_fields__:
                have, want = getattr(found, name), getattr(wanted, name)
                if have != want:
                    parity.differs(f"customer {user_id}: {name} is {have!r} in the stream, {want!r} in the warehouse")
        problem = _segment_problem(model, customer, segment, margin)
        if problem:
            parity.segment_mismatches += 1
            parity.differs(f"customer {user_id}: {problem}")
        elif customer.segment != customer.nearest:
            parity.held += 1


def _segment_problem(model: Model, customer: Customer, segment: str, margin: float) -> str:
    """What is wrong with a customer's segment; `segment` and `margin` are the nearest by the warehouse."""
    if customer.model_id != model.id:
        return f"was last decided by model {customer.model_id or '(none)'}, active is {model.id}"
    if customer.nearest != segment:
        return f"is nearest to {customer.nearest} in the stream, {segment} in the warehouse"
    if customer.segment != segment and (margin > model.hysteresis or PROSPECT in (customer.segment, segment)):
        return f"is held in {customer.segment} although {segment} is nearer by {margin:.3f}, more than {model.hysteresis:.3f}"
    return ""
