"""Situations: what the memory compares is known at the close, the same live and offline, and turns round with the market."""

from __future__ import annotations

import numpy as np
import pytest

from crypy.domain.events import Candle
from crypy.marketdata.bars import Bars
from crypy.models.direction.market import Market
from crypy.models.direction.port import TIMEFRAMES_S
from crypy.models.direction.situation import Situation, Situations

SYMBOLS = ("BTCUSDT", "ETHUSDT")
START_S = 1_735_689_600
ROWS = 1_500


def minutes(symbol: str, seed: int, turned: bool = False) -> Bars:
    """A walk of minutes; turned round, every price p is 1 / p."""
    generator = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(1e-3 * generator.standard_normal(ROWS)))
    open_ = np.concatenate(([100.0], close[:-1]))
    high = np.maximum(open_, close) * (1.0 + 5e-4 * generator.random(ROWS))
    low = np.minimum(open_, close) * (1.0 - 5e-4 * generator.random(ROWS))
    volume = np.exp(generator.standard_normal(ROWS))
    if turned:
        open_, high, low, close = 1.0 / open_, 1.0 / low, 1.0 / high, 1.0 / close
    nothing = np.zeros(ROWS)
    return Bars(symbol, START_S, 60, open_, high, low, close, volume, volume * close, nothing.astype(np.int64), nothing)


def market(turned: bool = False) -> Market:
    return Market.of({symbol: minutes(symbol, seed, turned) for seed, symbol in enumerate(SYMBOLS)})


def candles(at: int, whole: Market) -> dict[str, Candle | None]:
    found: dict[str, Candle | None] = {}
    for symbol in SYMBOLS:
        open_, high, low, close, volume, quote_volume = (
            float(whole.column(symbol, name, at, at + 1)[0])
            for name in ("open", "high", "low", "close", "volume", "quote_volume")
        )
        open_us = (START_S + 60 * at) * 1_000_000
        close_us = open_us + 60_000_000
        found[symbol] = Candle(symbol, open_us, close_us, open_, high, low, close, volume, True, quote_volume)
    return found


@pytest.mark.parametrize("timeframe_s", TIMEFRAMES_S)
def test_live_and_offline_have_the_same_bits_and_no_later_minute_counts(timeframe_s: int) -> None:
    whole = market()
    offline, situations = Situation(SYMBOLS, timeframe_s), Situations([timeframe_s])
    offline.prepare(whole)
    rows = whole.rows_ending(timeframe_s)[-25 if timeframe_s < 3_600 else -4 :]
    told = offline.ask(whole, rows)
    live = Market(SYMBOLS, START_S)
    situations.prepare(live)
    for at in range(ROWS):
        live.append(candles(at, whole))
        if at in rows:
            for place, symbol in enumerate(SYMBOLS):
                now = situations(live, symbol, timeframe_s, at)
                assert now is not None
                assert now.tobytes() == told[list(rows).index(at), place].tobytes()


def test_one_at_a_time_is_the_same_as_all_at_once_of_any_market() -> None:
    situations = Situations([60, 300])
    for whole in (market(), market(turned=True)):
        offline = Situation(SYMBOLS, 300)
        offline.prepare(whole)
        rows = whole.rows_ending(300)
        told = offline.ask(whole, rows)
        for at in (5, 180, 181, 200, 100):
            now = situations(whole, "ETHUSDT", 300, int(rows[at]))
            if np.isnan(told[at, 1]).any():
                assert now is None
            else:
                assert now is not None
                assert now.tobytes() == told[at, 1].tobytes()


def test_what_is_not_warm_is_not_known() -> None:
    whole = market()
    assert Situations([3_600])(whole, "BTCUSDT", 3_600, 59) is None


@pytest.mark.parametrize("timeframe_s", [60, 900])
def test_turned_round_every_number_changes_its_sign(timeframe_s: int) -> None:
    plain, turned = (market(one) for one in (False, True))
    situation = Situation(SYMBOLS, timeframe_s)
    told: list[np.ndarray] = []
    for one in (plain, turned):
        situation.prepare(one)
        told.append(situation.ask(one, one.rows_ending(timeframe_s)[-40:]))
    # Places in a range are by price and not by its logarithm: alike to the width of the range, which is some 5 %.
    assert told[0].shape == (40, 2, situation.dimensions)
    assert np.isfinite(told[0]).all()
    assert told[0] == pytest.approx(-told[1], abs=0.05)
