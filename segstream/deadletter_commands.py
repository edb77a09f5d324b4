"""`segstream deadletters`: what could not be used, why, and sending it again."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from schemas import headers, topics
from schemas.settings import Settings
from segstream import context
from segstream.outcome import Json, Usage, out, outcome

app = typer.Typer(help="Messages that could not be used.", no_args_is_help=True)
Topic = Annotated[str, typer.Option(help="Only those of this source topic.")]


def _sources(topic: str) -> list[str]:
    names = [source.name for source in topics.INPUTS]
    if topic and topic not in names:
        raise Usage(f"--topic {topic!r} is no source topic; expected one of {', '.join(names)}")
    return [topic] if topic else names


def _row(message: Any) -> dict[str, Any]:
    said = headers.texts(message)
    return {
        "source": f"{said.get('source_topic')}:{said.get('source_partition')}:{said.get('source_offset')}",
        "error": said.get("error"),
        "message": said.get("message"),
        "truncated": said.get("truncated") == "true",
        "key": (message.key() or b"").decode("utf-8", "replace"),
        "value": (message.value() or b"")[:300].decode("utf-8", "replace"),
    }


@app.command("list")
def list_letters(
    topic: Topic = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 50,
    json: Json = False,
) -> None:
    """The latest dead letters with their reasons."""
    with outcome(json) as result:
        from segstream import kafka

        settings = Settings()
        rows = [_row(m) for source in _sources(topic) for m in kafka.read(settings, topics.dead_letter_topic(source))]
        result.document = {"count": len(rows), "dead_letters": rows[-limit:]}
        if not json:
            table = Table("source", "error", "reason", "value")
            for row in rows[-limit:]:
                table.add_row(row["source"], row["error"], row["message"], row["value"][:60])
            out.print(table if rows else "No dead letters.")


@app.command()
def redrive(
    topic: Topic = "",
    only: Annotated[
        str, typer.Option(help="Only those with this error, as `list` shows it: InvalidEvent, TooLate, ...")
    ] = "",
    attempts: Annotated[int, typer.Option(min=1, help="Leave those that came back so often.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit topic.")] = "",
    json: Json = False,
) -> None:
    """Send the dead letters to their source again; each once, however often this is run. Those of erased customers are ignored there."""
    with outcome(json) as result:
        from segstream import audit
        from segstream.redrive import redrive as run

        settings, sources = context.logged(Settings()), _sources(topic)
        if not dry_run:
            audit.note(settings, "redrive", f"{','.join(sources)}{only and ':'}{only}", reason)
        done = run(settings, sources, only=only, most=attempts, dry_run=dry_run)
        result.document = done.document()
        if not json:
            said = "would be sent again" if dry_run else "sent again"
            out.print(f"{done.sent} {said} ({', '.join(f'{n} {e}' for e, n in sorted(done.errors.items())) or 'none'})")
            out.print(
                f"{done.truncated} skipped because only a part of them was kept, {done.exhausted} because they came back {attempts} times"
            )
