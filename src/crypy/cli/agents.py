"""`crypy agents`: the running parts of a crypy process, and their terminals."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from crypy.cli.options import AsJson, DataDir, plain_app, print_json

app = plain_app("The agents of running processes. Example: crypy agents attach engines")


@app.command("list")
def list_command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Every agent that runs, with its state."""
    from crypy.app.folders import data_folder
    from crypy.runtime.directory import list_agents

    processes = list_agents(data_folder(data_dir))
    if as_json:
        import msgspec

        print_json({"processes": msgspec.to_builtins(processes)})
        return
    if not processes:
        typer.echo("no crypy process runs here; `crypy up` starts one", err=True)
    for process in processes:
        typer.echo(f"{process.job}  pid {process.pid}  terminal {process.terminal_host}:{process.terminal_port}")
        for agent in process.agents:
            typer.echo(f"  {agent.name:<14} {agent.state:<10} {agent.reason}".rstrip())


@app.command("attach")
def attach_command(name: Annotated[str, typer.Argument(help="The agent's name.")], data_dir: DataDir = None) -> None:
    """Talk to an agent: help, status, get, set, pause, resume, stop; `exit` leaves."""
    from crypy.app.folders import data_folder
    from crypy.runtime.directory import attach

    attach(data_folder(data_dir), name, sys.stdin, sys.stdout)
