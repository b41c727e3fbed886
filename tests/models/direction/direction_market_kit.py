"""Markets for tests of direction models: minutes of some coins whose next direction is known, or a walk that nobody can foretell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crypy.domain.events import Candle
from crypy.features.indicators import ClosePosition, EwmDeviation, LogReturn, Ratio
from crypy.marketdata.bars import Bars
from crypy.models.direction.inputs import Column
from crypy.models.direction.kinds import FitRange, direction_kind
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member

START_S = 1_735_689_600
SYMBOLS = ("BTCUSDT", "ETHUSDT")
STEEP = 1.2

_MOVE = Ratio(LogReturn(1), EwmDeviation(LogReturn(1), 30.0, 1e-6))
COLUMNS = (
    Column.of(_MOVE, odd=True),
    Column.of(_MOVE, lag=1, odd=True),
    Column.of(ClosePosition(1), odd=True),
    Column.of(_MOVE, "others", odd=True),
    Column.of(EwmDeviation(LogReturn(1), 30.0)),
)


def bars_of(symbol: str, close: np.ndarray, seed: int = 0) -> Bars:
    """Minutes with these closes; volumes and wicks are drawn."""
    rng = np.random.default_rng(seed)
    open_ = np.concatenate([close[:1], close[:-1]])
    wick = 1.0 + 1e-4 * rng.random((2, len(close)))
    volume = rng.gamma(2.0, 1.0, len(close))
    return Bars(
        symbol, START_S, 60, open_, np.maximum(open_, close) * wick[0], np.minimum(open_, close) / wick[1], close, volume,
        volume * close, np.ones(len(close), np.int64), volume / 2,
    )  # fmt: skip


def planted(minutes: int, seed: int = 1, ties: float = 0.0) -> dict[str, Bars]:
    """BTC's next minute goes up with the chance `p_up_of` of what ETH did last, in units of its step; ETH itself walks. A share `ties` stands still."""
    rng = np.random.default_rng(seed)
    lead = rng.standard_normal(minutes)
    p_up = p_up_of(np.concatenate([[0.0], lead[:-1]]))
    side = np.where(rng.random(minutes) < p_up, 1.0, -1.0)
    moves = side * np.abs(rng.standard_normal(minutes)) * np.where(rng.random(minutes) < ties, 0.0, 1.0)
    return {
        "BTCUSDT": bars_of("BTCUSDT", 50_000.0 * np.exp(3e-4 * np.cumsum(moves)), 2),
        "ETHUSDT": bars_of("ETHUSDT", 3_000.0 * np.exp(5e-4 * np.cumsum(lead)), 3),
    }


def p_up_of(lead: np.ndarray) -> np.ndarray:
    """The planted chance."""
    return 1.0 / (1.0 + np.exp(-STEEP * lead))


def walk(minutes: int, seed: int = 5) -> dict[str, Bars]:
    """Two coins that nobody can foretell."""
    rng = np.random.default_rng(seed)
    closes = 100.0 * np.exp(3e-4 * np.cumsum(rng.standard_normal((2, minutes)), axis=1))
    return {symbol: bars_of(symbol, close, 7) for symbol, close in zip(SYMBOLS, closes, strict=True)}


def with_missing(bars: Bars, rows: list[int]) -> Bars:
    """The same without some minutes."""
    prices = [getattr(bars, name).copy() for name in ("open", "high", "low", "close")]
    for column in prices:
        column[rows] = np.nan
    return Bars(
        bars.symbol, bars.start_s, 60, *prices, bars.volume, bars.quote_volume, bars.count, bars.taker_buy_volume
    )


def fitted(kind: str, market: Market, timeframe_s: int = 60, **options: object) -> Member:
    """A small model of a kind on the whole market."""
    given: dict[str, object] = {}
    if kind not in ("direction-constant", "direction-last"):
        given["columns"] = COLUMNS
    if kind == "direction-network":
        given |= {"network": {"hidden": [8], "members": 2}, "trainer": {"epochs": 2, "batch": 256, "spacing_s": 60}}
    if kind == "direction-lstm":
        given |= {
            "network": {"length": 3, "state": 4, "members": 2},
            "trainer": {"epochs": 1, "batch": 256, "spacing_s": 60},
        }
    fit = FitRange(market, market.symbols, market.start_s, market.end_s)
    return next(iter(direction_kind(kind).fit_all()(fit, (timeframe_s,), **(given | options))))


def candle_at(bars: Bars, row: int) -> Candle | None:
    """A minute as it comes live; `None` where it is missing."""
    if np.isnan(bars.close[row]):
        return None
    begin_us = (bars.start_s + 60 * row) * 1_000_000
    prices = (float(getattr(bars, name)[row]) for name in ("open", "high", "low", "close"))
    return Candle(
        bars.symbol,
        begin_us,
        begin_us + 60_000_000,
        *prices,
        float(bars.volume[row]),
        True,
        float(bars.quote_volume[row]),
    )


def live_market(member: Member, bars: dict[str, Bars], ask: Callable[[Market, int], None]) -> None:
    """Minute by minute, as live; `ask` is called behind each."""
    market = Market(bars, START_S)
    member.prepare(market)
    for row in range(len(next(iter(bars.values())))):
        market.append({symbol: candle_at(one, row) for symbol, one in bars.items()})
        ask(market, row)
