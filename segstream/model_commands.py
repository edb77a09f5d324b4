"""`segstream models`: versions, the active one, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from schemas.audit import Action
from schemas.newcomer import Newcomers
from schemas.settings import Settings
from schemas.times import rfc3339
from segstream import context
from segstream.outcome import NO, Json, No, Usage, err, out, outcome, pairs

app = typer.Typer(help="The published models.", no_args_is_help=True)
Reason = Annotated[str, typer.Option(help="Why; kept in the log.")]


def announce(settings: Settings, action: str, model_id: str, reason: str = "") -> None:
    """Tell `model-events`; the model itself is in Redis, so that Kafka being away is only said."""
    from schemas.changes import ModelEvent
    from segstream import kafka, model_events

    at = rfc3339(context.now_micros())
    event = ModelEvent(action=action, model_id=model_id, at=at, by=context.who(), reason=reason)  # type: ignore[arg-type]
    try:
        model_events.tell(settings, event)
    except (kafka.KafkaUnreachable, No) as error:
        err.print(f"No model event was sent ({error}); the model itself is published.", soft_wrap=True)


def _audit(settings: Settings, action: Action, model_id: str, reason: str) -> None:
    """Write a switch down. A bad model must be left also while Kafka is away: then that is said, and the models' own log has it."""
    from segstream import audit, kafka

    try:
        audit.note(context.logged(settings), action, model_id, reason)
    except (kafka.KafkaUnreachable, No) as error:
        err.print(f"Nothing was written into the audit topic ({error}).", soft_wrap=True)


@app.command("list")
def list_models(json: Json = False) -> None:
    """The stored versions, latest first."""
    with outcome(json) as result:
        registry = context.registry(Settings())
        active, candidate = registry.active(), registry.candidate()
        tried = candidate.model_id if candidate else None
        rows = [{"model_id": m, "published_at": rfc3339(at), "active": m == active} for m, at in registry.versions()]
        result.document = {"active": active, "candidate": tried, "models": rows}
        if not json:
            table = Table("model", "published", "")
            for row in rows:
                standing = "active" if row["active"] else "candidate" if row["model_id"] == tried else ""
                table.add_row(row["model_id"], row["published_at"], standing)
            out.print(table if rows else "No model is published yet: `segstream train --publish`")


@app.command()
def show(
    model_id: Annotated[str, typer.Argument(help="Which; default: the active one.")] = "", json: Json = False
) -> None:
    """One version: its recipe, segments and how it came to be."""
    with outcome(json) as result:
        settings = Settings()
        model = _load(settings, model_id or context.registry(settings).active() or "")
        a = model.artifact
        result.document = {
            "model_id": model.id,
            "recipe": a.recipe,
            "trained_at": a.trained_at,
            "data_until": a.data_until,
            "rows": a.rows,
            "features": [c.feature for c in a.spec.columns],
            "explained_variance": list(a.explained_variance),
            "hysteresis": a.hysteresis,
            "holds": a.holds,
            "parent": a.parent,
            "segments": [{"id": s.id, "name": s.name, "size": s.size, "share": s.share} for s in a.segments],
            "newcomers": None if a.newcomers is None else _newcomers(a.newcomers),
            "libraries": a.libraries,
        }
        if not json:
            out.print(
                f"[bold]{model.id}[/] recipe {a.recipe}, trained {a.trained_at} on {a.rows} customers until {a.data_until}"
            )
            table = Table("segment", "name", "customers", "share")
            for segment in a.segments:
                table.add_row(segment.id, segment.name, str(segment.size), f"{segment.share:.1%}")
            out.print(table)
            if a.newcomers is None:
                out.print("newcomers not guessed at: the model was trained before there was a guess; train again")
            else:
                how = "guessed by their traits" if a.newcomers.speaks else "not guessed at"
                out.print(f"newcomers {how}: {a.newcomers.reason}", highlight=False)


