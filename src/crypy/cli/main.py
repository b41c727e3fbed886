"""`crypy`: the entry point, its groups of verbs, and how a failure is told.

Each verb imports what it needs when it is called, so that `crypy --help` stays quick. Exit codes: 0 done, 1 failed, 2 misuse.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from crypy.cli import agents, data, forecast, markets, model, simulator, up
from crypy.cli.options import plain_app
from crypy.domain.errors import ConfigError, CrypyError

app = plain_app("Forecasts the distribution of crypto returns every second, and trades on it.")
app.command("up")(up.up)
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
app.add_typer(forecast.app, name="forecast")
app.add_typer(markets.app, name="markets")
app.add_typer(simulator.app, name="simulator")
app.add_typer(agents.app, name="agents")


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data_dir: up.DataDir = None,
    config: up.ConfigFile = None,
) -> None:
    """What works on this machine: numerics, database, disk, clock, venues."""
    from crypy.app.doctor import report_health

    raise typer.Exit(report_health(config, data_dir, as_json=json))


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from crypy import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run one command and exit with its code; a failure is one sentence on stderr."""
    try:
        app()
    except ConfigError as error:
        _fail(str(error), 2)
    except CrypyError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # A folder that cannot be written, a disk that is full: the person's to mend, and no traceback helps with it.
        where = "" if error.filename is None else f"{error.filename}: "
        _fail(f"{where}{error.strerror or error}; is this the right --data-dir, and is there room?", 1)
    except KeyboardInterrupt:
        _fail("stopped", 130)


def _fail(sentence: str, code: int) -> None:
    typer.echo(f"crypy: {sentence}", err=True)
    sys.exit(code)
