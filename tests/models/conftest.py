"""Bars drawn from a law that is known: an AR(1) log volatility, a weekly season, skewed-t returns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.marketdata.bars import Bars
from crypy.models.season import SLOT_S, SLOTS

START_S = 1_735_689_600  # 2025-01-01


def bars_of(symbol: str, close: np.ndarray, start_s: int = START_S, step_s: int = 60) -> Bars:
    n = len(close)
    return Bars(
        symbol, start_s, step_s, close, close, close, close,
        np.ones(n), close.copy(), np.ones(n, np.int64), np.full(n, 0.5),
    )  # fmt: skip


def season_of(slots: np.ndarray) -> np.ndarray:
    """Log variance of a week: two waves a day, calm on two days."""
    day = 2 * np.pi * slots / 288
    return 0.6 * np.sin(day) + 0.3 * np.cos(2 * day) - 0.5 * ((slots % SLOTS) // 288 < 2)


def market(
    days: float, seed: int, step_s: int = 60, level: float = -9.3, deviation: float = 0.4, symbol: str = "BTCUSDT"
) -> Bars:
    """A market whose conditional law is known to be a skewed t with tail 5; log volatility reverts within two days."""
    rng = np.random.default_rng(seed)
    n = int(days * 86_400 / step_s)
    keep = np.exp(-step_s / (2 * 86_400))
    shocks = rng.normal(size=n) * deviation * np.sqrt(1 - keep**2)
    shocks[0] = rng.normal() * deviation
    log_volatility = np.empty(n)
    state = 0.0
    for i, shock in enumerate(shocks):
        state = keep * state + shock
        log_volatility[i] = state
    slots = (START_S + np.arange(n) * step_s) // SLOT_S
    scale = np.sqrt(step_s) * np.exp(level + log_volatility + 0.5 * season_of(slots))
    z = ZeroMeanSkewStudentT(1.0, -0.05, 5.0).sample(rng, n)
    return bars_of(symbol, 50_000.0 * np.exp(np.cumsum(scale * z)), step_s=step_s)


@pytest.fixture(scope="session")
def make_market() -> Callable[..., Bars]:
    return market
