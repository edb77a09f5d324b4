"""`segstream topics`: create and check the topics, and who may do what with them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from schemas.settings import Settings
from segstream.outcome import NO, Json, out, outcome

app = typer.Typer(help="The Kafka topics of this installation.", no_args_is_help=True)


@app.command()
def create(json: Json = False) -> None:
    """Create the topics that are missing; may be run again at any time."""
    _report(json, made=True)


@app.command("list")
def list_topics(json: Json = False) -> None:
    """Every topic, what it holds, and what is wrong with it."""
    _report(json, made=False)


@app.command()
def acls(
    process: Annotated[
        list[str] | None, typer.Argument(help="source, worker, trainer, api, destinations, ops; default: all of them.")
    ] = None,
    principal_prefix: Annotated[str, typer.Option(help="A process' user is this and its name.")] = "segstream-",
    apply: Annotated[bool, typer.Option("--apply", help="Grant them on Kafka now, as its administrator.")] = False,
    json: Json = False,
) -> None:
    """The least rights of each process: commands for Kafka's and Redis' own tools, or granted on Kafka at once."""
    with outcome(json) as result:
        from segstream import permissions

        settings = Settings()
        chosen = permissions.chosen(process or [])
        rows = [permissions.row(settings, name, f"{principal_prefix}{name}") for name in chosen]
        result.document = {"processes": rows, "applied": apply}
        if apply:
            permissions.apply(settings, {name: f"{principal_prefix}{name}" for name in chosen})
        if not json:
            for row in rows:
                typer.echo(f"# {row['process']}: {row['who']}")
                for line in (*row["kafka"], *filter(None, [row["redis"]])):
                    typer.echo(line)
            if apply:
                typer.echo("# granted on Kafka; the lines for Redis are for redis-cli")


def _report(json: bool, *, made: bool) -> None:
    with outcome(json) as result:
        from segstream import kafka

        rows = kafka.create(Settings()) if made else kafka.check(Settings())
        result.document = {"topics": rows}
        result.code = NO if any(row["problem"] for row in rows) else 0
        if not json:
            table = Table("topic", "partitions", "holds", "state")
            for row in rows:
                state = row["problem"] or ("created" if row.get("created") else "ok")
                table.add_row(row["name"], str(row["partitions"] or "-"), row["purpose"], state)
            out.print(table)
