"""What reads bytes from outside, each with good examples to break and the law that holds for whatever comes of them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from batch_trainer.source import SHIPPED, WarehouseError, read_source
from schemas import customer
from schemas.artifact import RejectedModel
from schemas.customer import Customer, UnreadableState
from schemas.events import InvalidEvent, UserDeleted, decode
from schemas.sealed import from_bytes, to_bytes
from schemas.signing import Keyring, Signer
from stream_app.segmenter import Position, step
from tests.schemas.models import GOLDEN, artifact, model, newcomers

ROOT: Final = Path(__file__).parents[2]
CRASHERS: Final = Path(__file__).parent / "crashers"
"""What once broke a reader, by target: tried before anything else."""
SIGNER: Final = Signer.generate()
KEYS: Final = Keyring([SIGNER.public])
_LONG: Final = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """A reader: its good examples, and the law; the law raises whatever breaks it."""

    name: str
    seeds: Callable[[], Sequence[bytes]]
    law: Callable[[bytes], None]

    def crashers(self) -> list[Path]:
        """The files that once broke it."""
        return sorted((CRASHERS / self.name).glob("*"))


@cache
def _events() -> Sequence[bytes]:
    return [
        path.read_bytes()
        for name in ("orders", "signups")
        for path in sorted((ROOT / "schemas" / "examples" / name).rglob("*.json"))
    ]


def _event_or_reason(data: bytes) -> None:
    """What decodes can also be folded into a customer, and she can be stored and read again."""
    try:
        event = decode(None, data)
    except InvalidEvent as error:
        if not str(error) or len(str(error)) > _LONG:
            raise AssertionError("the reason is empty or endless") from error
        return
    if isinstance(event, UserDeleted):  # is no step of hers: it ends what is known
        return
    one = Customer()
    step(one, event, Position(0, "orders", 0, 1), model(), "2026-01-01T00:00:00Z")
    if customer.from_bytes(customer.to_bytes(one)) != one:
        raise AssertionError("the customer is another one after storing")


@cache
def _customers() -> Sequence[bytes]:
    made = []
    read = [event for event in (decode(None, data) for data in _events()) if not isinstance(event, UserDeleted)]
    for number in range(3):
        one = Customer()
        for offset, event in enumerate(read[: number + 2]):
            step(one, event, Position(0, "orders", 0, offset), model(), "2026-01-01T00:00:00Z")
        made.append(customer.to_bytes(one))
    return made


def _customer_or_unreadable(data: bytes) -> None:
    try:
        found = customer.from_bytes(data)
    except UnreadableState:
        return
    customer.to_bytes(found)


@cache
def _models() -> Sequence[bytes]:
    return [to_bytes(artifact(), SIGNER), to_bytes(artifact(guess=newcomers(), hysteresis=0.1), SIGNER)]


def _nothing_forged(data: bytes) -> None:
    """Whatever was changed after signing is refused."""
    try:
        from_bytes(data, KEYS)
    except RejectedModel:
        return
    if KEYS.open(data) not in {KEYS.open(good) for good in _models()}:
        raise AssertionError("an artifact that nobody signed was accepted")


@cache
def _bodies() -> Sequence[bytes]:
    return [KEYS.open(sealed) for sealed in _models()]


def _usable_or_rejected(body: bytes) -> None:
    """A signed body of whatever content is rejected, or scores in finite numbers."""
    try:
        found = from_bytes(SIGNER.seal(body), KEYS)
    except RejectedModel:
        return
    if not all(map(math.isfinite, (*found.project(GOLDEN), found.score(GOLDEN).margin))):
        raise AssertionError("a model that does not score in numbers was accepted")


@cache
def _sources() -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(SHIPPED.glob("*.toml"))]


def _source_or_reason(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            read_source(Path(file.name), {"dir": "."}, {})
        except WarehouseError as error:
            if not str(error):
                raise AssertionError("a refusal without a reason") from error


TARGETS: Final = (
    Target("events", _events, _event_or_reason),
    Target("customers", _customers, _customer_or_unreadable),
    Target("signatures", _models, _nothing_forged),
    Target("models", _bodies, _usable_or_rejected),
    Target("sources", _sources, _source_or_reason),
)
