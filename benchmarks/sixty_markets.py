"""Four coins x five durations x three windows: sixty prediction markets with references, quoted around one half, on a clock that stands."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from decimal import Decimal

import numpy as np

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.instruments import Instrument
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.ports import Clock
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window, next_window, previous_window, window_at
from crypy.forecasting.batch import ForecastBatch, WindowForecast
from crypy.marketdata.book import Book
from crypy.models.port import DistributionGrid
from crypy.nexus.nexus import Nexus
from crypy.prediction_markets.manager import MarketManager
from crypy.prediction_markets.parameters import Parameters
from crypy.prediction_markets.references import References
from crypy.testing.clock import ManualClock

COINS = ("BTC", "ETH", "SOL", "XRP")
PRICE = 100.0
RULES: dict[Duration, Settlement] = {
    "5m": Settlement("average", "chainlink", 60), "15m": Settlement("average", "chainlink", 60),
    "1h": Settlement("candle", "binance"), "4h": Settlement("average", "chainlink", 60),
    "1d": Settlement("closes", "binance", tie="half", lag_s=60),
}  # fmt: skip
HORIZONS = np.array([1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0, 172_800.0])
START_US = window_at("5m", 1_770_000_000_000_000).start_us


def market(coin: str, window: Window) -> PredictionMarket:
    """One market under the rule of its duration."""
    slug = f"{coin.lower()}-{window.duration}-{window.start_s}"
    up, down = (
        Instrument(
            venue="polymarket", symbol=f"{slug}:{side}", kind="outcome", base=f"{slug}-{side}", quote="pUSD", settle="pUSD",
            tick_size=Decimal("0.01"), lot_size=Decimal("0.01"), min_quantity=Decimal(5), min_notional=Decimal(1),
        )
        for side in ("up", "down")
    )  # fmt: skip
    return PredictionMarket(
        venue="polymarket", slug=slug, condition_id=slug, coin=coin, window=window, up=up, down=down,
        settlement=RULES[window.duration], fees=FeeSchedule(Decimal("0.07"), Decimal(1)), accepting_orders=True,
        taker_delay_us=150_000, link="", simulated=True,
    )  # fmt: skip


def forecast(now_us: int) -> ForecastBatch:
    """Volatility of 1 basis point a square root of a second, a little skew, heavy tails."""
    scale = np.tile(1e-4 * np.sqrt(HORIZONS), (len(COINS), 1))
    grid = DistributionGrid(
        now_us // 1_000_000, tuple(f"{coin}USDT" for coin in COINS), HORIZONS, scale, np.full_like(scale, -0.02),
        np.full_like(scale, 5.0), np.full(len(COINS), 1e6),
    )  # fmt: skip
    law = ZeroMeanSkewStudentT(0.01, -0.02, 5.0)
    windows = {(c, d): WindowForecast(window_at(d, now_us), law, law) for c in COINS for d in DURATIONS}
    return ForecastBatch(now_us, now_us, "benchmark", grid, windows)


def book(bid: str, ask: str, now_us: int) -> Book:
    made = Book("")
    made.replace([(Decimal(bid), Decimal(500))], [(Decimal(ask), Decimal(500))], now_us)
    return made


def manager_of(nexus: Nexus, clock: Clock) -> MarketManager:
    """A manager whose orders go nowhere, deciding on every change of the nexus."""
    manager = MarketManager(
        nexus, clock, account="paper", parameters=Parameters(), references=References(), cash=lambda: Decimal(1_000),
        next_id=lambda: "id", submit=lambda _: None, cancel=lambda _: None, settle=lambda *_: None,
    )  # fmt: skip
    nexus.on_change = manager.eval_actions
    return manager


def fill(
    clock: ManualClock, nexus: Nexus, manager: MarketManager, now_s: int, books: bool = True
) -> dict[str, PredictionMarket]:
    """The sixty markets around a moment, their references, a hundred seconds of prices, a forecast and books."""
    for coin in COINS:
        manager.references.seed(coin, now_s - 90_000, np.full(90_000, PRICE))
    markets: dict[str, PredictionMarket] = {}
    for coin in COINS:
        for duration in DURATIONS:
            running = window_at(duration, now_s * 1_000_000)
            for window in (previous_window(running), running, next_window(running)):
                found = market(coin, window)
                markets[found.slug] = found
    for second in range(100):
        clock._now_us = (now_s - 100 + second) * 1_000_000
        for coin in COINS:
            nexus.update_price(coin, PRICE, clock.now_us())
    clock._now_us = now_s * 1_000_000
    nexus.update_dists(forecast(clock.now_us()))
    manager.on_markets(markets)
    if books:
        show_books(manager, markets, clock.now_us())
    return markets


def show_books(manager: MarketManager, markets: dict[str, PredictionMarket], now_us: int) -> None:
    """A fresh book of each token."""
    for found in markets.values():
        for token in (found.up.base, found.down.base):
            manager.on_book(token, book("0.49", "0.51", now_us))


def world(seconds_in: float, books: bool = True) -> tuple[ManualClock, Nexus, MarketManager]:
    """All of it, `seconds_in` into a 5m window, ready to be told prices."""
    now_s = START_US // 1_000_000 + round(seconds_in)
    clock = ManualClock((now_s - 100) * 1_000_000)
    nexus = Nexus(COINS, clock, lambda *_: None)
    manager = manager_of(nexus, clock)
    fill(clock, nexus, manager, now_s, books)
    return clock, nexus, manager


def wandering_prices(seed: int = 1) -> Iterator[float]:
    """Prices that wander near the references: close enough for every probability to be worked out."""
    rng, level = random.Random(seed), 0.0
    while True:
        level = 0.98 * level + rng.gauss(0.0, 2e-6)
        yield PRICE * math.exp(level)
