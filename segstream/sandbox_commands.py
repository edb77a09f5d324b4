"""`segstream sandbox`: the servers on this machine."""

from __future__ import annotations

import os

import typer

from segstream.outcome import Json, err, out, outcome

app = typer.Typer(help="A real Kafka and a real Redis on this machine, to try things with.", no_args_is_help=True)


@app.command()
def start(json: Json = False) -> None:
    """Start the servers (those that SEGSTREAM_KAFKA / SEGSTREAM_REDIS do not name); prints the settings for clients."""
    with outcome(json) as result:
        from sandbox import servers
        from sandbox.home import Home

        home = Home.of(os.environ)
        env = servers.start(home, os.environ)
        for note in servers.notes(home):
            err.print(note)
        result.document = {"env": env}
        if not json:
            _exports(env)


@app.command()
def stop(json: Json = False) -> None:
    """Stop what was started here; the data stays."""
    with outcome(json) as result:
        from sandbox import servers
        from sandbox.home import Home

        stopped = servers.stop(Home.of(os.environ))
        result.document = {"stopped": stopped}
        if not json:
            out.print(f"stopped: {', '.join(stopped) or 'nothing was running'}")


@app.command()
def env(json: Json = False) -> None:
    """The settings for clients of what runs: `eval "$(segstream sandbox env)"`."""
    with outcome(json) as result:
        from sandbox import servers
        from sandbox.home import Home

        found = servers.environment(Home.of(os.environ), os.environ)
        result.document = {"env": found}
        result.code = 0 if found else 1
        if not json:
            _exports(found)


@app.command()
def status(json: Json = False) -> None:
    """Which servers were started here, and whether they still run."""
    with outcome(json) as result:
        from sandbox import servers
        from sandbox.home import Home

        found = servers.status(Home.of(os.environ))
        result.document = {"servers": found}
        result.code = 0 if found and all(found.values()) else 1
        if not json:
            for name, runs in found.items():
                out.print(f"{name}: {'running' if runs else 'ended'}")
            if not found:
                out.print("nothing was started here: `segstream sandbox start`")


def _exports(found: dict[str, str]) -> None:
    for name, value in found.items():
        typer.echo(f"export {name}={value}")
