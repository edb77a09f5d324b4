"""A trained model and the customers it was trained on, as the stream would hold them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from batch_trainer.recipes import RECIPES
from batch_trainer.trainer import train
from batch_trainer.warehouse import open_warehouse
from sandbox import warehouse
from sandbox.events import message
from sandbox.shop import Shop
from schemas.artifact import model_id
from schemas.events import Event, InvalidEvent, decode
from schemas.model import Model
from schemas.profile import Profile, update

NOW = 1_790_000_000_000_000
CUSTOMERS = 2600


@cache
def trained(recipe: str = "behaviour") -> Model:
    """The model of an invented shop."""
    made = Shop(17, CUSTOMERS, 365, NOW)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "shop.duckdb"
        warehouse.create(path, made.catalogue)
        warehouse.append(path, made.history)
        with open_warehouse(f"duckdb:///{path}", "thelook") as opened:
            artifact = train(opened, RECIPES[recipe], now=NOW, k=4).artifact
    return Model(artifact, model_id(artifact))


@cache
def histories() -> dict[str, list[Event]]:
    """Every customer's events, in order."""
    found: dict[str, list[Event]] = {}
    for happening in Shop(17, CUSTOMERS, 365, NOW).history:
        _, key, value = message(happening)
        event = decode(key, value)
        assert not isinstance(event, InvalidEvent)
        found.setdefault(key.decode(), []).append(event)
    return found


def profile(events: list[Event]) -> Profile:
    """What the stream remembers of these events."""
    made = Profile()
    for event in events:
        update(made, event)
    return made
