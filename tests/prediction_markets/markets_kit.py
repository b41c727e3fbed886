"""Markets, books, views and forecasts for the tests of this folder; small and true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from crypy.distributions.curve import HorizonCurve
from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.instruments import Instrument
from crypy.domain.markets import FeeSchedule, PredictionMarket
from crypy.domain.settlement import Settlement
from crypy.domain.windows import Window, next_window, window_at
from crypy.forecasting.batch import ForecastBatch, WindowForecast
from crypy.marketdata.book import Book
from crypy.models.port import DistributionGrid
from crypy.prediction_markets.parameters import Parameters
from crypy.prediction_markets.plans import Token
from crypy.prediction_markets.view import Holding, MarketRules, MarketView, ReferencePrice, TokenBook, TokenView

WINDOW = Window(1_770_000_000, 1_770_000_300, "5m")
AVERAGE = Settlement("average", "chainlink", lookback_s=60)
POINT = Settlement("point", "chainlink")
CANDLE = Settlement("candle", "binance")
CLOSES = Settlement("closes", "binance", tie="half", lag_s=60)
FEES = FeeSchedule(rate=Decimal("0.07"), exponent=Decimal(1), rebate_rate=Decimal("0.2"))
SIGMA = 1e-4
HORIZONS = np.array([1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 172_800.0])
CURVE = HorizonCurve(HORIZONS, SIGMA * np.sqrt(HORIZONS), np.zeros(9), np.full(9, 5.0))
# A taker who pays no fee, trusts the model wholly and minds neither delay nor error: what is left is Kelly.
BOLD = Parameters(
    book_weight=0.0, probability_error=0.0, delay_aversion=0.0, basis_aversion=0.0, probability_floor=0.0, min_edge=0.0,
    exit_edge=0.0, kelly_fraction=1.0, market_bankroll=1.0, total_bankroll=1.0, depth_share=1.0, min_time_left_s=0.0,
    max_spread=1.0,
)  # fmt: skip


def token(slug: str, side: Token, tick: str = "0.01") -> Instrument:
    return Instrument(
        venue="polymarket", symbol=f"{slug}:{side}", kind="outcome", base=f"{slug}-{side}-token", quote="pUSD", settle="pUSD",
        tick_size=Decimal(tick), lot_size=Decimal("0.01"), min_quantity=Decimal(5), min_notional=Decimal(1),
    )  # fmt: skip


def market(window: Window = WINDOW, coin: str = "BTC", **changes: Any) -> PredictionMarket:
    slug = f"{coin.lower()}-updown-{window.duration}-{window.start_s}"
    values: dict[str, Any] = {
        "venue": "polymarket", "slug": slug, "condition_id": f"0x{slug}", "coin": coin, "window": window,
        "up": token(slug, "up"), "down": token(slug, "down"), "settlement": AVERAGE, "fees": FEES,
        "accepting_orders": True, "taker_delay_us": 150_000, "link": f"https://example.test/{slug}", "simulated": True,
    }  # fmt: skip
    return PredictionMarket(**(values | changes))


def book(bids: Mapping[str, float], asks: Mapping[str, float], at_us: int, instrument: str = "") -> Book:
    made = Book(instrument)
    made.replace(
        [(Decimal(price), Decimal(str(size))) for price, size in bids.items()],
        [(Decimal(price), Decimal(str(size))) for price, size in asks.items()],
        at_us,
    )
    return made


def levels(*pairs: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    return pairs


def view(
    *,
    left_s: float = 200.0,
    price: float = 100.0,
    reference: float | None = 100.0,
    up_bid: float | None = 0.49,
    up_ask: float | None = 0.51,
    size: float = 1_000.0,
    up_asks: Sequence[tuple[float, float]] | None = None,
    held_up: str = "0",
    held_down: str = "0",
    cost_up: str = "0",
    cost_down: str = "0",
    cash: str = "1000",
    of: PredictionMarket | None = None,
    sd: float = 0.0,
    **changes: Any,
) -> MarketView:
    """A market whose two books mirror each other, everything fresh; any field of the view can be given."""
    described = of or market()
    now_us = described.window.end_us - round(left_s * 1e6)
    asks = tuple(up_asks) if up_asks is not None else () if up_ask is None else ((up_ask, size),)
    bids = () if up_bid is None else ((up_bid, size),)
    up = TokenBook(True, "", 1, now_us, bids, asks)
    mirrored = TokenBook(
        True, "", 1, now_us, tuple((round(1 - p, 6), s) for p, s in asks), tuple((round(1 - p, 6), s) for p, s in bids)
    )
    values: dict[str, Any] = {
        "rules": MarketRules.of(described), "now_us": now_us, "price": price, "price_time_us": now_us, "curve": CURVE,
        "dist_end_us": now_us, "history_s": 1e6,
        "reference": None if reference is None else ReferencePrice(reference, "venue", reference, sd),
        "known_average": None, "ahead_sd": 0.0,
        "up": TokenView("up", described.up, up, Holding.of(Decimal(held_up), Decimal(cost_up))),
        "down": TokenView("down", described.down, mirrored, Holding.of(Decimal(held_down), Decimal(cost_down))),
        "cash": Decimal(cash), "at_risk": float(Decimal(cost_up) + Decimal(cost_down)),
    }  # fmt: skip
    return MarketView(**(values | changes))


def forecast(now_us: int, coins: Sequence[str], sigma: float = SIGMA, history_s: float = 1e6) -> ForecastBatch:
    """A batch for the nexus: Brownian scales, a t's tail."""
    rows = len(coins)
    scale = np.tile(sigma * np.sqrt(HORIZONS), (rows, 1))
    grid = DistributionGrid(
        end_s=now_us // 1_000_000, symbols=tuple(f"{coin}USDT" for coin in coins), horizons_s=HORIZONS, scale=scale,
        skew=np.zeros_like(scale), tail=np.full_like(scale, 5.0), history_s=np.full(rows, history_s),
    )  # fmt: skip
    windows = {(coin, duration): _window_forecast(duration, now_us, sigma) for coin in coins for duration in DURATIONS}
    return ForecastBatch(end_us=now_us, made_us=now_us, model="test", grid=grid, windows=windows)


def _window_forecast(duration: Duration, now_us: int, sigma: float) -> WindowForecast:
    window = window_at(duration, now_us)
    ends = (window.end_s, next_window(window).end_s)
    near, far = (ZeroMeanSkewStudentT(sigma * math.sqrt(max(1.0, end_s - now_us / 1e6)), 0.0, 5.0) for end_s in ends)
    return WindowForecast(window, near, far)
