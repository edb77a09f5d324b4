"""`segstream verify`: for every customer, what the stream holds against what the warehouse says."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from schemas import topics
from schemas.artifact import PROSPECT
from schemas.customer import Customer, from_bytes
from schemas.features import Facts, facts
from schemas.model import Model
from schemas.settings import Settings
from schemas.times import DAY, rfc3339
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


def verify(
    settings: Settings, source: str, url: str, params: dict[str, str], wait: float, as_of: int | None = None
) -> Parity:
    """Compare the state of every customer with the warehouse, once the workers have caught up.

    `as_of` (microseconds): what happened later is not in the warehouse's part, and recency is counted to that day; else to the day of the
    settings, which is the workers'.

    Raises No where they have not within `wait` seconds, or where there is no active model.
    """
    from batch_trainer.warehouse import open_warehouse
    from schemas.sealed import from_bytes as model_from_bytes

    registry = context.registry(settings)
    active = registry.active()
    data = registry.load(active) if active else None
    if data is None:
        raise No("there is no active model: `segstream train --publish`")
    model = model_from_bytes(data, context.keyring(settings))
    caught_up(settings, wait)
    today = settings.day(context.now_micros()) if as_of is None else as_of // DAY
    with open_warehouse(url, source, params, as_of=as_of) as warehouse:
        warehouse.count_shares(model.shares)
        deadline = time.monotonic() + wait
        while True:
            streamed = state(settings)
            if (
                all(_decided(model, c, today) for c in streamed.values() if not c.is_erased)
                or time.monotonic() > deadline
            ):
                break
            time.sleep(0.5)  # the customers are being moved to a new model, or to a new day
        parts = (zip(some.user_ids, some.facts, strict=True) for some in warehouse.each())
        return compare(model, map(dict, parts), streamed, today)


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


def _decided(model: Model, customer: Customer, today: int) -> bool:
    """Whether a customer was decided by the model, and every feature of hers is that of the day."""
    if customer.model_id != model.id:
        return False
    due = model.due(customer.profile)
    return due is None or due > today


def compare(
    model: Model, expected: Iterable[dict[str, Facts]], streamed: dict[str, Customer], today: int = 0
) -> Parity:
    """Count and tell the differences between the warehouse's facts, part by part, and the streamed customers.

    Both are read as of the day `today`; a customer who was decided on a later one, as of that.
    """
    parity = Parity(model.id)
    strangers = {user_id for user_id, customer in streamed.items() if not customer.is_erased}
    for part in expected:
        strangers -= part.keys()
        dated = {user_id: _dated(wanted, streamed.get(user_id), today) for user_id, wanted in part.items()}
        _compare(parity, model, dated, streamed)
    for user_id in sorted(strangers):
        parity.feature_mismatches += 1
        parity.differs(f"customer {user_id} is in the stream but not in the warehouse")
    return parity


def _dated(wanted: Facts, customer: Customer | None, today: int) -> Facts:
    day = today if customer is None else max(today, customer.profile.today)
    return msgspec.structs.replace(wanted, today=day)


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
        found = msgspec.structs.replace(facts(customer.profile, model.shares), today=wanted.today)
        if found != wanted:
            parity.feature_mismatches += 1
            for name in Facts.__struct_fields__:
                have, want = getattr(found, name), getattr(wanted, name)
                if have != want:
                    parity.differs(f"customer {user_id}: {name} is {have!r} in the stream, {want!r} in the warehouse")
        elif not _decided(model, customer, wanted.today) and customer.model_id == model.id:
            parity.feature_mismatches += 1
            parity.differs(
                f"customer {user_id}: was last decided as of {_date(customer.profile.today)}, not {_date(wanted.today)}"
            )
        problem = _segment_problem(model, customer, segment, margin)
        if problem:
            parity.segment_mismatches += 1
            parity.differs(f"customer {user_id}: {problem}")
        elif customer.segment != customer.nearest:
            parity.held += 1


def _date(day: int) -> str:
    return rfc3339(day * DAY)[:10]


def _segment_problem(model: Model, customer: Customer, segment: str, margin: float) -> str:
    """What is wrong with a customer's segment; `segment` and `margin` are the nearest by the warehouse."""
    if customer.model_id != model.id:
        return f"was last decided by model {customer.model_id or '(none)'}, active is {model.id}"
    if customer.nearest != segment:
        return f"is nearest to {customer.nearest} in the stream, {segment} in the warehouse"
    if customer.segment != segment and (margin > model.hysteresis or PROSPECT in (customer.segment, segment)):
        return f"is held in {customer.segment} although {segment} is nearer by {margin:.3f}, more than {model.hysteresis:.3f}"
    return ""
