"""Made-up reports of four coins and sixty markets that move: for tests and benchmarks of whoever shows them."""

from __future__ import annotations

import math

import numpy as np

from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.reports import Account, Counters, DistributionRow, MarketRow, Snapshot, SymbolRow
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window, next_window, previous_window, window_at

START_US = 1_784_901_730 * US_PER_S
_FIRST_PRICES = {"BTC": 61_837.63, "ETH": 2_418.27, "SOL": 141.902, "XRP": 0.52417}
_VOLATILITY_PER_ROOT_S = {"BTC": 6e-5, "ETH": 8e-5, "SOL": 1.1e-4, "XRP": 1e-4}


class MadeUpReports:
    """Satisfies the dashboard's `Reports`. `advance` moves time and prices; equal seeds give equal snapshots."""

    def __init__(self, seed: int = 7, now_us: int = START_US, speed: float = 30.0) -> None:
        self._rng = np.random.default_rng(seed)
        self.now_us = now_us
        self.speed = speed
        self.faults: tuple[str, ...] = ()
        self.link_base = "https://example.org/event/"
        self.prices = dict(_FIRST_PRICES)
        self._begun_us = now_us
        self._anchors: dict[tuple[str, Window], float] = {}

    def advance(self, seconds: float) -> None:
        """Let that much time pass: every price takes one step of its walk."""
        self.now_us += round(seconds * US_PER_S)
        for coin, price in self.prices.items():
            step = _VOLATILITY_PER_ROOT_S[coin] * math.sqrt(seconds) * self._rng.standard_t(4)
            self.prices[coin] = price * math.exp(step)

    def snapshot(self) -> Snapshot:
        rows = tuple(
            self._row(coin, window)
            for coin in self.prices
            for duration in DURATIONS
            for window in _windows(duration, self.now_us)
        )
        ran_s = (self.now_us - self._begun_us) / US_PER_S
        counters = Counters(
            forecasts=int(ran_s) + 1_204,
            markets=len(rows),
            decisions=int(ran_s * 40) + 48_311,
            orders=214,
            refused=9,
            fills=87,
            settled=31,
        )
        account = Account(name="paper", mode="paper", cash=9_214.55, positions_value=812.4, realised=26.95, fees=11.38)
        return Snapshot(
            made_us=self.now_us,
            clock_speed=self.speed,
            counters=counters,
            account=account,
            symbols=tuple(self._symbol(coin) for coin in self.prices),
            rows=rows,
            faults=self.faults,
        )

    def _symbol(self, coin: str) -> SymbolRow:
        return SymbolRow(
            symbol=f"{coin}USDT",
            price=self.prices[coin],
            price_age_s=0.2,
            trades=1_204_311 + (self.now_us - self._begun_us) // 50_000,
            last_id=3_204_118_233,
            history_s=864_000,
            volatility_1h=_VOLATILITY_PER_ROOT_S[coin] * 60,
            note="feed silent for 7 s" if coin == "SOL" and self.faults else "",
        )

    def _row(self, coin: str, window: Window) -> MarketRow:
        price, sigma = self.prices[coin], _VOLATILITY_PER_ROOT_S[coin]
        running, past = window.contains(self.now_us), window.end_us <= self.now_us
        reference = self._anchor(coin, window) if running or past else None
        left_s = max(0.0, (window.end_us - self.now_us) / US_PER_S)
        next_left_s = (next_window(window).end_us - self.now_us) / US_PER_S
        probability = _p_up(price, reference, sigma * math.sqrt(left_s)) if reference and not past else None
        odd = (sum(map(ord, coin)) + len(window.duration) + window.start_s // 300) % 7
        fair = probability if probability is not None else 0.5
        book = not past and window.duration != "4h"
        bid = max(0.01, round(fair - 0.01 - 0.004 * odd, 2))
        held = 25.0 * odd if running and odd > 2 else 0.0
        stale = "book 12 s old, limit 5 s" if running and coin == "SOL" and window.duration in ("15m", "1d") else ""
        return MarketRow(
            link=f"{self.link_base}{coin.lower()}-updown-{window.duration}-{window.start_s}",
            slug=f"{coin.lower()}-updown-{window.duration}-{window.start_s}",
            coin=coin,
            duration=window.duration,
            open=not past,
            in_interval=running,
            start_us=window.start_us,
            end_us=window.end_us,
            reference_price=reference,
            reference_source="none" if reference is None else "venue" if odd < 3 else "binance-average",
            price=None if past else price,
            probability=probability,
            best_bid=bid if book else None,
            best_ask=min(0.99, round(bid + 0.02, 2)) if book else None,
            own_bid=round(bid - 0.01, 2) if running and odd in (2, 5) else None,
            own_ask=None,
            tokens_up=held if odd % 2 else 0.0,
            tokens_down=0.0 if odd % 2 else held,
            value_up=held * fair if odd % 2 else 0.0,
            value_down=0.0 if odd % 2 else held * (1 - fair),
            net_profit=round(held * (fair - 0.5) * 0.2, 2) if held else (1.25 * (odd - 3) if past else 0.0),
            taker_fee=0.07,
            maker_fee=0.0,
            fee_exponent=1.0,
            maker_reward=0.2,
            dist=None if past else DistributionRow(sigma * math.sqrt(left_s), -0.04, 4.6, left_s),
            extra_dist=None if past else DistributionRow(sigma * math.sqrt(next_left_s), -0.03, 5.1, next_left_s),
            price_age_s=None if past else 0.2,
            dist_age_s=None if past else 0.7,
            book_age_s=12.4 if stale else 0.9 if book else None,
            simulated=True,
            tradable=window.duration != "4h",
            stale=stale,
            decision=_decision(running, past, odd, window.duration),
        )

    def _anchor(self, coin: str, window: Window) -> float:
        """The price at the window's start: made up once, near the price of now."""
        key = (coin, window)
        if key not in self._anchors:
            passed_s = max(1.0, (self.now_us - window.start_us) / US_PER_S)
            move = _VOLATILITY_PER_ROOT_S[coin] * math.sqrt(passed_s) * self._rng.normal()
            self._anchors[key] = self.prices[coin] * math.exp(move)
        return self._anchors[key]


def _windows(duration: Duration, now_us: int) -> tuple[Window, Window, Window]:
    active = window_at(duration, now_us)
    return previous_window(active), active, next_window(active)


def _p_up(price: float, reference: float, scale: float) -> float:
    return 0.5 * (1 + math.erf(math.log(price / reference) / (max(scale, 1e-9) * math.sqrt(2))))


def _decision(running: bool, past: bool, odd: int, duration: Duration) -> str:
    if past:
        return "settled up" if odd % 2 else "settled down"
    if duration == "4h":
        return "settlement rule not recognised"
    if not running:
        return "wait: the window has not begun"
    return f"bought {25 * odd} Up at 0.{50 + odd}" if odd in (3, 5) else f"wait: edge {odd * 0.3:.1f} ¢ below 2.0 ¢"
