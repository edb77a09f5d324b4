"""`segstream config`: what is set, from where, and what could be."""

from __future__ import annotations

import os
from typing import Any

import typer
from rich.table import Table

from schemas.settings import Settings
from segstream.outcome import Json, out, outcome

app = typer.Typer(help="The settings in force, and all there are.", no_args_is_help=True)


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Every setting: value (secrets masked), where it comes from, meaning."""
    explicit = settings.model_fields_set
    found = []
    for name, field in Settings.model_fields.items():
        variable = f"SEGSTREAM_{name.upper()}"
        origin = "environment" if variable in os.environ else "segstream.toml" if name in explicit else "default"
        value = getattr(settings, name)
        found.append(
            {
                "name": name,
                "variable": variable,
                "value": value if isinstance(value, int | float | bool) or value is None else str(value),
                "origin": origin,
                "default": None if field.default is None else str(field.default),
                "description": field.description,
            }
        )
    return found


@app.command()
def show(json: Json = False) -> None:
    """The settings in force and where each comes from; secrets are masked."""
    with outcome(json) as result:
        found = rows(Settings())
        result.document = {"settings": [{k: row[k] for k in ("name", "value", "origin")} for row in found]}
        if not json:
            table = Table("setting", "value", "from")
            for row in found:
                table.add_row(row["name"], "" if row["value"] is None else str(row["value"]), row["origin"])
            out.print(table)


@app.command()
def docs(json: Json = False) -> None:
    """All settings as a Markdown table."""
    with outcome(json) as result:
        found = rows(Settings())
        result.document = {"settings": [{k: row[k] for k in ("variable", "default", "description")} for row in found]}
        if not json:
            lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
            lines += [f"| `{r['variable']}` | {r['default'] or ''} | {r['description']} |" for r in found]
            typer.echo("\n".join(lines))
