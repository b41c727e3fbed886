"""What a model is fitted or judged on: bars of some symbols up to an end, and the origins that lie in a range of them.

No look-ahead by construction: bars are cut at `end_s`, an origin t sees bars that ended by t, and a return counts only where its
horizon ends by `end_s`. So two ranges that share no second share no return either; what is left to the caller of a split
is the embargo, the time that correlation needs to die down between them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.mapped_bars import MappedBars
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import FeatureSchema
from crypy.marketdata.sequence import bars_needed
from crypy.marketdata.training_windows import TrainingWindows, training_windows, whole_ends, windows_from_rings
from crypy.models import mapped_prices

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HORIZONS_S: Final = (300, 900, 3_600, 14_400, 86_400)
SPACING_S: Final = 300
_COLUMNS: Final = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Origins t with `start_s` <= t < `end_s`, over bars that reach back before `start_s` (warm-up) and end by `end_s`.

    Origins lie `offset_s` after the multiples of `spacing_s`. `bars` have one step; `horizons_s` are those that are judged. Make it by
    `Dataset.of`, or by `Dataset.of_mapped` over memory-mapped second bars of any size.
    """

    bars: Mapping[str, Bars]
    start_s: int
    end_s: int
    spacing_s: int = SPACING_S
    horizons_s: tuple[int, ...] = HORIZONS_S
    mapped: Mapping[str, MappedBars] | None = None
    offset_s: int = 0
    _rings: dict[tuple[str, int], Ring] = field(default_factory=dict[tuple[str, int], Ring], repr=False, compare=False)
    _logs: dict[str, Floats] = field(default_factory=dict[str, Floats], repr=False, compare=False)

    @classmethod
    def of(
        cls,
        bars: Mapping[str, Bars],
        start_s: int | None = None,
        end_s: int | None = None,
        *,
        spacing_s: int = SPACING_S,
        horizons_s: tuple[int, ...] = HORIZONS_S,
    ) -> Dataset:
        """The range `[start_s, end_s)` of these bars, all of them where none is given; bars beyond the end are cut off.

        Raises `ConfigError` for bars of several steps, a spacing or horizon that is no multiple of the step, an empty range.
        """
        steps = {one.step_s for one in bars.values()}
        if len(steps) != 1:
            raise ConfigError(f"bars to learn from need one common step, got {sorted(steps)} s")
        _require_multiples(steps.pop(), spacing_s, horizons_s)
        first, last = _range(list(bars.values()), start_s, end_s)
        return cls({symbol: _until(one, last) for symbol, one in bars.items()}, first, last, spacing_s, horizons_s)

    @classmethod
    def of_mapped(
        cls,
        mapped: Mapping[str, MappedBars],
        start_s: int | None = None,
        end_s: int | None = None,
        *,
        spacing_s: int = SPACING_S,
        horizons_s: tuple[int, ...] = HORIZONS_S,
    ) -> Dataset:
        """The same over memory-mapped second bars: prices and sequences are read from the files, nothing is loaded ahead.

        A return that reaches into a hole or across one is NaN. `bars` are made when they are asked for (`MappedHistory`). Raises as `of` does.
        """
        if not mapped:
            raise ConfigError("a dataset needs bars of at least one symbol")
        _require_multiples(1, spacing_s, horizons_s)
        first, last = _range(list(mapped.values()), start_s, end_s)
        return cls(mapped_prices.MappedHistory(mapped, last), first, last, spacing_s, horizons_s, mapped)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.bars)

    @property
    def step_s(self) -> int:
        return 1 if self.mapped is not None else next(iter(self.bars.values())).step_s

    def between(self, start_s: int, end_s: int) -> Dataset:
        """A narrower range of the same bars; what lies before it stays as warm-up. Raises `ConfigError` for a wider one."""
        if not self.start_s <= start_s < end_s <= self.end_s:
            raise ConfigError(
                f"{iso(start_s * US_PER_S)} to {iso(end_s * US_PER_S)} is no range inside"
                f" {iso(self.start_s * US_PER_S)} to {iso(self.end_s * US_PER_S)}"
            )
        if self.mapped is not None:
            part = Dataset.of_mapped(self.mapped, start_s, end_s, spacing_s=self.spacing_s, horizons_s=self.horizons_s)
        else:
            part = Dataset.of(self.bars, start_s, end_s, spacing_s=self.spacing_s, horizons_s=self.horizons_s)
        return replace(part, offset_s=self.offset_s)

    def every(self, spacing_s: int, offset_s: int = 0) -> Dataset:
        """The same with another distance between origins, `offset_s` after its multiples."""
        return replace(self, spacing_s=spacing_s, offset_s=offset_s)

    def origins_s(self) -> Ints:
        """All origins, ascending."""
        first = -(-(self.start_s - self.offset_s) // self.spacing_s) * self.spacing_s + self.offset_s
        return np.arange(first, self.end_s, self.spacing_s, dtype=np.int64)

    def log_close(self, symbol: str) -> Floats:
        """Log of each bar's close; NaN before the first known price."""
        if symbol not in self._logs:
            if self.mapped is None:
                self._logs[symbol] = np.log(self.bars[symbol].close)
            else:
                self._logs[symbol] = mapped_prices.log_closes(self.mapped[symbol], self.end_s)
        return self._logs[symbol]

    def returns(self, symbol: str, origins_s: Ints, horizons_s: Floats | Ints) -> Floats:
        """log p(t + h) - log p(t) [n, h], for one set of horizons [h] or one of each origin [n, h], in whole bars.

        NaN where a price is unknown, or where t + h lies beyond the range.
        """
        start_s = self.bars[symbol].start_s if self.mapped is None else self.mapped[symbol].start_s
        logs = self.log_close(symbol)
        whole_horizons = np.atleast_2d(np.asarray(horizons_s, np.int64))
        now = (origins_s - start_s) // self.step_s - 1
        then = now[:, None] + whole_horizons // self.step_s
        inside = (now[:, None] >= 0) & (then < len(logs))
        out = np.full(then.shape, np.nan)
        rows, columns = np.nonzero(inside)
        out[rows, columns] = logs[then[rows, columns]] - logs[now[rows]]
        if self.mapped is not None:
            out[mapped_prices.over_holes(self.mapped[symbol], origins_s, whole_horizons)] = np.nan
        return out

    def windows(self, schema: FeatureSchema, origins_s: Ints, *, threads: int = 1) -> TrainingWindows:
        """Feature sequences at the origins, equal to the live ones bit for bit. Large: ask for some thousand origins at a time.

        Raises `ConfigError` or `SchemaMismatch` where the bars cannot give this schema, `Incomplete` where history is missing that it insists on.
        """
        if len(origins_s) and int(origins_s.max()) > self.end_s:
            raise ConfigError(
                f"a sequence at {iso(int(origins_s.max()) * US_PER_S)} lies beyond the dataset, which ends {iso(self.end_s * US_PER_S)}"
            )
        if self.mapped is not None:
            return training_windows(self.mapped, schema, origins_s, threads=threads)
        rings = {symbol: self._ring(symbol, schema.base_step_s) for symbol in schema.symbols}
        return windows_from_rings(rings, schema, origins_s, threads=threads)

    def has_history(self, schema: FeatureSchema, origins_s: Ints) -> Bools:
        """At which origins every cell of a sequence is known: enough history, and no hole in it."""
        if self.mapped is not None:
            spans = np.array(whole_ends(self.mapped, schema), np.int64).reshape(-1, 2)
            at = np.searchsorted(spans[:, 0], origins_s, side="right") - 1
            return (at >= 0) & (origins_s <= np.append(spans[:, 1], 0)[at])
        need_s = bars_needed(schema, self.step_s) * self.step_s
        known_s = [self._ring(symbol, schema.base_step_s).known_s for symbol in schema.symbols]
        if any(known is None for known in known_s):
            return np.zeros(len(origins_s), np.bool_)
        return origins_s - need_s >= max(known for known in known_s if known is not None)

    def fingerprint(self) -> str:
        """SHA-256 over symbols, range and all columns of the bars up to the end."""
        if self.mapped is not None:
            return mapped_prices.fingerprint(self.mapped, self.start_s, self.end_s)
        digest = hashlib.sha256(f"{self.start_s} {self.end_s}".encode())
        for symbol, one in sorted(self.bars.items()):
            digest.update(f"{symbol} {one.start_s} {one.step_s} {len(one)}\n".encode())
            for name in _COLUMNS:
                digest.update(np.ascontiguousarray(getattr(one, name)).tobytes())
        return digest.hexdigest()

    def _ring(self, symbol: str, base_step_s: int) -> Ring:
        if symbol not in self.bars:
            raise ConfigError(f"the schema asks for {symbol}, bars are there of {', '.join(self.bars)}")
        key = symbol, base_step_s
        if key not in self._rings:
            bars = self.bars[symbol]
            if not len(bars):
                raise Incomplete(f"{symbol}: no bars before {iso(self.end_s * US_PER_S)}", (symbol,))
            if base_step_s % bars.step_s:
                raise ConfigError(
                    f"{symbol}: bars of {bars.step_s} s cannot give a sequence of {base_step_s} s, which this model looks at; bring bars of"
                    f" {base_step_s} s"
                )
            self._rings[key] = Ring.of(bars, (base_step_s,))
        return self._rings[key]


def _require_multiples(step_s: int, spacing_s: int, horizons_s: tuple[int, ...]) -> None:
    wrong = [each for each in (spacing_s, *horizons_s) if each <= 0 or each % step_s]
    if wrong or list(horizons_s) != sorted(set(horizons_s)):
        raise ConfigError(
            f"with bars of {step_s} s, spacing and horizons are multiples of {step_s} s, and ascend; got spacing {spacing_s} s and horizons"
            f" {', '.join(map(str, horizons_s))} s"
        )


def _range(bars: list[Bars] | list[MappedBars], start_s: int | None, end_s: int | None) -> tuple[int, int]:
    first = min(one.start_s for one in bars) if start_s is None else start_s
    last = max(one.end_s for one in bars) if end_s is None else end_s
    if first >= last:
        raise ConfigError(f"nothing lies between {iso(first * US_PER_S)} and {iso(last * US_PER_S)}")
    return first, last


def _until(bars: Bars, end_s: int) -> Bars:
    """The bars that end by `end_s`, without copying them."""
    count = max(0, min(len(bars), (end_s - bars.start_s) // bars.step_s))
    return replace(bars, **{name: getattr(bars, name)[:count] for name in _COLUMNS})
