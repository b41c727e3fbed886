"""Real minutes of some symbols, and the trades by which a simulated venue tells them.

A file says open, high, low, close and volume of a minute and nothing of what happened inside. Each minute is told as up to four trades, at
fixed seconds: open, one extreme, the other, close; one that would repeat the price before it is left out. Folding them gives back the file's
prices and volume exactly. Which extreme comes first, and how the volume is split, is drawn from a seed: the chance that the low comes first is
(1 + (close - open) / (high - low)) / 2, which is 1/2 where the minute went nowhere and certain where it went straight. A rule without chance would tell the minute's end
before its time, and so would equal parts of its volume.

A minute that a file lacks is unknown, and nobody is told of it; one without volume happened, and nothing was traded in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import E8
from crypy.domain.instruments import coin_of
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.source_files import open_source
from crypy.marketdata.trades import TradeBatch
from crypy.simulator.binance_source import Listing

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
MINUTE_S: Final = 60
MINUTE_US: Final = MINUTE_S * US_PER_S
# Microseconds into the minute of open, first extreme, second extreme, close.
TOLD_US: Final = np.array([1, 20, 40, 59], np.int64) * US_PER_S
_LARGEST: Final = float(2**62)


@dataclass(frozen=True, slots=True)
class SymbolMinutes:
    """The minutes of one symbol from `start_us` on, one row each, and the trades that tell them.

    `path` [minute, 4] holds open, first extreme, second extreme and close, the last close where a minute is unknown; `parts` [minute, 4] the quantity
    traded at each, 0 where a price is not told; both in units of 1e-8. `known_before` and `first_id` [minute + 1] count the known minutes
    and the trades before each. Trades are numbered from 0, at the first minute's open.
    """

    symbol: str
    start_us: int
    path: Ints
    parts: Ints
    known_before: Ints
    first_id: Ints
    listing: Listing

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def end_us(self) -> int:
        """The end of the last minute."""
        return self.start_us + len(self) * MINUTE_US

    def trades(self, first: int, stop: int) -> TradeBatch:
        """The trades with the numbers `[first, stop)`, cut to those that there are."""
        first, stop = max(0, first), min(int(self.first_id[-1]), stop)
        if stop <= first:
            return TradeBatch.of(())
        begin, last = (int(row) - 1 for row in np.searchsorted(self.first_id, [first, stop - 1], "right"))
        parts = self.parts[begin : last + 1].ravel()
        told = parts > 0
        opens_us = self.start_us + np.arange(begin, last + 1, dtype=np.int64) * MINUTE_US
        price = self.path[begin : last + 1].ravel()[told]
        falls = np.diff(price, prepend=self.path[begin - 1, 3] if begin else price[0]) < 0
        ids = np.arange(self.first_id[begin], self.first_id[last + 1], dtype=np.int64)
        batch = TradeBatch(ids, price, parts[told], ids, ids, (opens_us[:, None] + TOLD_US).ravel()[told], falls)
        return batch[first - int(ids[0]) : stop - int(ids[0])]

    def count_until(self, time_us: int) -> int:
        """How many trades have happened at an instant or before."""
        minute, into_us = divmod(time_us - self.start_us, MINUTE_US)
        if not 0 <= minute < len(self):
            return 0 if minute < 0 else int(self.first_id[-1])
        return int(self.first_id[minute]) + int(np.count_nonzero((self.parts[minute] > 0) & (into_us >= TOLD_US)))

    def covered(self, opens: Ints) -> Bools:
        """Which of the bars between the open times hold a known minute."""
        first = np.clip((opens[:-1] - self.start_us) // MINUTE_US, 0, len(self))
        stop = np.clip(-((self.start_us - opens[1:]) // MINUTE_US), 0, len(self))
        return self.known_before[stop] > self.known_before[first]


@dataclass(frozen=True, slots=True)
class MinutesMarket:
    """Symbols with real minutes. The market begins with the first minute of any and ends with the last of any."""

    symbols: dict[str, SymbolMinutes]

    @property
    def start_us(self) -> int:
        return min(minutes.start_us for minutes in self.symbols.values())

    @property
    def end_us(self) -> int:
        return max(minutes.end_us for minutes in self.symbols.values())


def load_minutes(path: Path, symbols: Sequence[str], seed: int) -> MinutesMarket:
    """The minutes of those symbols that a file or folder holds.

    A file holds one symbol: the one its name begins with. Raises `ConfigError` where there is nothing of any of them, where what lies there are trades
    or candles of another length, and `DataError` for what is damaged or cannot be told by trades.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder of minutes")
    held = [symbol for symbol in symbols if _holds(path, symbol)]
    if not held:
        raise ConfigError(
            f"{path}: no candles of {', '.join(symbols)}; name files after the symbol, such as {symbols[0]}_1m.csv.gz"
        )
    return MinutesMarket({symbol: symbol_minutes(_read(path, symbol), seed) for symbol in held})


