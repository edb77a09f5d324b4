"""`segstream audit`: who did what, when and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from schemas.settings import Settings
from segstream.outcome import Json, out, outcome

app = typer.Typer(help="What people did: erasures, exports, redrives, switches of models.", no_args_is_help=True)


@app.command("list")
def list_entries(
    user: Annotated[str, typer.Option(help="Only what concerned this customer (her id; the trail has its hash).")] = "",
    action: Annotated[str, typer.Option(help="Only erase, export, redrive, activate or rollback.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 50,
    json: Json = False,
) -> None:
    """The latest entries, oldest first."""
    with outcome(json) as result:
        from segstream import audit

        rows = audit.entries(Settings(), user_id=user, action=action)
        result.document = {"count": len(rows), "entries": rows[-limit:]}
        if not json:
            table = Table("at", "by", "did", "to", "why")
            for row in rows[-limit:]:
                table.add_row(row["at"], row["by"], row["action"], row["subject"], row["reason"])
            out.print(table if rows else "Nothing is written down.")
