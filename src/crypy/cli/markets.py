"""`crypy markets`: the prediction markets that a running process follows."""

from __future__ import annotations

from typing import Any

import typer

from crypy.cli.options import AsJson, ConfigFile, DataDir, plain_app, print_json

app = plain_app("Prediction markets. Example: crypy markets report --json")


@app.command("list")
def list_command(data_dir: DataDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """The markets of every coin and duration: those of the running process, else what the venue lists now."""
    from crypy.app.markets import list_markets

    rows = list_markets(data_dir, config)
    if as_json:
        print_json({"markets": rows})
        return
    for row in rows:
        typer.echo(f"{row['coin']:<5} {row['duration']:<4} {row['start']}  {row['end']}  {row['slug']}")


@app.command("report")
def report_command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """One row per market of the running process, with the page's columns."""
    from crypy.app.markets import running_snapshot

    snapshot = running_snapshot(data_dir)
    if as_json:
        print_json(snapshot)
        return
    for row in snapshot["rows"]:
        typer.echo(_line(row))


def _line(row: dict[str, Any]) -> str:
    def number(name: str, digits: int = 3) -> str:
        value = row[name]
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        f"{row['coin']:<5} {row['duration']:<4} {'open' if row['open'] else 'shut':<5} p(up) {number('probability')}  "
        f"book {number('best_bid')}/{number('best_ask')}  net {row['net_profit']:+.2f}  {row['decision']}"
    )
