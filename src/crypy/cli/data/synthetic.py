"""The verb that makes markets whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crypy.cli.data.options import End, FromFiles, Start, Symbols
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def simulate(
    symbols: Symbols = "",
    seed: Annotated[int, typer.Option(help="Equal seeds and laws make equal markets.")] = 7,
    start: Start = "",
    end: End = "",
    trades_per_day: Annotated[float, typer.Option(help="Trades a day of an average symbol.")] = 90_000.0,
    like: Annotated[str, typer.Option(help="Fit the laws to these symbols, such as BTCUSDT,ETHUSDT.")] = "",
    source: FromFiles = None,
    like_world: Annotated[str, typer.Option(help="Whose store --like and --compare read without --source.")] = "live",
    profile: Annotated[Path | None, typer.Option(help="Laws from a file instead of the ones that come along.")] = None,
    write_profile: Annotated[Path | None, typer.Option(help="Write the laws as JSON.")] = None,
    without: Annotated[
        str,
        typer.Option(
            help="Parts to leave out: volatility, regimes, bursts, jumps, halts, season, leverage, correlation, activity."
        ),
    ] = "",
    halts_per_day: Annotated[
        float | None, typer.Option(help="Halts of trading a day (there are none by default).")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show facts of the real candles beside the market's.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the store to write into.")] = None,
    world: Annotated[str, typer.Option("--world", help="Name of a new world to write into instead.")] = "",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a seeded market whose truth is known: trades in a store, and what each second was drawn from beside them.

    Example: crypy data simulate --symbols BTCUSDT --start 2025-01-01 --end 2025-01-08 --world calm-7
    """
    from crypy.app.data.synthetic import Laws, Wanted, compared, made_profile
    from crypy.app.data.synthetic import simulate as write_market
    from crypy.domain.errors import ConfigError

    if bool(start) != bool(end):
        raise ConfigError("a market to write needs --start and --end")
    if not (start or compare or write_profile):
        raise ConfigError(
            "nothing to do: name --start and --end to write a market, --write-profile to keep a fit, or --compare"
        )
    laws = Laws(profile, like, source, like_world, without, halts_per_day)
    made, fitted = made_profile(laws, data_dir, config)
    result: dict[str, Any] = {"about": made.about}
    if fitted:
        result["fitted"] = fitted
    if write_profile is not None:
        made.write(write_profile)
        result["written"] = str(write_profile)
    if compare:
        result["compared"] = compared(made, symbols, seed, laws, data_dir, config)
    if start:
        wanted = Wanted(symbols or like, seed, start, end, trades_per_day, out, world)
        result |= write_market(made, wanted, data_dir, config, _quiet if as_json else _told)
    if as_json:
        print_json(result)
    else:
        _show(result)
    raise typer.Exit(0 if result.get("whole", True) else 1)


def _quiet(_day: str, _rows: int) -> None:
    pass


def _told(day: str, rows: int) -> None:
    typer.echo(f"{day}  {rows:>14,} trades", err=True)


def _show(result: dict[str, Any]) -> None:
    if fitted := result.get("fitted"):
        typer.echo(
            f"fitted to {fitted['days']} days of {', '.join(fitted['symbols'])}; kept: {'; '.join(fitted['kept'])}"
        )
    for row in result.get("compared", {}).get("facts", ()):
        typer.echo(f"{row['fact']:<58}{row['real']:>10.4f}{row['synthetic']:>10.4f}")
    for symbol, found in result.get("symbols", {}).items():
        typer.echo(
            f"{symbol:<10} {found['rows']:>14,} trades  ids {found['first_id']} to {found['last_id']}  "
            f"{found['first_time']} to {found['last_time']}  {len(found['gaps'])} gaps"
        )
    if "store" in result:
        typer.echo(f"{result['trades_per_s']:,} trades/s into {result['store']}; the truth is in {result['truth']}")
    if "written" in result:
        typer.echo(f"laws written to {result['written']}")
