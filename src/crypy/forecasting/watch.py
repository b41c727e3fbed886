"""The live watch on a model's calibration: its forecasts are scored as their horizons end, beside a rival's on the same returns.

Of each symbol and horizon one forecast at a time is open; the next is taken when its return has come. So no two returns overlap, and where the model is
right, L = p_rival(r) / p_model(r) has mean 1 given everything before it, whatever the rival says. Then

    M_n = L_n (M_{n-1} + 1)

is the Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo, "E-detectors", 2022): M_n - n is a martingale, so that M passes a level c within n returns
with a chance of at most n / c. The levels are set so that over all symbols and horizons a model that is right raises a false alarm within
a year with a chance of at most `false_alarms_a_year`. A break is found at the rate at which the rival is the better of the two, from any moment on: what
was gained before does not hide it. A model that errs, but less than its rival, is left alone; one return counts at most `_MOST_NATS`.

Memory does not grow: one open forecast a cell, sums, and the last `_KEPT` shares for coverage.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from crypy.distributions.kernels import skew_t_cdf, skew_t_logpdf
from crypy.domain.errors import ConfigError
from crypy.models.port import DistributionGrid

HORIZONS_S: Final = (300, 900, 3_600, 14_400)
FALSE_ALARMS_A_YEAR: Final = 0.01
_YEAR_S: Final = 365 * 86_400
# One return beyond all experience tells of the market as much as of the model: alone it demotes nobody.
_MOST_NATS: Final = 5.0
_KEPT: Final = 1_000
# Closes come before the forecast that begins at them: so many seconds are remembered.
_CLOSES: Final = 64

_Law = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Alarm:
    """The model is worse than its rival beyond what chance gives: `evidence` is log M of a symbol and horizon, `level` what it has passed (nats)."""

    symbol: str
    horizon_s: int
    n: int
    evidence: float
    level: float
    gain: float

    def __str__(self) -> str:
        return (
            f"{self.symbol} at {self.horizon_s} s: log score {-self.gain:.4f} nats worse a forecast over {self.n} than the one it is watched beside,"
            f" evidence {self.evidence:.1f} nats where {self.level:.1f} allow no other reading"
        )


@dataclass(frozen=True, slots=True)
class WatchRow:
    """One symbol and horizon: returns scored, mean gain in nats over the rival and its standard error, evidence against the model and the
    level of an alarm (nats), and the shares of the last returns at or below the 5, 25, 75 and 95 % quantiles."""

    symbol: str
    horizon_s: int
    n: int
    gain: float
    gain_se: float
    evidence: float
    level: float
    coverage: tuple[float, float, float, float]


@dataclass(slots=True)
class _Open:
    end_s: int
    price: float
    model: _Law
    rival: _Law


@dataclass(slots=True)
class _Cell:
    level: float
    open: _Open | None = None
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    evidence: float = -math.inf
    shares: deque[float] = field(default_factory=lambda: deque[float](maxlen=_KEPT))


class Watch:
    """`on_close` of every second of every symbol in order, `take` where `wants` is true; `alarm` stays from the first one on.

    Raises `ConfigError` for no symbols or horizons, or a rate of false alarms outside (0, 1).
    """

    def __init__(
        self,
        symbols: Sequence[str],
        horizons_s: Sequence[int] = HORIZONS_S,
        false_alarms_a_year: float = FALSE_ALARMS_A_YEAR,
    ) -> None:
        if not symbols or not horizons_s or min(horizons_s) < 1:
            raise ConfigError(
                f"a watch needs symbols and positive horizons, got {list(symbols)} and {list(horizons_s)}"
            )
        if not 0.0 < false_alarms_a_year < 1.0:
            raise ConfigError(f"a chance of a false alarm in a year of {false_alarms_a_year:g} is none in (0, 1)")
        self.symbols = tuple(symbols)
        self.horizons_s = tuple(horizons_s)
        self.alarm: Alarm | None = None
        share = false_alarms_a_year / (len(self.symbols) * len(self.horizons_s))
        # M passes c within n with a chance of n / c at most: c = n / share, with the returns n that a year holds.
        self._cells = {
            (symbol, horizon): _Cell(math.log(_YEAR_S / horizon / share))
            for symbol in self.symbols
            for horizon in self.horizons_s
        }
        self._closes: dict[str, deque[tuple[int, float]]] = {symbol: deque(maxlen=_CLOSES) for symbol in self.symbols}

    def wants(self) -> bool:
        """Whether any cell waits for a forecast."""
        return any(cell.open is None for cell in self._cells.values())

    def take(self, model: DistributionGrid, rival: DistributionGrid) -> None:
        """Open a forecast in each cell that has none, from two grids of one moment that hold the horizons and symbols.

        What a grid does not hold stays open for the next; so does a symbol whose close before that moment was not told.
        """
        for (symbol, horizon_s), cell in self._cells.items():
            if cell.open is not None:
                continue
            price = self._price_at(symbol, model.end_s)
            ours, theirs = _law(model, symbol, horizon_s), _law(rival, symbol, horizon_s)
            if price is not None and ours is not None and theirs is not None:
                cell.open = _Open(model.end_s + horizon_s, price, ours, theirs)

    def on_close(self, symbol: str, second_s: int, close: float) -> None:
        """The close of second `[second_s, second_s + 1)`, NaN where it is unknown. A forecast whose end was passed over is dropped."""
        closes = self._closes.get(symbol)
        if closes is None:
            return
        closes.append((second_s + 1, close))
        for horizon_s in self.horizons_s:
            cell = self._cells[symbol, horizon_s]
            if cell.open is None or second_s + 1 < cell.open.end_s:
                continue
            opened, cell.open = cell.open, None
            if second_s + 1 == opened.end_s and close > 0.0:
                self._score(symbol, horizon_s, cell, opened, math.log(close / opened.price))

    def rows(self) -> tuple[WatchRow, ...]:
        """What is known of each symbol and horizon."""
        return tuple(_row(symbol, horizon_s, cell) for (symbol, horizon_s), cell in self._cells.items())

    def _price_at(self, symbol: str, end_s: int) -> float | None:
        """The last close before a moment; `None` where it is not known or lies too far back."""
        for moment_s, close in reversed(self._closes[symbol]):
            if moment_s == end_s:
                return close if close > 0.0 else None
        return None

    def _score(self, symbol: str, horizon_s: int, cell: _Cell, opened: _Open, value: float) -> None:
        gain = skew_t_logpdf(value, *opened.model) - skew_t_logpdf(value, *opened.rival)
        cell.n += 1
        cell.total += gain
        cell.squares += gain * gain
        cell.shares.append(skew_t_cdf(value, *opened.model))
        # log(M + 1) + log L without overflow. A gain that is no number is a law that is none: as bad as a return can be.
        against = _MOST_NATS if math.isnan(gain) else min(-gain, _MOST_NATS)
        cell.evidence = against + (math.log1p(math.exp(cell.evidence)) if cell.evidence < 30.0 else cell.evidence)
        if self.alarm is None and cell.evidence >= cell.level:
            self.alarm = Alarm(symbol, horizon_s, cell.n, cell.evidence, cell.level, cell.total / cell.n)


def _law(grid: DistributionGrid, symbol: str, horizon_s: int) -> _Law | None:
    if symbol not in grid.symbols:
        return None
    at = int(grid.horizons_s.searchsorted(horizon_s))
    if at >= len(grid.horizons_s) or grid.horizons_s[at] != horizon_s:
        return None
    row = grid.symbols.index(symbol)
    return float(grid.scale[row, at]), float(grid.skew[row, at]), float(grid.tail[row, at])


def _row(symbol: str, horizon_s: int, cell: _Cell) -> WatchRow:
    gain = cell.total / cell.n if cell.n else 0.0
    spread = max(0.0, cell.squares / cell.n - gain * gain) if cell.n else 0.0
    error = math.sqrt(spread / cell.n) if cell.n else math.inf
    shares = cell.shares
    below = [
        sum(share <= mark for share in shares) / len(shares) if shares else 0.0 for mark in (0.05, 0.25, 0.75, 0.95)
    ]
    return WatchRow(
        symbol, horizon_s, cell.n, gain, error, cell.evidence, cell.level, (below[0], below[1], below[2], below[3])
    )