def _newcomers(guess: Newcomers) -> dict[str, Any]:
    traits = [term.feature for term in guess.terms]
    evidence = msgspec.to_builtins(guess.evidence)
    return {"speaks": guess.speaks, "reason": guess.reason, "evidence": evidence, "traits": traits}


def _load(settings: Settings, model_id: str) -> Any:
    from schemas.sealed import from_bytes

    data = context.registry(settings).load(model_id) if model_id else None
    if data is None:
        raise No(f"model {model_id or '(active)'} is not stored; `segstream models list` shows what is")
    return from_bytes(data, context.keyring(settings))


@app.command()
def flapping(
    source: Annotated[str, typer.Option(help="Source file or shipped source of the history.")],
    warehouse: Annotated[str, typer.Option(help="Warehouse URL.")],
    model_id: Annotated[str, typer.Option("--model", help="Which model; default: the active one.")] = "",
    hysteresis: Annotated[float | None, typer.Option(min=0, help="Look at this one; default: the model's own.")] = None,
    customers: Annotated[int, typer.Option(min=1, help="Customers to replay, a sample by hash.")] = 10_000,
    param: Annotated[list[str] | None, typer.Option(help="name=value for the source's SQL; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """How often customers go to and fro between segments, with the hysteresis and without; exit 1 if it does too little or too much."""
    with outcome(json) as result:
        from segstream import flapping as command

        settings = Settings()
        model = _load(settings, model_id or context.registry(settings).active() or "")
        result.document = command.measure(model, source, warehouse, pairs(param), customers, hysteresis)
        result.code = 0 if result.document["reached"] else NO
        if not json:
            command.show(result.document, out)


@app.command()
def shadow(json: Json = False) -> None:
    """The candidate beside the active model, as live customers have seen both until now."""
    with outcome(json) as result:
        registry = context.registry(Settings())
        found = registry.candidate()
        if found is None:
            raise No("no candidate is being tried; `segstream trainer log` tells what became of the last one")
        seen = registry.trial(found)
        mix = seen.mix() if seen.customers else ({}, {})
        result.document = {
            "candidate": found.model_id,
            "active": found.base,
            "run_id": found.run_id,
            "since": rfc3339(found.at),
            **msgspec.to_builtins(seen),
            "moved_share": seen.share,
            "mix_before": mix[0],
            "mix_after": mix[1],
        }
        if not json:
            out.print(
                f"[bold]{found.model_id}[/] beside {found.base or 'no model'} since {rfc3339(found.at)}: {seen.customers} customers, "
                f"{seen.moved} would move ({seen.share:.1%}); mean log distance {seen.log_distance_before:.3f} -> {seen.log_distance_after:.3f}",
                highlight=False,
            )
            table = Table("from", "to", "customers")
            for pair in seen.matrix:
                table.add_row(
                    pair.before, pair.after, str(pair.customers), style="" if pair.before == pair.after else "yellow"
                )
            out.print(table)


@app.command()
def activate(model_id: str, reason: Reason = "", json: Json = False) -> None:
    """Make a stored version the active one; workers take it over within seconds."""
    with outcome(json) as result:
        settings = Settings()
        _load(settings, model_id)
        _audit(settings, "activate", model_id, reason)
        at = context.now_micros()
        before = context.registry(settings).activate(model_id, at=at, by=context.who(), reason=reason)
        announce(settings, "activated", model_id, reason)
        result.document = {"model_id": model_id, "before": before}
        if not json:
            out.print(f"{model_id} is active (before: {before or 'none'})")


@app.command()
def rollback(reason: Reason = "", json: Json = False) -> None:
    """Go back to the version that was active before."""
    with outcome(json) as result:
        settings = Settings()
        before = context.registry(settings).active()
        _audit(settings, "rollback", before or "", reason)
        model_id = context.registry(settings).rollback(at=context.now_micros(), by=context.who(), reason=reason)
        announce(settings, "rolled-back", model_id, reason)
        result.document = {"model_id": model_id, "before": before}
        if not json:
            out.print(f"{model_id} is active again (before: {before})")


@app.command()
def restore(
    file: Annotated[
        Path | None, typer.Argument(help="A sealed model; default: the last one of a worker in home.")
    ] = None,
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Put the model that a worker has kept back into a Redis that has lost everything, and make it the active one."""
    with outcome(json) as result:
        from schemas.artifact import RejectedModel
        from schemas.sealed import from_bytes
        from schemas.watch import LAST_GOOD

        settings = Settings()
        path = file or settings.home / LAST_GOOD
        try:
            data = path.read_bytes()
            model = from_bytes(data, context.keyring(settings))
        except OSError as error:
            raise Usage(
                f"{path} cannot be read ({error.strerror}): name the file {LAST_GOOD} in the home of a worker"
            ) from error
        except RejectedModel as error:
            raise No(f"{path} is no model that is trusted here: {error}") from error
        registry = context.registry(settings)
        active = registry.active()
        if active is not None:
            raise No(f"{active} is active: nothing is lost (`segstream models list`, `activate`)")
        _audit(settings, "activate", model.id, reason)
        why = f"restored from {path.name}" + (f" ({reason})" if reason else "")
        registry.publish(model.id, data, at=context.now_micros(), by=context.who(), expected=None, reason=why)
        announce(settings, "published", model.id, why)
        result.document = {"model_id": model.id, "file": str(path)}
        if not json:
            out.print(f"{model.id} is active again", highlight=False)


@app.command()
def rename(
    segment: Annotated[str, typer.Argument(help="The segment's id, e.g. s2.")],
    name: Annotated[str, typer.Argument(help="Its new name.")],
    reason: Reason = "",
    json: Json = False,
) -> None:
    """Give a segment of the active model another name; the next training carries it on."""
    with outcome(json) as result:
        from batch_trainer.names import renamed
        from schemas.artifact import model_id as identify
        from schemas.sealed import to_bytes

        settings = Settings()
        registry = context.registry(settings)
        before = registry.active()
        model = _load(settings, before or "")
        try:
            artifact = renamed(model.artifact, model.id, segment, name)
        except ValueError as error:
            raise Usage(str(error)) from error
        model_id = identify(artifact)
        why = f"{segment}: {model.names[segment]!r} is now {name!r}" + (f" ({reason})" if reason else "")
        registry.publish(
            model_id,
            to_bytes(artifact, context.signer(settings)),
            at=context.now_micros(),
            by=context.who(),
            expected=before,
            reason=why,
        )
        announce(settings, "published", model_id, why)
        result.document = {"model_id": model_id, "before": before, "segment": segment, "name": " ".join(name.split())}
        if not json:
            out.print(f"{model_id} is active: {why}", highlight=False)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="The earlier model's id.")],
    after: Annotated[str, typer.Argument(help="The later model's id; default: the active one.")] = "",
    source: Annotated[
        str, typer.Option(help="Source file or shipped source, to compare on a warehouse's customers.")
    ] = "",
    warehouse: Annotated[str, typer.Option(help="Warehouse URL, with --source.")] = "",
    customers: Annotated[
        int, typer.Option(min=0, help="At most so many of the warehouse, a sample by hash; 0: all of them.")
    ] = 100_000,
    param: Annotated[list[str] | None, typer.Option(help="name=value for the source's SQL; may be repeated.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the matrix into this .svg or .png file.")] = None,
    json: Json = False,
) -> None:
    """Who would move from one model to another, and how the features have shifted."""
    with outcome(json) as result:
        from segstream import comparison

        settings = Settings()
        one = _load(settings, before)
        other = _load(settings, after or context.registry(settings).active() or "")
        found = comparison.compare(one, other, source, warehouse, pairs(param), customers)
        result.document = comparison.document(found)
        if picture is not None:
            comparison.draw(result.document, picture)
            result.document["picture"] = str(picture)
        if not json:
            comparison.show(result.document, out)
