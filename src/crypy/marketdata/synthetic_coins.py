"""A coin of the synthetic market after the candles of a real one: price, grid, volatility, trades."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from crypy.domain.instruments import coin_of
from crypy.domain.times import DAY_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.synthetic_moments import log_returns
from crypy.marketdata.synthetic_profile import CoinProfile, MarketProfile

_E8 = 100_000_000
_TRADE_SHARE_OF_MEAN = 0.3


def coin_like(
    bars: Bars, known: MarketProfile, *, loading: float, sensitivity: float, seasonality: float
) -> CoinProfile:
    """The profile of the bars' symbol: what the bars tell, with ticks and habits of the same coin in `known` where it is there."""
    base = next((coin for coin in known.coins if coin.symbol == bars.symbol), None) or _stranger(bars, known)
    returns = log_returns(bars, max(900, bars.step_s))[1]
    returns = returns[np.isfinite(returns)]
    price = float(bars.close[np.isfinite(bars.close)][-1])
    out = msgspec.structs.replace(
        base,
        price=price,
        daily_volatility=float(np.round(returns.std() * math.sqrt(DAY_S / max(900, bars.step_s)), 5)),
        loading=loading,
        sensitivity=sensitivity,
        seasonality=seasonality,
    )
    trades = int(bars.count.sum())
    if trades and bars.quote_volume.any():
        # Sizes of trades are spread like the lognormal of the tape, whose median is a third of its mean.
        mean = float(np.nansum(bars.quote_volume)) / trades
        out = msgspec.structs.replace(out, trade_notional=round(mean * _TRADE_SHARE_OF_MEAN, 2))
    return out


def _stranger(bars: Bars, known: MarketProfile) -> CoinProfile:
    """A coin that is not among the known ones: its tick read off the prices, its lot worth about a tenth of a quote unit."""
    price = float(bars.close[np.isfinite(bars.close)][-1])
    sample = bars.close[np.isfinite(bars.close)][-5_000:]
    tick = int(np.gcd.reduce(np.round(sample * _E8).astype(np.int64)))
    lot = 10 ** max(0, round(math.log10(0.1 / price * _E8)))
    middle = known.coins[len(known.coins) // 2]
    return msgspec.structs.replace(
        middle,
        coin=coin_of(bars.symbol),
        symbol=bars.symbol,
        tick_e8=max(1, tick),
        lot_e8=lot,
        activity=1.0,
        first_id=100_000_001,
    )
