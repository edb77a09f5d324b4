"""The `segstream` command: registers the commands and parses their options; what they do stands beside them."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from schemas.settings import Settings
from segstream import (
    audit_commands,
    configuration,
    deadletter_commands,
    destination_commands,
    drift_commands,
    key_commands,
    model_commands,
    token_commands,
    topic_commands,
    trainer_commands,
    user_commands,
)
from segstream.outcome import NO, UNREACHABLE, Json, err, out, outcome, pairs
from segstream.sandbox_commands import app as sandbox_app

app = typer.Typer(
    name="segstream",
    help="Real-time customer segmentation: the analyst's model, applied to every order as it happens.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(topic_commands.app, name="topics")
app.add_typer(model_commands.app, name="models")
app.add_typer(key_commands.app, name="keys")
app.add_typer(trainer_commands.app, name="trainer")
app.add_typer(user_commands.app, name="users")
app.add_typer(token_commands.app, name="tokens")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(deadletter_commands.app, name="deadletters")
app.add_typer(deadletter_commands.app, name="dlq", hidden=True)
app.add_typer(destination_commands.app, name="destinations")
app.add_typer(drift_commands.app, name="drift")
app.add_typer(configuration.app, name="config")
app.add_typer(sandbox_app, name="sandbox")

Source = Annotated[
    str, typer.Option(help="Source file (TOML) that maps the warehouse, or the name of a shipped one: thelook, ...")
]
Warehouse = Annotated[
    str, typer.Option(help="Warehouse URL: duckdb:///path/shop.duckdb, duckdb:// (in memory), postgres://...")
]
Param = Annotated[list[str] | None, typer.Option(help="name=value for a {name} in the source's SQL; may be repeated.")]


@app.command()
def train(
    source: Source,
    warehouse: Warehouse,
    recipe: Annotated[
        str,
        typer.Option(
            help="behaviour, rfm, demographic, geographic, psychographic, or article (the walk-through, corrected)."
        ),
    ] = "behaviour",
    k: Annotated[int, typer.Option(help="Number of segments; 0: chosen by the recipe.")] = 0,
    publish: Annotated[bool, typer.Option(help="Publish to Redis and make it the active model.")] = False,
    force: Annotated[str, typer.Option(help="Publish although a gate does not hold; the reason is recorded.")] = "",
    waive: Annotated[str, typer.Option(help="Gates (comma-separated) that need not hold, e.g. moved_share.")] = "",
    directory: Annotated[
        Path | None, typer.Option("--out", help="Where the report goes; default: home/reports/<model>.")
    ] = None,
    sealed: Annotated[Path | None, typer.Option(help="Also write the signed model into this file.")] = None,
    as_of: Annotated[
        str, typer.Option("--as-of", help="Leave out what happened after this moment (RFC 3339); default: nothing.")
    ] = "",
    hysteresis: Annotated[
        float | None,
        typer.Option(
            min=0, help="How far over a boundary customers are held, model units; 0: not at all; default: estimated."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the SQL that would be run, and run none of it.")
    ] = False,
    param: Param = None,
    json: Json = False,
) -> None:
    """Train a model from the warehouse, report on it, and publish it."""
    with outcome(json) as result:
        from segstream import training

        if explain:
            result.document = training.explain(source, warehouse, pairs(param), as_of)
            if not json:
                training.show_sql(result.document, out)
            return
        done = training.train(
            Settings(), source, warehouse, recipe, pairs(param), k=k, publish=publish, force=force, directory=directory,
            as_of=as_of, hysteresis=hysteresis, sealed_to=sealed, waived=waive,
            say=lambda text: err.print(text, soft_wrap=True),
        )  # fmt: skip
        result.document = done.document
        result.code = 0 if done.accepted else NO
        if not json:
            training.show(done, out)


@app.command()
def replay(
    source: Source,
    warehouse: Warehouse,
    rate: Annotated[float, typer.Option(min=0, help="Events per second; 0: as fast as possible.")] = 0.0,
    param: Param = None,
    json: Json = False,
) -> None:
    """Send the warehouse's history to Kafka as events (cause=bootstrap); may be interrupted and run again."""
    with outcome(json) as result:
        from rich.progress import Progress

        from segstream.replay import replay as run

        with Progress(console=err, disable=not err.is_terminal, transient=True) as bar:
            task = bar.add_task("replaying", total=None)
            result.document = run(
                Settings(), source, warehouse, pairs(param), rate=rate,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
        if not json:
            out.print(
                f"{result.document['events']} events sent in {result.document['seconds']} s: {result.document['topics']}"
            )


@app.command()
def verify(
    source: Source,
    warehouse: Warehouse,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the workers to catch up.")] = 120.0,
    as_of: Annotated[
        str, typer.Option("--as-of", help="Compare as of this moment (RFC 3339); default: the workers' day.")
    ] = "",
    param: Param = None,
    json: Json = False,
) -> None:
    """Compare every customer's features and segment in the stream with the warehouse; exit 1 if any differs."""
    with outcome(json) as result:
        from segstream.training import moment
        from segstream.verify import verify as run

        parity = run(Settings(), source, warehouse, pairs(param), wait, moment(as_of))
        result.document = parity.document()
        result.code = 0 if parity.holds else NO
        if not json:
            verdict = (
                "[green]The stream agrees with the warehouse.[/]" if parity.holds else "[red]The stream differs.[/]"
            )
            out.print(
                f"{verdict} {parity.customers} customers, {parity.feature_mismatches} feature mismatches, "
                f"{parity.segment_mismatches} segment mismatches, {parity.held} held by the hysteresis"
                + (f", {parity.erased} erased here and still in the warehouse" if parity.erased else "")
                + f" (model {parity.model_id})"
            )
            for difference in parity.differences:
                out.print(f"  {difference}", highlight=False)


@app.command()
def worker(
    restarts: Annotated[
        int,
        typer.Option(
            min=0, help="Start it again when it fails, at most so many times in a row; 0: leave that to others."
        ),
    ] = 0,
) -> None:
    """Run a worker until it is stopped; start more of them to share the partitions."""
    with outcome(False) as result:
        settings = Settings()
        if restarts:
            from stream_app import logs
            from stream_app.supervisor import supervise

            logs.configure(settings.log_format, settings.log_level)
            result.code = supervise([sys.executable, "-m", "segstream", "worker"], restarts)
            return
        gc.disable()  # nothing is garbage until it runs; then the worker enables it
        from segstream import context
        from stream_app.worker import run

        result.code = run(settings, context.keyring(settings))


@app.command("api", hidden=True)
@app.command()
def serve() -> None:
    """Run the HTTP API and the dashboard until they are stopped."""
    with outcome(False) as result:
        from segment_api.server import run
        from segstream import context
        from segstream.redrive import for_the_api

        settings = Settings()
        run(settings, context.keyring(settings), for_the_api(settings))
        result.code = 0


@app.command()
def doctor(json: Json = False) -> None:
    """Look at everything the stream needs, and say what to do where something is wrong."""
    with outcome(json) as result:
        from rich.table import Table

        from segstream.doctor import examine

        findings = examine(Settings())
        bad = [finding for finding in findings if not finding.ok]
        result.document = {
            "ok": not bad,
            "checks": [{"name": f.name, "ok": f.ok, "detail": f.detail} for f in findings],
        }
        result.code = UNREACHABLE if any(f.unreachable for f in bad) else NO if bad else 0
        if not json:
            table = Table("check", "", "seen")
            for finding in findings:
                table.add_row(finding.name, "[green]ok[/]" if finding.ok else "[red]bad[/]", finding.detail)
            out.print(table)


@app.command()
def plan(
    customers: Annotated[int, typer.Option(min=1, help="Customers, those without orders too.")],
    events_per_second: Annotated[float, typer.Option(min=0.001, help="Events per second, at the busiest hour.")],
    memory: Annotated[float, typer.Option(help="GiB that a worker may take.")] = 8.0,
    replication: Annotated[int, typer.Option(min=1, help="Replication factor of the topics.")] = 3,
    json: Json = False,
) -> None:
    """What a shop of this size needs, and what gives way first; from constants that `make bench` measured."""
    with outcome(json) as result:
        from rich.table import Table

        from segstream import capacity

        constants = capacity.measured()
        made = capacity.plan(customers, events_per_second, constants, memory_per_worker=memory, replication=replication)
        result.document = capacity.document(made, constants)
        if not json:
            needs = Table("needed", "", show_header=False)
            for name, value in capacity.rows(made):
                needs.add_row(name, value)
            limits = Table("gives way first", "here", "then")
            for limit in made.limits:
                limits.add_row(limit.what, limit.at, limit.do, style="red" if limit.load > 1 else "")
            out.print(needs, limits)
            out.print(f"Constants: {constants.command}, {constants.machine}, {constants.date}.", highlight=False)


@app.command()
def demo(
    seconds: Annotated[int, typer.Option("--for", min=20, help="Seconds of live traffic.")] = 120,
    customers: Annotated[int, typer.Option(min=500, help="Customers with history.")] = 3000,
    rate: Annotated[float, typer.Option(min=20, help="Live events per second.")] = 300.0,
    seed: Annotated[int, typer.Option(help="The shop's seed.")] = 444,
    json: Json = False,
) -> None:
    """A whole shop on this machine: history, training, replay, live traffic, drift, retraining, and the proof at the end."""
    with outcome(json) as result:
        from segstream.demo.play import play

        result.document = play(Settings(), seconds=seconds, customers=customers, rate=rate, seed=seed, quiet=json)
        result.code = 0 if result.document["ok"] else NO


def main() -> None:
    """Entry point."""
    app()
