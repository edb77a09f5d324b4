"""The kinds of customers the invented shop has: how often they buy, how much, of what, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One kind of customer; rates are per 30 days, shares from 0 to 1."""

    name: str
    share: float
    orders: float
    """Mean orders per 30 days while active."""
    active_days: float
    """Days after sign-up in which she buys."""
    basket: float
    """Mean lines per order."""
    price: float
    """Factor on the catalogue's prices."""
    categories: int
    """How many categories she ever looks at."""
    returned: float
    cancelled: float
    ages: tuple[int, int]
    women: float


PERSONAS: Final = (
    Persona(name="one-time bargain hunter", share=0.15, orders=0.2, active_days=60, basket=1.1, price=0.5, categories=2,
            returned=0.0, cancelled=0.06, ages=(18, 40), women=0.5),
    Persona(name="regular", share=0.32, orders=2.2, active_days=700, basket=1.6, price=0.9, categories=4,
            returned=0.005, cancelled=0.03, ages=(25, 60), women=0.6),
    Persona(name="big spender", share=0.12, orders=0.75, active_days=700, basket=3.0, price=4.5, categories=3,
            returned=0.03, cancelled=0.02, ages=(35, 70), women=0.5),
    Persona(name="explorer", share=0.12, orders=5.0, active_days=700, basket=2.6, price=0.6, categories=12,
            returned=0.06, cancelled=0.04, ages=(20, 50), women=0.55),
    Persona(name="serial returner", share=0.16, orders=1.5, active_days=700, basket=2.2, price=1.0, categories=5,
            returned=0.75, cancelled=0.04, ages=(18, 45), women=0.7),
    Persona(name="lapsed", share=0.13, orders=1.8, active_days=75, basket=1.8, price=1.3, categories=3,
            returned=0.02, cancelled=0.04, ages=(30, 70), women=0.45),
)  # fmt: skip
"""Far enough apart in how often, how dear, how varied and what comes back, that segmenting the shop finds them again."""


def shifted(persona: Persona) -> Persona:
    """The same customer after the shop has changed: dearer, larger and more mixed baskets."""
    return replace(persona, basket=persona.basket * 4 + 3, price=persona.price * 4, categories=12)
