"""The settings of a process that trades: those of every process, and the limits and knobs of what sends orders."""

from __future__ import annotations

from pathlib import Path

from crypy.app.settings import Settings, read_settings
from crypy.execution.limits import Limits
from crypy.prediction_markets.parameters import Parameters


class TradingSettings(Settings, frozen=True):
    """Everything that can be set, by section."""

    limits: Limits = Limits()
    engine: Parameters = Parameters()


def load_trading_settings(path: Path | None) -> TradingSettings:
    """As `load_settings`, the sections of what trades included."""
    return read_settings(path, TradingSettings)
