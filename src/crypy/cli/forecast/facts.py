"""The verb that tells what candles did."""

from __future__ import annotations

from typing import Annotated

import typer

from crypy.cli.options import AsJson, ConfigFile, parse_span_s, print_json


def facts(
    symbol: Annotated[str, typer.Option(help="Symbol as the venue writes it.")] = "BTCUSDT",
    timeframe: Annotated[str, typer.Option(help="1m, 5m, 15m or 60m.")] = "1m",
    last: Annotated[int, typer.Option(help="How many facts to begin with.")] = 5,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with each new fact as its candle closes.")] = False,
    span: Annotated[str, typer.Option("--for", help="With --follow: end after this much wall time, such as 10m.")] = "",
    simulator: Annotated[
        str, typer.Option(help="Control URL of a running `crypy simulator serve` to ask instead of the real Bybit.")
    ] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What each candle's close did against the one before: prices, difference, basis points, direction. From Bybit itself, no keys.

    Example: crypy forecast facts --symbol BTCUSDT --timeframe 1m --last 5 --follow
    """
    from msgspec import to_builtins

    from crypy.app.forecast.facts import FactsOptions, tell_facts
    from crypy.forecasting.direction.facts import fact_lines
    from crypy.forecasting.direction.records import FactRecord

    def tell(new: list[FactRecord]) -> None:
        if as_json and not follow:
            print_json({"facts": to_builtins(new)})
            return
        for fact, line in zip(new, fact_lines(new), strict=True):
            # With --follow there is no end at which one object could be printed: each fact is one.
            if as_json:
                print_json(to_builtins(fact))
            else:
                typer.echo(line)

    tell_facts(
        FactsOptions(symbol, timeframe, last, follow, parse_span_s(span) if span else None, simulator, config), tell
    )
