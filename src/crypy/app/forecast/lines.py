"""Forecasts as lines on stdout."""

from __future__ import annotations

import sys

from crypy.domain.times import US_PER_MS, iso
from crypy.forecasting.direction.records import PredictionRecord


class ForecastLines:
    """Prints each forecast. A reader that goes away is no reason to stop forecasting: then nothing more is printed."""

    def __init__(self) -> None:
        self._is_read = True

    def __call__(self, record: PredictionRecord) -> None:
        if not self._is_read:
            return
        try:
            sys.stdout.write(f"{forecast_line(record)}\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self._is_read = False


def forecast_line(record: PredictionRecord) -> str:
    """The candle it was made at the close of, the chances for the next one, and how long the answer took."""
    marks = f"  {record.missing} minutes missing" if record.missing else ""
    marks += "  intra" if record.intra else ""
    return (
        f"{iso(record.candle_ts * US_PER_MS)}  {record.symbol} {record.timeframe:<3}  up {record.p_up:.4f}  down {record.p_down:.4f}  "
        f"{record.direction:<4}  {record.latency_us / 1e3:.1f} ms{marks}"
    )
