"""`segstream destinations`: who is told of changes and alerts, checking them, and going back."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from schemas.settings import Settings
from segstream.outcome import NO, Json, Usage, err, out, outcome

if TYPE_CHECKING:
    from destinations.configuration import Destination

app = typer.Typer(
    help="Receivers of segment changes and drift alerts: webhooks, Slack, Alertmanager.", no_args_is_help=True
)
Name = Annotated[str, typer.Argument(help="The destination's name, as in the file.")]


def _named(settings: Settings, name: str) -> Destination:
    from destinations import configuration

    those = configuration.load(settings.destinations)
    for one in those:
        if one.name == name:
            return one
    raise Usage(
        f"{settings.destinations} has no destination {name!r}; there are {', '.join(o.name for o in those) or 'none'}"
    )


def _row(one: Destination) -> dict[str, Any]:
    """What may be shown: of the address its host alone, of secrets the names."""
    from destinations.configuration import Target

    return {
        "name": one.name,
        "wants": one.wants,
        "format": one.format,
        "host": Target(url=one.url).host if one.url else f"in {one.url_env}",
        "entered": list(one.segments.entered),
        "left": list(one.segments.left),
        "causes": list(one.causes) if one.wants == "segment-changes" else [],
        "levels": list(one.levels) if one.wants == "drift-alerts" else [],
        "secret_env": list(one.secret_env),
        "allow_private": one.allow_private,
    }


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help="Only this destination; may be repeated.")] = None,
) -> None:
    """Deliver until stopped; more processes share the partitions, each destination waits for none but itself."""
    with outcome(False) as result:
        from destinations import configuration
        from destinations.process import run as deliver
        from destinations.subscription import TOPICS
        from schemas import topics
        from segstream import kafka
        from stream_app import logs

        settings = Settings()
        those = configuration.load(settings.destinations)
        if only:
            those = tuple(_named(settings, name) for name in dict.fromkeys(only))
        if not those:
            raise Usage(f"{settings.destinations} lists no destination: there is nothing to do")
        for one in those:
            configuration.target(one, os.environ)
        kafka.require(settings, topics.DESTINATION_DLT.name, *{TOPICS[one.wants] for one in those})
        logs.configure(settings.log_format, settings.log_level)
        result.code = deliver(settings, those, os.environ)


@app.command("list")
def list_destinations(json: Json = False) -> None:
    """The destinations of the file: what each wants and where it is; secrets by name only."""
    with outcome(json) as result:
        from destinations import configuration

        rows = [_row(one) for one in configuration.load(Settings().destinations)]
        result.document = {"destinations": rows}
        if not json:
            table = Table("name", "wants", "which", "format", "where", "signed by")
            for row in rows:
                moves = [*(f"into {s}" for s in row["entered"]), *(f"out of {s}" for s in row["left"])]
                which = ", ".join([*moves, *row["causes"], *row["levels"]])
                table.add_row(
                    row["name"], row["wants"], which, row["format"], row["host"], ", ".join(row["secret_env"])
                )
            out.print(table)


@app.command()
def check(json: Json = False) -> None:
    """Whether every destination could be delivered to: its secrets, its address, the topics. Sends nothing; exit 1 if one could not."""
    with outcome(json) as result:
        from destinations import configuration
        from destinations.subscription import TOPICS
        from schemas import topics
        from segstream import kafka

        settings = Settings()
        those = configuration.load(settings.destinations)
        rows = [{"name": one.name, "problem": _problem(one)} for one in those]
        counts = kafka.partition_counts(settings)
        needed = {topics.DESTINATION_DLT.name, *(TOPICS[one.wants] for one in those)}
        rows += [
            {"name": name, "problem": "missing: `segstream topics create`"} for name in sorted(needed - counts.keys())
        ]
        result.document = {"ok": not any(row["problem"] for row in rows), "checks": rows}
        result.code = 0 if result.document["ok"] else NO
        if not json:
            table = Table("destination", "")
            for row in rows:
                table.add_row(row["name"], row["problem"] or "[green]ok[/]")
            out.print(table)


def _problem(one: Destination) -> str:
    from urllib.parse import urlsplit

    from destinations import configuration, connection

    try:
        parts = urlsplit(configuration.target(one, os.environ).url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection.checked(parts.hostname or "", port, connection.resolve, one.allow_private)
    except (configuration.BadDestinations, connection.AddressRefused) as error:
        return str(error)
    except OSError as error:
        return f"its host cannot be resolved ({error.strerror or error})"
    return ""


@app.command("test")
def send_test(name: Name, json: Json = False) -> None:
    """Send one made-up event, marked as a test, and say what the receiver answered; exit 1 if it did not take it."""
    with outcome(json) as result:
        from destinations import configuration, trial

        one = _named(Settings(), name)
        row = trial.send(one, configuration.target(one, os.environ), time.time)
        result.document = row
        result.code = 0 if row["taken"] else NO
        if not json:
            said = "[green]taken[/]" if row["taken"] else f"[red]not taken[/]: {row['reason']}"
            out.print(f"{name}: {said} ({row['seconds']:.2f} s)")


@app.command()
def replay(
    name: Name,
    since: Annotated[str, typer.Option("--from", help="From this moment (RFC 3339), by the time in Kafka.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and change nothing.")] = False,
    json: Json = False,
) -> None:
    """Set a destination back to a moment; it delivers from there when it is started again. Filters hold as ever; ids are the same."""
    with outcome(json) as result:
        from destinations import replay as history
        from schemas.times import parse_rfc3339

        settings = Settings()
        one = _named(settings, name)
        try:
            moment = parse_rfc3339(since)
        except ValueError as error:
            raise Usage(f"--from {since!r} is no moment: 2026-11-01T00:00:00Z is one") from error
        found = history.look(settings, one, moment)
        if not dry_run:
            history.rewind(settings, one, found.offsets)
        result.document = {"destination": name, "from": since, "dry_run": dry_run, **found.document()}
        if not json:
            said = "would be sent" if dry_run else "will be sent when it is started"
            out.print(f"{found.events} events of {found.records} records {said} to {name}.")
            for kind, count in found.kinds.most_common():
                out.print(f"  {count} {kind}", highlight=False, markup=False)


@app.command("deadletters")
def dead_letters(
    name: Annotated[str, typer.Argument(help="Only this destination's.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 50,
    json: Json = False,
) -> None:
    """What receivers did not take, and why; `replay` sends it again."""
    with outcome(json) as result:
        from schemas import headers, topics
        from segstream import kafka

        rows = []
        for message in kafka.read(Settings(), topics.DESTINATION_DLT.name):
            said = headers.texts(message)
            if name in ("", said.get("destination")):
                rows.append({**said, "key": (message.key() or b"").decode("utf-8", "replace")})
        result.document = {"count": len(rows), "dead_letters": rows[-limit:]}
        if not json:
            table = Table("destination", "source", "error", "reason")
            for row in rows[-limit:]:
                source = f"{row.get('source_topic')}:{row.get('source_partition')}:{row.get('source_offset')}"
                table.add_row(row.get("destination"), source, row.get("error"), row.get("message"))
            out.print(table if rows else "No dead letters.")


@app.command()
def secret(json: Json = False) -> None:
    """Make a signing secret: it is shown once; it goes into the environment, and to the receiver."""
    with outcome(json) as result:
        from destinations.signature import generate

        made = generate()
        result.document = {"secret": made}
        if not json:
            err.print("Keep it where secrets are kept; the file of destinations names the variable that holds it.")
            typer.echo(made)


@app.command()
def docs() -> None:
    """All settings of a destination as a Markdown table."""
    with outcome(False):
        from destinations.configuration import settings_table

        typer.echo(settings_table())
