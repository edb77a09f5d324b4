"""`segstream keys`: the keys that sign models, and replacing them while everything runs."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from schemas.settings import Settings
from segstream import context
from segstream.keyfiles import KeyFiles
from segstream.outcome import Json, No, Usage, out, outcome

app = typer.Typer(help="The keys that sign models.", no_args_is_help=True)


def _of_settings(settings: Settings) -> None:
    """Raises Usage where the keys are not those of home's files."""
    if settings.signing_key is not None or settings.trusted_keys.strip():
        raise Usage(
            "the keys are set by SEGSTREAM_SIGNING_KEY and SEGSTREAM_TRUSTED_KEYS: `segstream keys new` makes one, and "
            "docs/security.md tells how to replace it"
        )


@app.command()
def new(json: Json = False) -> None:
    """Make a key pair: the private one is shown once and is SEGSTREAM_SIGNING_KEY of the trainer alone."""
    with outcome(json) as result:
        from schemas.signing import Signer, key_id

        made = Signer.generate()
        result.document = {"id": key_id(made.public), "private": made.to_text(), "public": made.public}
        if not json:
            for name, value in result.document.items():
                out.print(f"{name:8}{value}", highlight=False, soft_wrap=True)


@app.command("list")
def list_keys(json: Json = False) -> None:
    """The keys whose models are accepted here, and which of the stored models each has signed."""
    with outcome(json) as result:
        settings = Settings()
        result.document = {"keys": _rows(settings)}
        if not json:
            table = Table("key", "public", "signs", "models")
            for row in result.document["keys"]:
                table.add_row(row["id"], row["public"], "yes" if row["signs"] else "", ", ".join(row["models"]))
            out.print(table)


@app.command()
def rotate(json: Json = False) -> None:
    """A new key in home signs from now on; models of the old one stay accepted until it is retired."""
    with outcome(json) as result:
        from schemas.signing import key_id

        settings = Settings()
        _of_settings(settings)
        made = KeyFiles(settings.home).rotate()
        result.document = {"id": key_id(made.public), "public": made.public, "keys": _rows(settings, models=False)}
        if not json:
            out.print(
                f"key {result.document['id']} signs from now on. Next: start workers and the API anew where they have other"
            )
            out.print("files than these, publish a model, then `segstream keys retire` the old key")


@app.command()
def retire(key: str, json: Json = False) -> None:
    """Accept a key's models no longer; refused while the active model is one of them."""
    with outcome(json) as result:
        settings = Settings()
        _of_settings(settings)
        lost = _signed(settings).get(key, [])
        active = context.registry(settings).active()
        if active in lost:
            raise No(
                f"the active model {active} is signed by {key}: publish one of the new key first (`segstream train --publish`)"
            )
        try:
            public = KeyFiles(settings.home).retire(key)
        except LookupError as error:
            raise No(str(error.args[0])) from error
        result.document = {"id": key, "public": public, "models": lost}
        if not json:
            note = f"; nobody can go back to {', '.join(lost)} any more" if lost else ""
            out.print(f"key {key} is retired; start workers and the API anew{note}")


def _signed(settings: Settings) -> dict[str, list[str]]:
    """Key -> the stored models that say they are signed by it."""
    from schemas.signing import signed_by

    registry = context.registry(settings)
    found: dict[str, list[str]] = {}
    for model_id, _ in registry.versions():
        data = registry.load(model_id)
        if data is not None:
            found.setdefault(signed_by(data), []).append(model_id)
    return found


def _rows(settings: Settings, *, models: bool = True) -> list[dict[str, Any]]:
    from schemas.signing import key_id

    signed = _signed(settings) if models else {}
    own = None if settings.signing_key is None and settings.trusted_keys.strip() else context.signer(settings).public
    return [
        {"id": key_id(text), "public": text, "signs": text == own, "models": signed.get(key_id(text), [])}
        for text in context.trusted(settings)
    ]
