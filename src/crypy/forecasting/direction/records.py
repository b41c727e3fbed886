"""What the forecaster writes: one JSON object a line in `candles.jsonl`, `predictions.jsonl` and `facts.jsonl`.

Names and units are those of the specification, which took them from Bybit: `ts_...` are milliseconds since 1970 UTC, and a candle of a
minute that starts at ts_start ends at ts_start + 59999. Files of several symbols and timeframes are told apart by these two fields. A
line that corrects an earlier one repeats its time and says `corrected`; the last line of a time counts.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from crypy.domain.events import Candle
from crypy.models.direction.port import Direction

_US_PER_MS: Final = 1_000

Timeframe = Literal["1m", "5m", "15m", "60m"]
SECONDS: Final[dict[Timeframe, int]] = {"1m": 60, "5m": 300, "15m": 900, "60m": 3_600}
TIMEFRAMES: Final[dict[int, Timeframe]] = {seconds: name for name, seconds in SECONDS.items()}


class CandleRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candle. `volume` is in base, `turnover` in quote units."""

    symbol: str
    timeframe: Timeframe
    ts_start: int
    ts_end: int
    o: float
    h: float
    l: float  # noqa: E741  the specification's name
    c: float
    volume: float
    turnover: float
    confirmed: bool
    corrected: bool = False


class PredictionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A forecast made at the close of the candle that starts at `candle_ts`, about the one that follows it.

    `p_up` and `p_down` are what counts (calibrated where that is on), `raw_p_up` and `raw_p_down` stand before calibration. `horizon_s` is
    the length of the candle forecast. `made_us` is the clock's time of the answer in microseconds UTC, `latency_us` what it took from the
    candle's arrival on the wall, however fast the clock runs. `missing` counts candles that could not be had among those just before. `members` has each member's
    (p_up, p_down, weight); `evidence` is how many situations stand behind that of the pattern memory. `intra` marks a forecast made before the candle closed: no evaluation counts it.
    """

    symbol: str
    timeframe: Timeframe
    candle_ts: int
    p_up: float
    p_down: float
    direction: Direction
    raw_p_up: float
    raw_p_down: float
    model: str
    version: str
    horizon_s: int
    made_us: int
    latency_us: int
    missing: int = 0
    members: dict[str, tuple[float, float, float]] = {}
    evidence: float = 0.0
    intra: bool = False


class FactRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a candle's close did against the one before it. `delta` is in quote units, `ret_bps` 10,000 (close_curr / close_prev - 1); a
    delta of exactly 0 is FLAT."""

    symbol: str
    timeframe: Timeframe
    prev_ts: int
    candle_ts: int
    close_prev: float
    close_curr: float
    delta: float
    ret_bps: float
    direction: Direction
    corrected: bool = False


def candle_record(candle: Candle, *, corrected: bool = False) -> CandleRecord:
    """The line of a candle. Raises `KeyError` for a length that is no timeframe."""
    start_ms, end_ms = candle.open_time_us // _US_PER_MS, candle.close_time_us // _US_PER_MS
    return CandleRecord(
        symbol=candle.symbol, timeframe=TIMEFRAMES[(end_ms - start_ms) // 1_000], ts_start=start_ms, ts_end=end_ms - 1,
        o=candle.open, h=candle.high, l=candle.low, c=candle.close, volume=candle.volume, turnover=candle.quote_volume,
        confirmed=candle.closed, corrected=corrected,
    )  # fmt: skip
