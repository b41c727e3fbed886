"""What a direction model learns from: closes that were asked at, and what the next candle of the timeframe did.

No look-ahead by construction: an example's columns end at its close, and its candle ends by the end of the range. A split leaves an embargo
between the last candle that is learned from and the first close that is held out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError
from crypy.domain.times import US_PER_S, iso
from crypy.features.history import COLUMNS
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.market import Market
from crypy.models.direction.plain import moves
from crypy.models.direction.port import TIMEFRAMES_S, Probabilities

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A chance of 0 that came true would cost everything; nobody is that sure.
_LEAST: Final = 1e-12
# The longest candle: whatever the timeframe, nothing of what is held out has begun when the last example's candle ends.
EMBARGO_S: Final = TIMEFRAMES_S[-1]


@dataclass(frozen=True, slots=True)
class Examples:
    """Closes at `ends_s` [n], the market's `rows` [n] that end there, and what the next candle did: `outcomes` 1, -1 or 0 [n, symbol] where
    `known` [n, symbol]. A candle or close that is missing is not known."""

    inputs: DirectionInputs
    ends_s: Ints
    rows: Ints
    outcomes: NDArray[np.int8]
    known: Bools

    @classmethod
    def of(
        cls,
        market: Market,
        inputs: DirectionInputs,
        start_s: int,
        end_s: int,
        spacing_s: int = 0,
        flat_bps: float = 0.0,
    ) -> Examples:
        """All closes t with `start_s` <= t whose candle ends by `end_s`, `spacing_s` apart (0: the timeframe; a minute asks inside candles, too).

        With `flat_bps` a move of at most so many basis points counts as none. Raises `ConfigError` for a spacing that cannot be, and where
        nothing lies in the range.
        """
        inputs.fit(market)
        spacing_s = spacing_s or inputs.timeframe_s
        if spacing_s < 0 or spacing_s % inputs.step_s or inputs.timeframe_s % spacing_s:
            raise ConfigError(
                f"spacing_s = {spacing_s}: it is a multiple of {inputs.step_s} s that divides the {inputs.timeframe_s} s forecast"
            )
        first_s = max(start_s, market.start_s + (market.first_row + 1) * market.step_s)
        first_s = -(-first_s // spacing_s) * spacing_s
        ends_s = np.arange(first_s, min(end_s, market.end_s) - inputs.timeframe_s + 1, spacing_s, dtype=np.int64)
        if not len(ends_s):
            raise ConfigError(
                f"no candle of {inputs.timeframe_s} s lies between {iso(start_s * US_PER_S)} and {iso(end_s * US_PER_S)}: the minutes end"
                f" {iso(market.end_s * US_PER_S)}"
            )
        rows = (ends_s - market.start_s) // market.step_s - 1
        told = [moves(market, symbol, rows, rows + inputs.timeframe_rows, flat_bps) for symbol in inputs.symbols]
        return cls(
            inputs, ends_s, rows, np.stack([what for what, _ in told], 1), np.stack([known for _, known in told], 1)
        )

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, chosen: Bools | Ints) -> Examples:
        """Some of them."""
        return Examples(self.inputs, self.ends_s[chosen], self.rows[chosen], self.outcomes[chosen], self.known[chosen])

    def asked(self) -> Examples:
        """Those at ends of candles of the timeframe: the ones that are forecast live."""
        return self.part(self.ends_s % self.inputs.timeframe_s == 0)

    def thinned(self, most: int) -> Examples:
        """At most so many, evenly."""
        return self if len(self) <= most else self.part(spread_over(len(self), most))

    def split(self, cut_s: int | None) -> tuple[Examples, Examples | None]:
        """What is learned from, and what is held out from the cut on, asked as live (`None` without a cut).

        No candle that is learned from ends later than the embargo before the first close held out. Raises `ConfigError` where either is empty.
        """
        if cut_s is None:
            return self, None
        learnt = self.part(self.ends_s + self.inputs.timeframe_s + EMBARGO_S <= cut_s)
        held_out = self.part(self.ends_s >= cut_s).asked()
        if not len(learnt) or not len(held_out):
            raise ConfigError(
                "the share that is held out leaves nothing to learn from, or nothing to hold out; take a longer range"
            )
        return learnt, held_out


def cut_of(start_s: int, end_s: int, share: float) -> int | None:
    """Where the last share of a range begins, on the grid of the longest candles; `None` for a share of 0."""
    return None if not share else (end_s - int(share * (end_s - start_s))) // EMBARGO_S * EMBARGO_S


def spread_over(count: int, most: int) -> Ints:
    """So many places of `count`, at uneven steps: a whole step would meet the same minute of the hour again and again."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def data_fingerprint(market: Market, inputs: DirectionInputs, end_s: int) -> str:
    """SHA-256 over the minutes of the symbols up to `end_s`, warm-up included."""
    stop = min(market.row_ending(end_s) + 1, market.rows)
    digest = hashlib.sha256(f"{market.start_s + market.first_row * market.step_s} {market.step_s}".encode())
    for symbol in inputs.symbols:
        digest.update(symbol.encode())
        for name in COLUMNS:
            digest.update(np.ascontiguousarray(market.column(symbol, name, market.first_row, stop)).tobytes())
    return digest.hexdigest()


def log_losses(told: Probabilities, examples: Examples) -> tuple[Floats, Bools]:
    """Minus the log of the chance given to what happened, nats [n, symbol], and where both are known."""
    p_up, p_down = told.p_up, told.p_down
    happened = np.where(examples.outcomes > 0, p_up, np.where(examples.outcomes < 0, p_down, 1.0 - p_up - p_down))
    known = examples.known & np.isfinite(happened)
    return -np.log(np.maximum(np.where(known, happened, 1.0), _LEAST)), known
