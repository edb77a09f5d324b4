"""`segstream train`: train, report, publish."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from batch_trainer.canon import unprintable
from batch_trainer.gates import failing, named
from batch_trainer.page import by_values, measure, shortly
from batch_trainer.recipes import RECIPES, Recipe
from batch_trainer.report import summary, write_report
from batch_trainer.trainer import Training
from batch_trainer.trainer import train as fit
from batch_trainer.warehouse import explain as explained
from batch_trainer.warehouse import open_warehouse
from schemas.artifact import RejectedModel
from schemas.model import Model
from schemas.sealed import from_bytes, to_bytes
from schemas.settings import Settings
from schemas.times import parse_rfc3339
from segstream import context
from segstream.model_commands import announce
from segstream.outcome import No, Usage


@dataclass(frozen=True, slots=True)
class Done:
    """What `train` did: the document for scripts, the training itself."""

    document: dict[str, Any]
    training: Training
    accepted: bool


def train(
    settings: Settings,
    source: str,
    url: str,
    recipe: str,
    params: dict[str, str],
    *,
    k: int,
    publish: bool,
    force: str,
    directory: Path | None,
    say: Callable[[str], None],
    as_of: str = "",
    hysteresis: float | None = None,
    sealed_to: Path | None = None,
    waived: str = "",
) -> Done:
    """Train, write the report and, where asked and allowed, publish.

    `waived` names gates, by commas, that need not hold. Raises No where another one does not and publishing was asked for without `force`.
    """
    chosen, allowed = _recipe(recipe), gates(waived)
    previous, active = _previous(settings, publish, say)
    told: list[str] = []

    def stage(text: str, _: float) -> None:
        if text not in told:
            told.append(text)
            say(text)

    with open_warehouse(url, source, params, as_of=moment(as_of)) as warehouse:
        training = fit(
            warehouse,
            chosen,
            now=context.now_micros(),
            k=k or None,
            previous=previous,
            on_progress=stage,
            hysteresis=hysteresis,
            waived=allowed,
        )
    report = write_report(training, directory or settings.home / "reports" / training.model_id)
    refusal = training.refusal()
    if sealed_to is not None:
        sealed_to.write_bytes(to_bytes(training.artifact, context.signer(settings)))
    if publish:
        if refusal and not force:
            raise No(f"not published: {refusal} (report: {report}); --force 'reason' publishes nevertheless")
        sealed = to_bytes(training.artifact, context.signer(settings))
        forgone = failing(training.gates, "waived")
        reason = f"forced ({force}): {refusal}" if refusal else f"waived: {forgone}" if forgone else ""
        context.registry(settings).publish(
            training.model_id, sealed, at=context.now_micros(), by=context.who(), expected=active, reason=reason
        )
        announce(settings, "published", training.model_id, reason)
    document = summary(training, published=publish, report=report)
    if "published" in training.report:
        document["walk_through"] = training.report["published"]
    return Done(document, training, publish or not refusal)


def explain(source: str, url: str, params: dict[str, str], as_of: str) -> dict[str, str]:
    """The SQL that a training runs in the warehouse, by what it is for; none of it is run."""
    return explained(url, source, params, as_of=moment(as_of))


def moment(text: str) -> int | None:
    """The moment meant by `--as-of`, microseconds, None where none is given. Raises Usage where it cannot be read."""
    try:
        return parse_rfc3339(text) if text else None
    except ValueError as error:
        raise Usage(f"--as-of {text!r} is not RFC 3339, e.g. 2026-01-31T00:00:00Z") from error


def gates(names: str) -> frozenset[str]:
    """The gates meant by `--waive`. Raises Usage where there is no such gate."""
    try:
        return named(names)
    except ValueError as error:
        raise Usage(f"--waive {names!r}: {error}") from error


def _recipe(name: str) -> Recipe:
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise Usage(f"recipe {name!r} is not known; there are {', '.join(RECIPES)}{hint}")


def _previous(settings: Settings, publish: bool, say: Callable[[str], None]) -> tuple[Model | None, str | None]:
    """The active model, whose segment ids are carried on, and its id."""
    try:
        registry = context.registry(settings)
        active = registry.active()
        data = registry.load(active) if active else None
    except redis.RedisError:
        if publish:
            raise
        say("Redis does not answer: segments get new ids, none are carried on")
        return None, None
    if data is None:
        return None, active
    try:
        return from_bytes(data, context.keyring(settings)), active
    except RejectedModel as error:
        say(f"the active model cannot be read ({error}): segments get new ids, none are carried on")
        return None, active


def show(done: Done, out: Console) -> None:
    """The short report, for people."""
    report = done.training.report
    out.print(
        f"[bold]{report['model_id']}[/] recipe {report['recipe']}: {report['rows']} customers, {report['prospects']} prospects"
    )
    valued = by_values(report)
    columns = list(report["features"]["profile"])[:4]
    table = Table("segment", "customers", "share", *(name.replace("_", " ") for name in columns))
    for segment in report["segments"]:
        tops = [
            ", ".join(f"{top['value']} {top['share']:.0%}" for top in segment["top"].get(name, ())[:3])
            if name in valued
            else f"median {measure(segment['medians'].get(name), name)}"
            for name in columns
        ]
        table.add_row(f"{segment['id']} {segment['name']}", str(segment["size"]), f"{segment['share']:.1%}", *tops)
    out.print(table)
    shares = " + ".join(f"{share:.3f}" for share in report["explained_variance"])
    out.print(f"explained variance {shares} = {sum(report['explained_variance']):.3f}")
    out.print("SSE " + ", ".join(f"{k}: {sse:.0f}" for k, sse in report["sse"].items()))
    out.print(f"{report['k']} segments: {report['choice']['reason']}")
    newcomers = report["newcomers"]
    out.print(
        f"newcomers {'guessed by their traits' if newcomers['speaks'] else 'not guessed at'}: {newcomers['reason']}"
    )
    calm = report["hysteresis"]
    out.print(
        f"hysteresis {calm['value']:.4g} ({calm['holds']}): {calm['reason']} "
        f"({calm['without']['returns']} returns of {calm['without']['customers']} replayed customers without it)",
        highlight=False,
    )
    for gate in report["gates"]:
        needed = f"{gate['bound']} {gate['threshold']}".strip()
        colour = {"holds": "green", "warns": "yellow", "waived": "yellow", "fails": "red"}[gate["verdict"]]
        out.print(
            f"gate {gate['name']}: {shortly(gate['value'])} (needed: {needed}) [{colour}]{gate['verdict']}[/]",
            highlight=False,
        )
    for name, reason in report["features"]["left_out"].items():
        out.print(f"left out {name}: {reason}", highlight=False)
    out.print(
        ("Published and active. " if done.document["published"] else "Not published. ")
        + f"Report: {done.document['report']}"
    )


def show_sql(statements: dict[str, str], out: Console) -> None:
    """The statements, for people: the long class of characters that an id must not have is named, not spelt."""
    for name, sql in statements.items():
        shown = sql.replace(unprintable(), "[unprintable characters]")
        out.print(f"-- {name}\n{shown};\n", highlight=False, markup=False, soft_wrap=True)
