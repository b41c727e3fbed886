"""The scorer against FORECAST_BASELINES.md: logistic regression on a few features, by scikit-learn, comes out near the published rows.

Only the scorer is tried here: nothing of the package's models is chosen by this range.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from crypy.domain.times import DAY_S, US_PER_S, parse_time_us
from crypy.marketdata.source_files import open_source
from crypy.models.direction.market import Market
from crypy.models.direction.port import FlatRule, Probabilities
from crypy.training.direction.calls import up_given_move
from crypy.training.direction.folds import Span
from crypy.training.direction.judging import facts_of, member_calls
from crypy.training.direction.scores import score

Floats = NDArray[np.float64]

BEGIN_S, JUDGED_S, END_S = (parse_time_us(day) // US_PER_S for day in ("2024-04-01", "2025-07-01", "2025-10-01"))


@pytest.fixture(scope="module")
def market(shared_data: Path) -> Market:
    bars = {}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        with open_source(shared_data / "klines_1m" / "binance_spot", symbol) as found:
            bars[symbol] = found.bars(BEGIN_S, END_S)
    return Market.of(bars)


def features(market: Market, symbol: str, step: int) -> Floats:
    """[row, feature] of each minute: returns over volatility, place of the close in its range, of the coin and the other."""
    columns: list[Floats] = []
    for one in (symbol, *(other for other in market.symbols if other != symbol)):
        high, low, close = (market.column(one, name, 0, market.rows) for name in ("high", "low", "close"))
        log_close = np.log(close)
        returns = np.diff(log_close, prepend=log_close[0])
        size = np.sqrt(np.convolve(returns**2, np.full(240, 1 / 240))[: len(returns)] + 1e-10)
        spread = np.where(high > low, (2 * close - high - low) / np.maximum(high - low, 1e-12), 0.0)
        for lag in range(3):
            columns += [np.roll(returns / size, lag), np.roll(spread, lag)]
        for span in (step, 2 * step, 4 * step, 16 * step):
            moved = log_close - np.roll(log_close, span)
            columns.append(np.clip(moved / size / np.sqrt(span), -5.0, 5.0))
    return np.clip(np.stack(columns, axis=1), -5.0, 5.0)


class Table:
    """Chances by row; a `Member`."""

    def __init__(self, market: Market, timeframe_s: int, up: Floats) -> None:
        self.name, self.symbols, self.timeframe_s, self._up = "logit", market.symbols, timeframe_s, up

    def prepare(self, market: Market) -> None: ...

    def ask(self, market: Market, rows: NDArray[np.int64]) -> Probabilities:
        return Probabilities(self._up[rows], 1.0 - self._up[rows])


# Ties, logit gain, accuracy of the logit; the tolerance of the gain is what other features make.
ROWS = [
    ("BTCUSDT", 60, 0.060, 0.0033, 0.538),
    ("BTCUSDT", 900, 0.001, 0.0024, 0.532),
    ("ETHUSDT", 900, 0.001, 0.0022, 0.528),
]


@pytest.mark.slow
@pytest.mark.parametrize(("symbol", "timeframe_s", "ties", "gain", "accuracy"), ROWS)
def test_a_logistic_regression_comes_out_near_its_row(
    market: Market, symbol: str, timeframe_s: int, ties: float, gain: float, accuracy: float
) -> None:
    x = features(market, symbol, timeframe_s // 60)
    fit = Span(BEGIN_S + 8 * DAY_S, JUDGED_S).rows(market, timeframe_s)
    facts = facts_of(market, symbol, fit, timeframe_s)
    moved = facts.known & (facts.outcome != 0)
    model = LogisticRegression(C=0.01, max_iter=200).fit(x[fit[moved]], facts.outcome[moved] > 0)
    up = model.predict_proba(x)[:, 1]
    chances = np.stack([up if one == symbol else np.full(len(up), 0.5) for one in market.symbols], axis=1)
    calls = member_calls(market, Table(market, timeframe_s, chances), Span(JUDGED_S, END_S), FlatRule())[symbol]
    found = score(calls, timeframe_s)
    assert found.n == (END_S - JUDGED_S) // timeframe_s
    assert found.ties / found.n == pytest.approx(ties, abs=0.0006)
    assert found.gain == pytest.approx(gain, abs=0.0012)
    assert found.sign_accuracy == pytest.approx(accuracy, abs=0.008)
    assert np.array_equal(calls.up, up_given_move(calls.p_up, calls.p_down))
