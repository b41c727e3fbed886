"""The state of the market as a strategy or a forecaster sees it: raw candles, holdings, and the features folded from them."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from crypy.domain.errors import DataError
from crypy.domain.events import Candle
from crypy.features.column import FeatureColumn, Memory
from crypy.features.feature import Feature
from crypy.features.history import CandleHistory

if TYPE_CHECKING:
    from crypy.features.store import FeatureStore

# Rows are let go in pieces of this many, so that a candle a minute moves no memory.
_PIECE = 256


@dataclass
class Plan:
    """Columns in the order of their needs, looked up once: hashing a nested feature takes longer than folding a row of it."""

    columns: tuple[FeatureColumn, ...]
    # Rows and turn of the state up to which all of them are folded.
    done: tuple[int, int] = (-1, 0)


@dataclass(eq=False)
class State:
    """`raw` has the candles by symbol, `features` the columns by symbol and feature; `trade` is the caller's own (positions, capital).

    Used by one thread at a time.
    """

    raw: Mapping[str, CandleHistory]
    trade: Any = None  # whatever the trading side keeps there; features do not look
    features: dict[str, dict[Feature, FeatureColumn]] = field(default_factory=dict[str, dict[Feature, FeatureColumn]])
    # What each store computes, by symbol; `turn` counts the times that rows were taken back, `layout` those that columns were.
    plans: WeakKeyDictionary[FeatureStore, dict[str, Plan]] = field(
        default_factory=lambda: WeakKeyDictionary[Any, dict[str, Plan]](), repr=False
    )
    turn: int = 0
    layout: int = 0

    def value(self, symbol: str, feature: Feature) -> float:
        """The newest value, NaN where there is none yet."""
        column = self.features.get(symbol, {}).get(feature)
        return float(column.newest[0]) if column is not None and len(column.newest) else float("nan")

    def corrected(self, symbol: str, candle: Candle) -> int:
        """Put the candle in place of the one held for its time and fold anew from there; gives the first row that may have changed.

        What stands then is bit for bit what would stand had the candle been right when it came: features that have been computed since the
        row was new take it in wholly. One that was asked for later began cold with the rows then held, and is folded from there again.
        Answers given meanwhile are the caller's to judge. Raises `DataError` for a time that is not held; nothing is changed then.
        """
        row = self._history(symbol).correct(candle)
        self.turn += 1
        for column in self.features.get(symbol, {}).values():
            column.rewind(row)
        self._catch_up()
        return row

    @contextmanager
    def supposing(self, candles: Mapping[str, Candle | None]) -> Generator[State]:
        """The state as it would be if these candles (or the running ones, as they stand) had closed now; after the block it is as before.

        Nothing else may use the state meanwhile. Raises `DataError` for a candle that does not follow.
        """
        for symbol in candles:
            self._history(symbol)
        self._catch_up()
        rows = {symbol: history.rows for symbol, history in self.raw.items()}
        kept = {
            symbol: {one: each.state() for one, each in columns.items()} for symbol, columns in self.features.items()
        }
        try:
            for symbol, candle in candles.items():
                self.raw[symbol].append(candle)
            self._catch_up()
            yield self
        finally:
            self._be_as(rows, kept)

    def peek(self, candles: Mapping[str, Candle | None]) -> dict[str, dict[Feature, float]]:
        """The values of all features of these symbols if the candles closed now, as they stand; nothing is changed."""
        with self.supposing(candles):
            return {
                symbol: {feature: float(column.newest[0]) for feature, column in self.features.get(symbol, {}).items()}
                for symbol in candles
            }

    def forget(self, keep: int) -> None:
        """Let go of all rows but the last `keep` (at least one) of each symbol. No value that is computed later depends on it."""
        for symbol, history in self.raw.items():
            first = max(history.first_row, history.rows - max(1, keep))
            base = first - first % _PIECE
            if base > history.base:
                self._begin_at(symbol, base)
            history.forget(first, spare=first - base)

    def _history(self, symbol: str) -> CandleHistory:
        if symbol not in self.raw:
            raise DataError(f"there are no candles of {symbol} here, only of {', '.join(self.raw) or 'nothing'}")
        return self.raw[symbol]

    def _be_as(self, rows: Mapping[str, int], kept: Mapping[str, Mapping[Feature, Memory]]) -> None:
        self.turn += 1
        for symbol, columns in self.features.items():
            before = kept.get(symbol, {})
            for feature in [one for one in columns if one not in before]:
                # Asked for first meanwhile: it has folded a row that is none.
                del columns[feature]
                self.plans.clear()
                self.layout += 1
            for feature, memory in before.items():
                columns[feature].return_to(memory)
        for symbol, count in rows.items():
            self.raw[symbol].cut(count)

    def _begin_at(self, symbol: str, base: int) -> None:
        columns = self.features.get(symbol, {}).values()
        for column in columns:
            column.fold_to(self.raw[symbol].rows)
        for column in columns:
            column.begin_at(base)
        for column in columns:
            column.forget(base)

    def _catch_up(self) -> None:
        for symbol, columns in self.features.items():
            rows = self.raw[symbol].rows
            # In the order they came in, each after those that it needs.
            for column in columns.values():
                column.fold_to(rows)
