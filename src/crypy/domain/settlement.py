"""How an Up/Down market decides, as data: which statistic of which price, and what a tie means.

The five durations do not settle by one rule, and rules change, so each market carries its own,
read from the venue's metadata. A rule that was not recognised is `None` on the market: it is shown and
not traded.
"""

from __future__ import annotations

from typing import Literal

import msgspec

# point: the source's price at both instants. average: its time-weighted average over the `lookback_s`
# seconds before each instant. candle: open and close of one candle over the window. closes: the close of
# the one-minute candle that ends `lag_s` after each instant: 60 for the candle that opens at it, 0 for the one that closes.
Statistic = Literal["point", "average", "candle", "closes"]
Tie = Literal["up", "half"]
Outcome = Literal["up", "down", "half"]


class Settlement(msgspec.Struct, frozen=True):
    """`statistic` of `source` at the window's start against the same at its end.

    `source` is `chainlink` or `binance`; `lookback_s` is 0 except for averages; `lag_s` is how long after the window's
    end the statistic is first known (60 for the closes of one-minute candles).
    """

    statistic: Statistic
    source: str
    lookback_s: int = 0
    tie: Tie = "up"
    lag_s: int = 0


def decide_outcome(start_value: float, end_value: float, rule: Settlement) -> Outcome:
    """Which side won, from the statistic at the window's start and at its end."""
    if end_value > start_value:
        return "up"
    if end_value < start_value:
        return "down"
    return "up" if rule.tie == "up" else "half"
