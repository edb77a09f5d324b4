"""The demo as one looks at it: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table

from segstream.demo.probe import Probe


class View:
    """Tells what happens; `watch` gives a live picture while something else goes on."""

    def __init__(self, console: Console, *, live: bool) -> None:
        self._console = console
        self._live = live and console.is_terminal
        self._picture: Live | None = None

    def say(self, text: str) -> None:
        """One line."""
        (self._picture.console if self._picture else self._console).print(f"[dim]·[/] {text}", highlight=False)

    def open(self) -> None:
        """Begin the live picture."""
        if self._live:
            self._picture = Live(console=self._console, refresh_per_second=4, transient=True)
            self._picture.start()

    def close(self) -> None:
        """End the live picture."""
        if self._picture is not None:
            self._picture.stop()
            self._picture = None

    def update(self, draw: Callable[[], RenderableType]) -> None:
        """Show the present state."""
        if self._picture is not None:
            self._picture.update(draw())


def picture(probe: Probe, numbers: dict[str, Any]) -> RenderableType:
    """Events and latency, segments with sizes, the latest changes with their reasons, alerts."""
    facts = Table.grid(padding=(0, 2))
    for name, value in numbers.items():
        facts.add_row(f"[dim]{name}[/]", f"[bold]{value}[/]")
    sizes = Table("segment", "customers", box=None, padding=(0, 1))
    total = max(1, len(probe.where))
    for row in probe.sizes():
        sizes.add_row(row["name"], f"{row['customers']}  [blue]{'█' * round(24 * row['customers'] / total)}[/]")
    changes = Table("customer", "from", "to", "why", box=None, padding=(0, 1))
    for change in reversed(list(probe.latest)):
        orders = change.features.get("orders")
        spend = change.features.get("gross_spend")
        why = change.cause + (
            f": {orders:.0f} orders, {spend:.0f} spent"
            if isinstance(orders, float) and isinstance(spend, float)
            else ""
        )
        changes.add_row(change.user_id, change.from_name or "-", change.to_name, why)
    parts: list[RenderableType] = [
        Columns([Panel(facts, title="now"), Panel(sizes, title="segments")]),
        Panel(changes, title="latest changes"),
    ]
    if probe.alerts:
        told = "\n".join(f"{alert.message}\n[dim]{alert.suggested_action}[/]" for alert in probe.alerts[-2:])
        parts.append(Panel(told, title="drift", border_style="red"))
    return Group(*parts)
