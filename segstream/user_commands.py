"""`segstream users`: one customer, as services see her."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from schemas.settings import Settings
from segstream import context
from segstream.outcome import NO, Json, No, Usage, err, out, outcome

app = typer.Typer(help="Single customers.", no_args_is_help=True)
By = Annotated[str, typer.Option(help="Who does it; default: the user of this machine.")]


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
            raise No(
                "this customer is not known here: no event of hers was seen, she was erased, or the projection is behind"
            )
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


@app.command()
def erase(
    user_id: str,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit topic. Name nobody in it.")],
    by: By = "",
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until the worker has done it.")] = 30.0,
    json: Json = False,
) -> None:
    """Forget a customer everywhere, and ignore events of hers for SEGSTREAM_ERASURE_DAYS; exit 1 while no worker has done it."""
    with outcome(json) as result:
        from segstream import erasure

        if not reason.strip():
            raise Usage("--reason is empty; an erasure cannot be taken back, say why it is done")
        settings = context.logged(Settings())
        result.document = done = erasure.erase(settings, user_id, reason, by=by, wait=wait)
        result.code = 0 if done["applied"] else NO
        if not json and done["applied"]:
            out.print(f"Erased. Events of this customer are ignored until {done['ignored_until']}.", highlight=False)
        elif not json:
            out.print(
                f"Ordered ({done['order']}), and not done within {wait:.0f} s: is a worker running, does it trust this key? "
                "The order stays; `segstream deadletters list` would show it if it was refused.",
                highlight=False,
            )


@app.command()
def export(
    user_id: str,
    to: Annotated[Path | None, typer.Option("--out", help="Write it into this file, for its owner only.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit topic.")] = "",
    by: By = "",
    json: Json = False,
) -> None:
    """Everything that is held of a customer, as one JSON document; exit 1 where nothing is."""
    with outcome(json) as result:
        from segstream.export import export as run

        settings = context.logged(Settings())
        document = run(settings, user_id, reason, by)
        parts = (document["customer"], document["told_last"], document["changes"], *document["received"].values())
        result.code = 0 if any(parts) or any(document["not_usable"].values()) else NO
        text = msgspec.json.format(msgspec.json.encode(document), indent=2)
        if to is not None:
            with os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(text + b"\n")
            result.document = {"file": str(to), "bytes": len(text) + 1}
            if not json:
                err.print(f"{len(text) + 1} bytes written to {to}")
        else:
            result.document = document
            if not json:
                sys.stdout.write(text.decode() + "\n")


def _changes(settings: Settings, user_id: str) -> list[dict[str, object]]:
    from schemas import topics
    from segstream import kafka

    rows = [msgspec.json.decode(m.value()) for m in kafka.of_key(settings, topics.CHANGES.name, user_id.encode())]
    return sorted(rows, key=lambda row: row["sequence"])
