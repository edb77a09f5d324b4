"""`segstream topics`: create and check the topics."""

from __future__ import annotations

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
