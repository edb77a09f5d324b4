"""`segstream tokens`: tokens for the API, which keeps only their hashes."""

from __future__ import annotations

from typing import Annotated

import typer

from segstream.outcome import Json, out, outcome

app = typer.Typer(help="Tokens of the API.", no_args_is_help=True)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose it is, for logs and limits, e.g. personalization.")],
    scope: Annotated[list[str] | None, typer.Option(help="read, what-if or admin; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Make a token: it is shown once; its entry goes into SEGSTREAM_API_TOKENS (comma-separated)."""
    with outcome(json) as result:
        from segment_api.access import mint

        token, entry = mint(name, scope or ["read"])
        result.document = {"token": token, "entry": entry}
        if not json:
            out.print(f"token  {token}\nentry  {entry}", highlight=False, soft_wrap=True)
