"""The models that are asked at a close: which of them forecast a timeframe, what they say, and who could not. Pure.

A model may be anybody's code, so what it raises is kept as its fault and costs its own voice only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from crypy.domain.errors import ConfigError
from crypy.forecasting.direction.records import TIMEFRAMES
from crypy.models.direction.market import Market
from crypy.models.direction.port import Member


class Members:
    """Members by timeframe and name. `faults` has those that could not answer the last time they were asked, and why."""

    def __init__(self, market: Market, members: Mapping[str, Member], timeframes_s: Iterable[int]) -> None:
        """Raises `ConfigError` for a member of a symbol or timeframe that is not followed."""
        self.by_timeframe: dict[int, dict[str, Member]] = {timeframe_s: {} for timeframe_s in timeframes_s}
        self.faults: dict[str, str] = {}
        self._market = market
        for name, member in members.items():
            self._check(name, member)
            self.by_timeframe[member.timeframe_s][name] = member
        for group in self.by_timeframe.values():
            for member in group.values():
                member.prepare(market)
        self._called = {timeframe_s: _called(group) for timeframe_s, group in self.by_timeframe.items()}

    def called(self, timeframe_s: int) -> tuple[str, str]:
        """Model and version that a record of the timeframe names: the one member's own, or `ensemble` and a mark of who is in it."""
        return self._called[timeframe_s]

    def ask(self, timeframe_s: int, row: int) -> dict[str, dict[str, tuple[float, float]]]:
        """Every member's (p_up, p_down) by symbol and name."""
        asked: dict[str, dict[str, tuple[float, float]]] = {symbol: {} for symbol in self._market.symbols}
        rows = np.array([row], np.int64)
        for name, member in self.by_timeframe[timeframe_s].items():
            try:
                told = member.ask(self._market, rows)
            except Exception as error:  # it may raise anything, and the others are asked all the same
                self.faults[name] = f"{name} could not answer: {error!r}"
                continue
            self.faults.pop(name, None)
            for at, symbol in enumerate(member.symbols):
                asked[symbol][name] = float(told.p_up[0, at]), float(told.p_down[0, at])
        return asked

    def _check(self, name: str, member: Member) -> None:
        symbols = self._market.symbols
        if set(member.symbols) - set(symbols) or member.timeframe_s not in self.by_timeframe:
            followed = ", ".join(TIMEFRAMES[one] for one in self.by_timeframe)
            raise ConfigError(
                f"{name} forecasts {', '.join(member.symbols)} over {TIMEFRAMES.get(member.timeframe_s, member.timeframe_s)};"
                f" followed are {', '.join(symbols)} over {followed}"
            )


def _called(group: Mapping[str, Member]) -> tuple[str, str]:
    if len(group) == 1:
        model, _, version = next(iter(group)).partition(":")
        return model, version
    names = "\n".join(sorted(group))
    return "ensemble", hashlib.sha256(names.encode()).hexdigest()[:8]
