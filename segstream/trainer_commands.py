"""`segstream trainer`: the loop back to the trainer, and what became of its runs."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from schemas.settings import Settings
from schemas.times import rfc3339
from segstream import context
from segstream.outcome import Json, Usage, err, out, outcome, pairs

app = typer.Typer(help="Training again when it is time to, with a trial on live customers.", no_args_is_help=True)


@app.command()
def watch(
    source: Annotated[str, typer.Option(help="Source file or shipped source, as for `train`.")],
    warehouse: Annotated[str, typer.Option(help="Warehouse URL, as for `train`.")],
    recipe: Annotated[str, typer.Option(help="Recipe, as for `train`.")] = "behaviour",
    k: Annotated[int, typer.Option(help="Number of segments; 0: chosen by the recipe.")] = 0,
    param: Annotated[list[str] | None, typer.Option(help="name=value for the source's SQL; may be repeated.")] = None,
) -> None:
    """Train on drift, on schedule or when asked; try the candidate on live customers, activate it or not, take it back if need be.

    Runs until it is stopped. Any number may run: one works, the others stand by.
    """
    with outcome(False) as result:
        from segstream import trainer

        trainer.watch(Settings(), source, warehouse, recipe, pairs(param), k)
        result.code = 0


@app.command()
def now(
    reason: Annotated[str, typer.Option(help="Why; it is in every step's record.")] = "", json: Json = False
) -> None:
    """Ask whoever watches to train now, whatever the minimum gap says."""
    with outcome(json) as result:
        from batch_trainer.loop.state import Request
        from segstream import trainer

        if not reason.strip():
            raise Usage("--reason is missing: say why, it is kept with the model")
        ledger, at, by = trainer.ledger(Settings()), context.now_micros(), context.who()
        request_id = "q-" + hashlib.sha256(f"{at}:{by}:{reason}".encode()).hexdigest()[:12]
        ledger.ask(Request(request_id=request_id, reason=reason.strip(), by=by, at=at))
        holder = ledger.holder()
        result.document = {"request_id": request_id, "watched_by": holder}
        if not json:
            out.print(
                f"{request_id} is asked for: " + (f"{holder} takes it" if holder else "whoever watches next takes it")
            )
        if holder is None:
            err.print("No trainer watches at present: `segstream trainer watch`", soft_wrap=True)


@app.command()
def status(json: Json = False) -> None:
    """What the loop is at."""
    with outcome(json) as result:
        from segstream import trainer

        ledger = trainer.ledger(Settings())
        state, holder = ledger.load(), ledger.holder()
        run = state.run
        result.document = {
            "watched_by": holder,
            "phase": run.phase if run else None,
            "run_id": run.run_id if run else None,
            "reason": run.reason if run else None,
            "candidate": run.candidate or None if run else None,
            "since": rfc3339(run.since) if run else None,
            "not_before": rfc3339(state.not_before) if state.not_before else None,
            "requests": msgspec.to_builtins(ledger.requests()),
        }
        if not json:
            out.print(f"watched by {holder or 'nobody: `segstream trainer watch`'}", highlight=False)
            out.print(
                f"{run.run_id} is {run.phase} since {rfc3339(run.since)}: {run.reason}"
                if run
                else "no training is under way"
            )
            if state.not_before > context.now_micros():
                out.print(f"the next training without being asked: {rfc3339(state.not_before)} at the earliest")


@app.command()
def log(
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest.")] = 50, json: Json = False
) -> None:
    """What happened to the models and why, from `model-events`; the latest last."""
    with outcome(json) as result:
        from segstream import model_events

        events = model_events.read(Settings())[-limit:]
        result.document = {"events": [{"event_id": e.event_id, **msgspec.to_builtins(e)} for e in events]}
        if not json:
            table = Table("at", "run", "step", "model", "why")
            for event in events:
                table.add_row(event.at, event.run_id, event.action, event.model_id, event.reason)
            out.print(table if events else "Nothing has happened yet.")
