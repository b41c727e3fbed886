"""Small true parts for tests of the direction forecaster: a model that reads the last return, minutes that follow from a number, a market of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import Candle
from crypy.features.indicators import LogReturn
from crypy.forecasting.direction.predictor import Predictor
from crypy.models.direction.learner import Learner, LearnerSettings
from crypy.models.direction.market import Market
from crypy.models.direction.port import FlatRule, Probabilities

START_S = 1_735_689_600
MINUTE_US = 60_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def minute(number: int, symbol: str = "BTCUSDT", **changed: Any) -> Candle:
    """Closed minute `number` since the start. Closes rise and fall, and are the same twice in seven."""
    base = 100.0 if symbol == "BTCUSDT" else 10.0
    close = base + (number * 3 % 7 if number % 7 else (number - 1) * 3 % 7) / 4.0
    open_us = START_S * 1_000_000 + number * MINUTE_US
    values = {
        "open": close - 0.25, "high": close + 0.5, "low": close - 0.5, "close": close, "volume": 1.0 + number % 5, "closed": True,
        "quote_volume": close * (1.0 + number % 5),
    }  # fmt: skip
    return Candle(symbol, open_us, open_us + MINUTE_US, **(values | changed))


def row(number: int, missing: Iterable[str] = ()) -> dict[str, Candle | None]:
    """The minute of both symbols."""
    return {symbol: None if symbol in missing else minute(number, symbol) for symbol in SYMBOLS}


class Momentum:
    """Says that what went up goes on; a `Member` whose answer depends on the market. `broken` raises instead."""

    def __init__(self, timeframe_s: int, symbols: tuple[str, ...] = SYMBOLS, weight: float = 40.0) -> None:
        self.name = f"momentum-{timeframe_s}"
        self.timeframe_s = timeframe_s
        self.symbols = symbols
        self.broken = False
        self.asked: list[int] = []
        self._weight = weight
        self._feature = LogReturn(timeframe_s // 60)

    def prepare(self, market: Market) -> None:
        market.want([self._feature])

    def ask(self, market: Market, rows: NDArray[np.int64]) -> Probabilities:
        if self.broken:
            raise FloatingPointError("no number")
        self.asked += rows.tolist()
        returns = np.array(
            [[market.values(symbol, self._feature, at, at + 1)[0] for symbol in self.symbols] for at in rows.tolist()]
        )
        up = 1.0 / (1.0 + np.exp(-self._weight * returns))
        return Probabilities(0.94 * up, 0.94 * (1.0 - up))


class Now:
    """The clock as a call: it stands where it is put."""

    def __init__(self, number: int = 0) -> None:
        self.now_us = (START_S + 60 * number) * 1_000_000

    def __call__(self) -> int:
        return self.now_us

    def at_close(self, number: int, seconds: float = 0.0) -> int:
        """A while after the close of minute `number`."""
        self.now_us = (START_S + 60 * (number + 1)) * 1_000_000 + round(seconds * 1e6)
        return self.now_us


def predictor_of(
    now: Now, timeframes_s: tuple[int, ...] = (60, 300), learners: Mapping[Any, Any] | None = None, **options: Any
) -> Predictor:
    """A predictor of both symbols with one member a timeframe."""
    market = Market(SYMBOLS, START_S)
    members = options.pop("members", None) or {f"momentum-{each}:1": Momentum(each) for each in timeframes_s}
    folds = learners or {(symbol, each): Learner(LearnerSettings()) for symbol in SYMBOLS for each in timeframes_s}
    return Predictor(
        market, members, folds, options.pop("flat", FlatRule(0.4, 0.0)), now, timeframes_s=timeframes_s, **options
    )
