"""What `crypy data candles` does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from crypy.app.data.stores import Place, history_of, store_of
from crypy.app.settings import Settings, load_settings
from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, from_us, iso
from crypy.marketdata.asset_candles import PRICE_RULES, AssetCandles, PriceRule, asset_candles
from crypy.marketdata.candle_fold import candles_of
from crypy.marketdata.candles import Candles
from crypy.marketdata.intervals import Interval, parse_interval
from crypy.marketdata.listings import listing
from crypy.marketdata.store import TradeStore
from crypy.marketdata.stored_candles import StoredCandles
from crypy.marketdata.views import bounds_s, instrument

_NUMBERS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume")


def candle_rows(
    name: str,
    interval: str,
    start: str,
    end: str,
    *,
    zone: str = "UTC",
    offset: str = "",
    limit: int = 24,
    quotes: str = "",
    venues: str = "",
    price: str = "leading",
    by_venue: bool = False,
    fetch: bool = False,
    place: Place,
) -> dict[str, Any]:
    """Candles of a coin or of one instrument as JSON; without a start the last `limit` before the end."""
    length, bounds = parse_interval(interval, offset, zone), bounds_s(start, end)
    rule = _price_rule(price)
    if limit < 1:
        raise ConfigError(f"--limit {limit}: ask for one candle at least")
    if place.source is not None:
        if quotes or venues or by_venue or fetch:
            raise ConfigError(
                "--quotes, --venues, --by-venue and --fetch are for the store; leave them or --source out"
            )
        return _from_files(name, length, bounds, limit, place)
    settings = load_settings(place.config)
    store = store_of(settings, place.data_dir, place.world)
    stored = StoredCandles(store)
    if ":" in name:
        if quotes or venues or by_venue:
            raise ConfigError(
                f"{name} is one instrument at one venue; --quotes, --venues and --by-venue are for a coin"
            )
        venue, symbol = instrument(name)
        problems = _fetched(store, settings, venue, symbol, length, bounds, limit, place.world) if fetch else ()
        span = _span(bounds, length, limit, stored, [(venue, symbol)])
        found = stored.candles(venue, symbol, length, *span)
        return {**_about(found), "problems": list(problems), "candles": _rows(found)}
    if fetch:
        raise ConfigError(f"--fetch is for one instrument; write for example binance:{name.upper()}USDT --fetch")
    coin = name.upper()
    span = _span(bounds, length, limit, stored, (pair for pair in stored.instruments() if listing(*pair).coin == coin))
    view = asset_candles(stored, coin, length, *span, quotes=_names(quotes), venues=_names(venues.lower()), price=rule)
    return {
        **_about(view.total),
        "price": rule,
        "quotes": list(view.quotes),
        "members": [{"name": member.name, "source": member.source} for member in view.members],
        "left_out": [{"name": left, "reason": reason} for left, reason in view.left_out],
        "candles": _asset_rows(view, by_venue),
    }


def _from_files(
    name: str, interval: Interval, bounds: tuple[int | None, int | None], limit: int, place: Place
) -> dict[str, Any]:
    """Candles of one symbol's files: of the trades in them, or of the candles in them."""
    symbol = name.rsplit(":", 1)[-1].upper()
    with history_of(load_settings(place.config), symbol, place) as found:
        start_s, end_s = bounds
        if found.candles is None:
            made = StoredCandles(found.trades_store()).candles(found.venue, symbol, interval, start_s, end_s)
        else:
            gaps = [(gap.start_s, gap.end_s) for gap in found.candles.gaps]
            made = candles_of(symbol, found.bars(start_s, end_s), interval, gaps)
        shown = made if start_s is not None else made[-limit:]
        return {**_about(shown), "problems": [], "candles": _rows(shown)}


def _fetched(
    store: TradeStore,
    settings: Settings,
    venue: str,
    symbol: str,
    interval: Interval,
    bounds: tuple[int | None, int | None],
    limit: int,
    world: str,
) -> tuple[str, ...]:
    """Fetch the venue's own candles; what could not be had. Raises `ConfigError` for a world that no venue knows of."""
    if world != "live":
        raise ConfigError(f"--fetch asks the real venue, and {world!r} is a simulated world; leave one of them out")
    from crypy.app.data.candle_fetch import fetch_candles

    return fetch_candles(store.shelf, settings, venue, symbol, interval, bounds, limit).problems


def _price_rule(text: str) -> PriceRule:
    for rule in PRICE_RULES:
        if rule == text:
            return rule
    raise ConfigError(f"--price {text}: choose from {', '.join(PRICE_RULES)}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _span(
    bounds: tuple[int | None, int | None],
    interval: Interval,
    limit: int,
    stored: StoredCandles,
    instruments: Iterable[tuple[str, str]],
) -> tuple[int | None, int | None]:
    """The bounds that were asked for; without a start, that of the last `limit` candles before the end or the newest stored."""
    start_s, end_s = bounds
    if start_s is not None:
        return bounds
    newest = [last_s for pair in instruments if (last_s := stored.end_s(*pair, interval)) is not None]
    if not newest:
        return bounds
    last_s = max(newest) if end_s is None else min(end_s, max(newest))
    # Months have up to 31 days where the nominal one has 30, and days an hour more.
    reach_s = limit * interval.nominal_s * 31 // 30 + 2 * DAY_S
    edges = interval.edges(last_s - reach_s, last_s)
    return int(edges[max(0, len(edges) - 1 - limit)]), end_s


def _about(candles: Candles) -> dict[str, Any]:
    return {
        "name": candles.name,
        "interval": candles.interval.name,
        "offset_s": candles.interval.offset_s,
        "zone": candles.interval.zone,
        "source": candles.source,
    }


def _rows(candles: Candles) -> list[dict[str, Any]]:
    zone = None if candles.interval.zone == "UTC" else ZoneInfo(candles.interval.zone)
    numbers = {name: getattr(candles, name).tolist() for name in _NUMBERS}
    rows: list[dict[str, Any]] = []
    for row, (open_us, close_us) in enumerate(
        zip(candles.open_time_us.tolist(), candles.close_time_us.tolist(), strict=True)
    ):
        local = {} if zone is None else {"local_time": from_us(open_us).astimezone(zone).isoformat()}
        rows.append(
            {
                "time": iso(open_us),
                **local,
                "end": iso(close_us),
                **{name: _number(column[row]) for name, column in numbers.items()},
                "count": int(candles.count[row]),
                "missing_s": int(candles.missing_s[row]),
                "closed": bool(candles.closed[row]),
            }
        )
    return rows


def _asset_rows(view: AssetCandles, by_venue: bool) -> list[dict[str, Any]]:
    """Rows of the total, each with whose price it is, who lacks nothing, and how far closes lie apart."""
    names = [member.name for member in view.members]
    apart = [_rows(member) for member in view.members] if by_venue else []
    rows = _rows(view.total)
    for index, row in enumerate(rows):
        row["price_from"] = names[int(view.price_from[index])]
        row["whole"] = [name for name, whole in zip(names, view.whole[:, index].tolist(), strict=True) if whole]
        row["spread_bps"] = _number(float(view.spread_bps[index]))
        if by_venue:
            row["venues"] = {name: member[index] for name, member in zip(names, apart, strict=True)}
    return rows


def _number(value: float) -> float | None:
    """JSON knows no NaN: what is unknown is null."""
    return value if np.isfinite(value) else None