def symbol_minutes(bars: Bars, seed: int) -> SymbolMinutes:
    """The trades of minute bars. Raises `DataError` naming the minute that trades cannot tell."""
    if bars.step_s != MINUTE_S:
        raise ConfigError(
            f"{bars.symbol}: candles of {bars.step_s} s; the simulator tells minutes, give it candles of 60 s"
        )
    known = np.isfinite(bars.close)
    path = np.stack([_units(column, known, bars) for column in (bars.open, bars.low, bars.high, bars.close)], axis=1)
    volume = _units(bars.volume, known, bars)
    random = np.random.Generator(np.random.Philox([seed, zlib.crc32(bars.symbol.encode())]))
    span = np.maximum(path[:, 2] - path[:, 1], 1)
    low_first = random.random(len(known)) < (1.0 + (path[:, 3] - path[:, 0]) / span) / 2.0
    path[:, 1:3] = np.where(low_first[:, None], path[:, 1:3], path[:, 2:0:-1])
    _check_quiet(bars, path, volume, known)
    told = np.diff(path, axis=1, prepend=0) != 0
    told[:, 0] = True
    told &= (volume > 0)[:, None]
    lot = _lot(volume, told.sum(axis=1))
    short = np.flatnonzero(volume < told.sum(axis=1))
    if len(short):
        raise _untellable(bars, int(short[0]), "has less volume than its prices need, 1e-8 for each")
    parts = _split(volume // lot, told, random) * lot
    listing = _listing(bars.symbol, path[known], lot)
    # Rows that the file lacks carry the last close, behind which the next trade rises or falls.
    path[:] = np.where(
        known[:, None], path, path[np.maximum.accumulate(np.where(known, np.arange(len(known)), 0)), 3][:, None]
    )
    return SymbolMinutes(
        bars.symbol, bars.start_s * US_PER_S, path, parts, _before(known), _before(told.sum(axis=1)), listing
    )  # fmt: skip


def _holds(path: Path, symbol: str) -> bool:
    names = [path.name] if path.is_file() else [one.name for one in path.iterdir()]
    return any("".join(c for c in name.upper() if c.isalnum()).startswith(symbol) for name in names)


def _read(path: Path, symbol: str) -> Bars:
    with open_source(path, symbol) as source:
        if source.candles is None:
            raise ConfigError(
                f"{path}: trades of {symbol}; the simulator tells candles of one minute, give it a file of these"
            )
        return source.candles.bars


def _units(values: NDArray[np.float64], known: Bools, bars: Bars) -> Ints:
    """Values in units of 1e-8, 0 where nothing is known."""
    floats = np.where(known, values, 0.0) * E8
    large = np.flatnonzero(~(floats < _LARGEST))
    if len(large):
        raise _untellable(bars, int(large[0]), "has a price or volume above what 64 bits hold in units of 1e-8")
    units = np.rint(floats).astype(np.int64)
    # Past 2^53 the product is rounded, the shortest text of the value is not.
    for row in np.flatnonzero(floats > 2.0**53).tolist():
        units[row] = int(Decimal(repr(float(values[row]))).scaleb(8))
    return units


def _check_quiet(bars: Bars, path: Ints, volume: Ints, known: Bools) -> None:
    """A minute without trades stands where the last one ended."""
    quiet = known & (volume == 0)
    row = np.maximum.accumulate(np.where(known & ~quiet, np.arange(len(known)), -1))
    stands = np.where(row[:, None] >= 0, path[row, 3][:, None], path)
    odd = np.flatnonzero(quiet & (path != stands).any(axis=1))
    if len(odd):
        raise _untellable(bars, int(odd[0]), "moved without volume")


def _untellable(bars: Bars, row: int, why: str) -> DataError:
    shown = ", ".join(f"{name}={getattr(bars, name)[row]:.10g}" for name in ("open", "high", "low", "close", "volume"))
    return DataError(
        f"{bars.symbol}: the minute of {iso((bars.start_s + row * MINUTE_S) * US_PER_S)} {why} ({shown}): no trades can tell it; "
        "correct the row or leave it out"
    )


def _before(counts: Ints | Bools) -> Ints:
    """The sum of all counts before each, and of all: one longer."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _lot(volume: Ints, counts: Ints) -> int:
    """The step that all volumes keep, where it leaves at least one for each trade; else 1."""
    lot = int(np.gcd.reduce(volume)) or 1
    return lot if (volume // lot >= counts).all() else 1


def _split(lots: Ints, told: Bools, random: np.random.Generator) -> Ints:
    """Each minute's lots over its told prices [minute, 4]: one each, and the rest between cuts that are drawn."""
    counts = told.sum(axis=1)
    rest = lots - counts
    # As many cuts as there are parts less one, in the places of the parts before the last.
    drawn = np.sort(np.where(np.arange(3) < counts[:, None] - 1, random.random((len(lots), 3)), 1.0), axis=1)
    cuts = np.where(drawn < 1.0, np.minimum((rest[:, None] * drawn).astype(np.int64), rest[:, None]), rest[:, None])
    shares = np.diff(np.concatenate([np.zeros((len(lots), 1), np.int64), cuts, rest[:, None]], axis=1), axis=1)
    # The k-th told price gets the k-th share.
    rank = np.clip(np.cumsum(told, axis=1) - 1, 0, 3)
    return np.where(told, np.take_along_axis(shares, rank, axis=1) + 1, 0)


def _listing(symbol: str, path: Ints, lot: int) -> Listing:
    """The grid that every price and volume lies on; candles name none."""
    base, tick = coin_of(symbol), int(np.gcd.reduce(path.ravel())) or 1
    return Listing(symbol, base, symbol.removeprefix(base), Decimal(tick).scaleb(-8), Decimal(lot).scaleb(-8))
