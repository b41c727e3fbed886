"""What a direction model looks at: which features of which coin, in which order. Part of its artefact.

A column is a feature of the coin itself, or the mean of the same feature over the other coins; some candles ago where `lag` says so. All
features are asked of the market at the close of a minute, so nothing behind a close can reach the forecast made at it.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.features.catalogue import Spec, feature_of, spec_of
from crypy.features.feature import Feature
from crypy.models.direction.market import STEP_S, Market
from crypy.models.direction.one_row import OneRow, others_mean, whole
from crypy.models.direction.port import TIMEFRAMES_S

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Whose = Literal["own", "others"]
# Rows that are put together at once: the columns of a year would not fit in memory twice.
_CHUNK: Final = 65_536


class Column(msgspec.Struct, frozen=True):
    """One number a coin: the coin's `own` feature, or the mean of it over all `others` (0 where there is no other), `lag` minutes ago.

    `odd` says that the number changes its sign when every price p becomes 1 / p, as a return does and a volume does not.
    """

    feature: Spec
    whose: Whose = "own"
    lag: int = 0
    odd: bool = False

    @classmethod
    def of(cls, feature: Feature, whose: Whose = "own", lag: int = 0, *, odd: bool = False) -> Column:
        """The column of a feature."""
        return cls(spec_of(feature), whose, lag, odd)


class DirectionInputs(msgspec.Struct, frozen=True, dict=True):
    """The columns of each symbol, in order, at the ends of minutes (`step_s`) of which those that end a candle of `timeframe_s` are asked.

    Raises `ConfigError` for what cannot be.
    """

    symbols: tuple[str, ...]
    timeframe_s: int
    columns: tuple[Column, ...] = ()
    step_s: int = STEP_S

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) < len(self.symbols):
            raise ConfigError(f"a direction model needs symbols, each once, got {', '.join(self.symbols) or 'none'}")
        if self.timeframe_s not in TIMEFRAMES_S or self.timeframe_s % self.step_s:
            known = ", ".join(f"{each} s" for each in TIMEFRAMES_S)
            raise ConfigError(f"there are no candles of {self.timeframe_s} s to forecast; choose from {known}")
        if any(column.lag < 0 for column in self.columns):
            raise ConfigError("a column's lag is the number of minutes ago and not below 0")

    @property
    def width(self) -> int:
        """Columns of one symbol."""
        return len(self.columns)

    @property
    def timeframe_rows(self) -> int:
        """Minutes of one candle."""
        return self.timeframe_s // self.step_s

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Of each column; equal ones are computed once. Raises `ConfigError` or `DataError` for one that this version does not know."""
        return tuple(feature_of(column.feature) for column in self.columns)

    @cached_property
    def rows_needed(self) -> int:
        """Minutes of history until every column is warm."""
        return max(
            (one.rows_needed + column.lag for one, column in zip(self.features, self.columns, strict=True)), default=1
        )

    @cached_property
    def odd(self) -> Bools:
        """[width]"""
        return np.array([column.odd for column in self.columns], np.bool_)

    def wanted(self) -> tuple[Feature, ...]:
        """For `Market.want`."""
        return tuple(dict.fromkeys(self.features))

    @cached_property
    def looks_at(self) -> str:
        """SHA-256 of symbols and columns: the same for models whose timeframes alone differ."""
        return hashlib.sha256(msgspec.json.encode((self.symbols, self.columns), order="sorted")).hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 of the layout, the same on every machine."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def require(self, fingerprint: str) -> None:
        """Raises `SchemaMismatch` where the fingerprint is not of these columns."""
        if fingerprint != self.fingerprint():
            raise SchemaMismatch(
                f"these inputs have the fingerprint {self.fingerprint()[:12]}, the model was fitted on {fingerprint[:12]}; fit it again"
            )

    def fit(self, market: Market) -> None:
        """Raises `SchemaMismatch` for a market of another step, or without one of the symbols."""
        if market.step_s != self.step_s or not set(self.symbols) <= set(market.symbols):
            raise SchemaMismatch(
                f"the model looks at candles of {self.step_s} s of {', '.join(self.symbols)}; the market has {market.step_s} s of"
                f" {', '.join(market.symbols)}"
            )

    def x(self, market: Market, rows: Ints) -> tuple[Singles, Bools]:
        """Values [n, symbol, width] and whether all of them are known [n, symbol], at the closes of these rows of a market that was asked to
        compute `wanted`. A row has the same bits alone and among others; 0 stands for what is unknown.

        Raises `SchemaMismatch` for another market, `DataError` for rows that it does not hold.
        """
        self.fit(market)
        rows = np.asarray(rows, np.int64)
        if len(rows) and not (market.first_row <= rows.min() and rows.max() < market.rows):
            raise DataError(
                f"rows {rows.min()} to {rows.max()} are asked for, the market holds {market.first_row} to {market.rows - 1}"
            )
        if len(rows) == 1 and (found := self._of_one(market, int(rows[0]))):
            return found
        x = np.empty((len(rows), len(self.symbols), self.width), np.float32)
        for first in range(0, len(rows), _CHUNK):
            self._fill(market, rows[first : first + _CHUNK], x[first : first + _CHUNK])
        return whole(x)

    def _of_one(self, market: Market, row: int) -> tuple[Singles, Bools] | None:
        """The same bits for a single row, in a hundredth of the time; `None` where that cannot be."""
        reader = market.one_rows.get(self.looks_at)
        if reader is None:
            if not set(self.features) <= set(market.features):
                return None
            keys = [(feature, column.lag) for feature, column in zip(self.features, self.columns, strict=True)]
            numbers = {key: at for at, key in enumerate(dict.fromkeys(keys))}
            columns = [
                numbers[key] + (len(numbers) if column.whose == "others" else 0)
                for key, column in zip(keys, self.columns, strict=True)
            ]
            reader = market.one_rows[self.looks_at] = OneRow(self.symbols, tuple(numbers), np.array(columns, np.int64))
        market.compute()
        return reader.x(market.state, row)

    def _fill(self, market: Market, rows: Ints, x: Singles) -> None:
        seen: dict[tuple[Feature, int], Floats] = {}
        for at, (feature, column) in enumerate(zip(self.features, self.columns, strict=True)):
            key = feature, column.lag
            if key not in seen:
                seen[key] = self._gathered(market, feature, rows - column.lag)
            values = seen[key]
            x[:, :, at] = values if column.whose == "own" else others_mean(values)

    def _gathered(self, market: Market, feature: Feature, rows: Ints) -> Floats:
        """[n, symbol]; NaN for rows that are not held any more."""
        first, stop = max(market.first_row, int(rows.min())), int(rows.max()) + 1
        out = np.full((len(rows), len(self.symbols)), np.nan)
        held = rows >= first
        for at, symbol in enumerate(self.symbols):
            if stop > first:
                out[held, at] = market.values(symbol, feature, first, stop)[rows[held] - first]
        return out
