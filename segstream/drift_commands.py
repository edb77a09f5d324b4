"""`segstream drift`: how things are, and the detectors over what has been, to tune thresholds offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from schemas.settings import Settings
from segstream.outcome import NO, Json, No, err, out, outcome, pairs

if TYPE_CHECKING:
    from schemas.changes import DriftAlert
    from schemas.drift import Record, Standing

app = typer.Typer(help="Whether customers still look like the training data.", no_args_is_help=True)
_STEPS = " ▁▂▃▄▅▆▇█"


@app.command()
def show(json: Json = False) -> None:
    """The last window against the training data, feature by feature, and the alerts that are open."""
    with outcome(json) as result:
        import msgspec

        from schemas.drift import decode_standing, standing_key
        from segstream import context

        settings = Settings()
        data: Any = context.redis_client(settings).get(standing_key(settings.prefix))
        if data is None:
            result.document, result.code = {"model_id": None, "open": [], "signals": []}, NO
            err.print("Nothing is known yet: no worker has the drift check, or it has seen no block.")
            return
        standing = decode_standing(data)
        result.document = {
            "model_id": standing.model_id,
            "at": standing.at,
            "blocks": standing.blocks,
            "open": msgspec.to_builtins(standing.open),
            "signals": msgspec.to_builtins(standing.looks()),
        }
        if not json:
            _tell(standing)


def _tell(standing: Standing) -> None:
    out.print(
        f"model {standing.model_id}, {standing.latest.looked_at} events up to {standing.at[:16]}Z", highlight=False
    )
    table = Table("signal", "PSI", "alert above", "training", "now", "empty")
    for look in standing.looks():
        colour = "red" if look.psi > look.threshold else "yellow" if look.psi > 0.7 * look.threshold else "green"
        table.add_row(
            look.name.replace("_", " "),
            f"[{colour}]{look.psi:.3f}[/]",
            f"{look.threshold:.2f}",
            *(_bars(shares, max(*look.reference, *look.current)) for shares in (look.reference, look.current)),
            f"{look.nulls:.0%}" if look.nulls else "",
        )
    out.print(table)
    for alert in standing.open:
        out.print(
            f"[red]{alert.level}[/] {alert.signal} {alert.feature or ''} since {alert.first_seen[:16]}Z ({alert.alert_id})"
        )
    if not standing.open:
        out.print("No alert is open.")


def _bars(shares: tuple[float, ...], most: float) -> str:
    """A histogram as large as its text.

    >>> _bars((0.0, 0.25, 0.5), 0.5)
    ' ▄█'
    """
    return "".join(_STEPS[round(share / most * (len(_STEPS) - 1))] if most else " " for share in shares)


@app.command()
def replay(
    source: Annotated[str, typer.Option(help="A source file, to replay a warehouse's history; unset: the topic.")] = "",
    warehouse: Annotated[str, typer.Option(help="Warehouse URL, with --source.")] = "",
    psi: Annotated[float | None, typer.Option(min=0, help="PSI of a feature over 1,000 events that matters.")] = None,
    psi_mix: Annotated[
        float | None, typer.Option(min=0, help="PSI of the mix of segments over 1,000 events that matters.")
    ] = None,
    psi_long: Annotated[float | None, typer.Option(min=0, help="PSI of 4,000 events or a week that matters.")] = None,
    psi_gross: Annotated[float | None, typer.Option(min=0, help="PSI of a window of 200 events that matters.")] = None,
    relation: Annotated[
        float | None, typer.Option(min=0, help="Standard deviations of one feature against the others that matter.")
    ] = None,
    shift: Annotated[float | None, typer.Option(min=0, help="Standard deviations of the distance that matter.")] = None,
    nulls: Annotated[float | None, typer.Option(min=0, help="Share of empty values that matters.")] = None,
    unseen: Annotated[float | None, typer.Option(min=0, help="Share of new labels that matters.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="name=value for a {name} in the source's SQL.")] = None,
    json: Json = False,
) -> None:
    """Run the detectors over the topic's blocks, or over a warehouse's history with the active model; nothing is sent.

    What is not given is as the workers have it.
    """
    with outcome(json) as result:
        import msgspec

        from stream_app.drift.detectors import Thresholds
        from stream_app.drift.monitor import Monitor

        settings = Settings()
        given = {
            "psi": psi, "psi_mix": psi_mix, "psi_long": psi_long, "psi_gross": psi_gross,
            "relation": relation, "shift": shift, "nulls": nulls, "unseen": unseen,
        }  # fmt: skip
        limits = Thresholds(**{name: value for name, value in given.items() if value is not None})
        monitor = Monitor(limits=limits, cooldown=int(settings.drift_cooldown * 1_000_000))
        records = _history(settings, source, warehouse, pairs(param)) if source else _topic(settings)
        alerts = [alert for record in records for alert in monitor.fold(record)]
        state = monitor.state
        result.document = {
            "blocks": state.blocks,
            "skipped": state.skipped,
            "opened": sum(alert.status == "opened" for alert in alerts),
            "alerts": msgspec.to_builtins(alerts),
            "thresholds": msgspec.to_builtins(limits),
        }
        if not json:
            _list(alerts)
            out.print(f"{state.blocks} blocks; {result.document['opened']} alerts opened.")


def _list(alerts: list[DriftAlert]) -> None:
    for alert in alerts:
        out.print(
            f"{alert.event_time[:16]}Z  {alert.status:9} {alert.level:7} {alert.message}",
            highlight=False,
            soft_wrap=True,
        )


def _topic(settings: Settings) -> Iterator[Record]:
    from schemas import topics
    from schemas.drift import decode
    from segstream import kafka

    for message in kafka.read(settings, topics.DRIFT_BLOCKS.name):
        yield decode(message.value())


def _history(settings: Settings, source: str, url: str, params: dict[str, str]) -> Iterator[Record]:
    """The warehouse's events as the stream would have seen them, were they live, by the active model."""
    import msgspec

    from batch_trainer import history
    from batch_trainer.warehouse import open_warehouse
    from schemas.customer import Customer
    from schemas.events import decode
    from schemas.sealed import from_bytes
    from segstream import context
    from stream_app.drift.blocks import Collector, looked
    from stream_app.segmenter import Position, step

    registry = context.registry(settings)
    active = registry.active()
    data = registry.load(active) if active else None
    if data is None:
        raise No("no model is active; `segstream train --publish` first")
    model = from_bytes(data, context.keyring(settings))
    collector, customers = Collector(), dict[bytes, Customer]()
    collector.install(model)
    with open_warehouse(url, source, params) as opened:
        for offset, (topic, key, value, _) in enumerate(history.events(opened)):
            event = msgspec.structs.replace(decode(key, value), replay=False)
            customer = customers.setdefault(key, Customer())
            done = step(customer, event, Position(0, topic, 0, offset), model, "")
            look = looked(customer, event, event.at // 1000, done.distance, 1, model)
            yield from collector.take(
                topic, 0, offset, offset, events=1, invalid=0,
                flips=sum(change.from_segment is not None for change in done.changes), looks=[look], now=event.at,
            )  # fmt: skip
    yield from collector.due(context.now_micros())
