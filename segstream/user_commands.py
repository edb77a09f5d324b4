"""`segstream users`: one customer, as services see her."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.table import Table

from schemas.settings import Settings
from segstream import context
from segstream.outcome import Json, No, out, outcome

app = typer.Typer(help="Single customers.", no_args_is_help=True)


@app.command()
def show(
    user_id: str,
    changes: Annotated[bool, typer.Option(help="Also read her changes from the log of changes.")] = False,
    json: Json = False,
) -> None:
    """Where a customer is, why, and how fresh that is."""
    with outcome(json) as result:
        from schemas.membership import from_fields, user_key

        settings = Settings()
        fields = context.redis_client(settings).hgetall(user_key(settings.prefix, user_id))
        if not fields:
            raise No(f"customer {user_id!r} is not known here: no event of hers was seen, or the projection is behind")
        found = from_fields(user_id, fields)  # type: ignore[arg-type]
        result.document = msgspec.to_builtins(found)
        if changes:
            result.document["changes"] = _changes(settings, user_id)
        if not json:
            out.print(f"[bold]{found.name}[/] ({found.segment}), margin {found.margin:.3f}, by {found.model_id}")
            if found.likely_segment is not None:
                out.print(
                    f"likely {found.likely_name} ({found.likely_segment}) when she buys, probability {found.likely_probability:.2f}"
                )
            table = Table("feature", "value")
            for name, value in found.features.items():
                table.add_row(name, "unknown" if value is None else str(value))
            out.print(table)
            for change in result.document.get("changes", []):
                out.print(f"{change['event_time']}  {change['from_name']} -> {change['to_name']}  ({change['cause']})")


def _changes(settings: Settings, user_id: str) -> list[dict[str, object]]:
    from schemas import topics
    from segstream import kafka

    key = user_id.encode()
    read = kafka.read(settings, topics.CHANGES.name)
    rows = [msgspec.json.decode(m.value()) for m in read if m.key() == key]
    return sorted(rows, key=lambda row: row["sequence"])
