"""The verb that shows candles of any length."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crypy.cli.data.options import End, FromFiles, Start, World
from crypy.cli.options import AsJson, ConfigFile, DataDir, print_json


def candles(
    name: Annotated[str, typer.Argument(help="A coin such as BTC, or one instrument such as binance:BTCUSDT.")],
    interval: Annotated[str, typer.Option(help="Length: 1s, 90s, 15m, 4h, 1d, 1w, 1mo ...")] = "1h",
    start: Start = "",
    end: End = "",
    zone: Annotated[str, typer.Option("--tz", help="Time zone whose days, weeks and months count.")] = "UTC",
    offset: Annotated[str, typer.Option(help="Begin so much later: 1d with 16h runs from 16:00 to 16:00.")] = "",
    limit: Annotated[int, typer.Option(help="The last so many where no start is given.")] = 24,
    quotes: Annotated[str, typer.Option(help="Of a coin: quote currencies to put together, such as USDT,USDC.")] = "",
    venues: Annotated[str, typer.Option(help="Of a coin: only these venues, the first one leads.")] = "",
    price: Annotated[
        str, typer.Option(help="Of a coin: the leading venue's price, or the mean weighted by volume.")
    ] = "leading",
    by_venue: Annotated[
        bool, typer.Option("--by-venue", help="Of a coin: each venue's candle beside the sum.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Of an instrument: fetch the venue's own candles first.")
    ] = False,
    source: FromFiles = None,
    world: World = "live",
    data_dir: DataDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Candles of a coin over all its venues, or of one instrument, out of the store.

    Nothing at or after the end counts: a candle that runs then is shown as it stood. Example: crypy data candles BTC --interval 4h --tz America/New_York
    """
    from crypy.app.data.candles import candle_rows
    from crypy.app.data.stores import Place

    result = candle_rows(
        name, interval, start, end, zone=zone, offset=offset, limit=limit, quotes=quotes, venues=venues, price=price,
        by_venue=by_venue, fetch=fetch, place=Place(data_dir, config, world, source),
    )  # fmt: skip
    if as_json:
        print_json(result)
        return
    for problem in result.get("problems", ()):
        typer.echo(problem, err=True)
    for each in result.get("left_out", ()):
        typer.echo(f"{each['name']} is left out: {each['reason']}", err=True)
    for row in result["candles"]:
        typer.echo(_line(row))
        for venue, part in row.get("venues", {}).items():
            typer.echo(f"    {_line(part)}  {venue}")


def _line(row: dict[str, Any]) -> str:
    prices = "".join(f"{_price(row[name]):>14}" for name in ("open", "high", "low", "close"))
    marks = [] if row["closed"] else ["running"]
    if row["missing_s"]:
        marks.append(f"{row['missing_s']:,} s missing")
    shown = f"{row.get('local_time', row['time']):<25}{prices}  {row['volume']:>18.8f}  {row['count']:>9}"
    return f"{shown}  {', '.join(marks)}".rstrip()


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:.8g}"
