"""Candles of the live stream: closed only when sealed seconds prove it, and told again when a sealed second is corrected.

What `LiveSymbol` and `SecondFold` seal goes in; closed candles come out, the running one can be looked at any time. The bits are those of
`candle_fold.candles_of` over the same seconds. The last seconds are kept, so that a correction folds the few candles it touches anew.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from crypy.domain.events import SecondBar
from crypy.marketdata.bars import Bars
from crypy.marketdata.candle_fold import CandleSums
from crypy.marketdata.candles import COLUMNS, Candles, joined
from crypy.marketdata.intervals import Interval
from crypy.marketdata.sealing import KEEP_S

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PRICES: Final = ("open", "high", "low", "close")
_VOLUMES: Final = ("volume", "quote_volume", "taker_buy_volume")


class CandleFold:
    """Candles of one interval from `start_s` on, from second bars as they are sealed.

    `update` and `extend` give the candles that closed, or that a correction changed, in order. Corrections reach `keep_s` seconds back, as far
    as those of a `SecondFold` do; older ones are left out and counted in `too_late`. A candle whose beginning was missed, or
    that has a hole, says so in `missing_s`. `carry_close` is the last close before `start_s`, NaN where none is known.
    """

    def __init__(
        self,
        name: str,
        interval: Interval,
        start_s: int,
        *,
        carry_close: float = float("nan"),
        keep_s: int = KEEP_S // 2,
    ) -> None:
        self.too_late = 0
        self._name = name
        self._keep_s = keep_s
        # Everything before `_base.end_s` is folded for good; behind it lie kept seconds, which `_head` has folded, too.
        self._base = CandleSums(name, interval, start_s, carry_close)
        self._head = self._base.copy()
        self._floats: dict[str, Floats] = {name: np.zeros(2 * keep_s) for name in (*_PRICES, *_VOLUMES)}
        self._count: Ints = np.zeros(2 * keep_s, np.int64)

    @property
    def end_s(self) -> int:
        """Every second before this one is in."""
        return self._head.end_s

    def update(self, bar: SecondBar) -> Candles:
        """Take one sealed second, new or corrected; candles closed or changed by it. Errors as `CandleSums.add`."""
        floats = (np.array([getattr(bar, name)]) for name in (*_PRICES, *_VOLUMES))
        open_, high, low, close, volume, quote_volume, taker_buy = floats
        count = np.array([bar.count], np.int64)
        return self.extend(
            Bars(self._name, bar.time_s, 1, open_, high, low, close, volume, quote_volume, count, taker_buy)
        )

    def extend(self, bars: Bars) -> Candles:
        """Take sealed seconds, dense: new ones, corrected ones, or both. As `update` on each, but a candle is told once."""
        pieces = [self._head.copy().add(_rows(bars, 0, 0))] if not len(bars) else []
        first = 0
        while first < len(bars):
            rows = min(len(bars) - first, self._keep_s)
            known = self.end_s - bars.start_s - first
            piece = _rows(bars, first, first + (min(rows, known) if known > 0 else rows))
            pieces.append(self._correct(piece) if known > 0 else self._append(piece))
            first += len(piece)
        return joined(pieces)

    def running(self) -> Candles:
        """The candle that runs, as the seconds up to `end_s` leave it; no row where they end with a candle."""
        return self._head.running()

    def _append(self, bars: Bars) -> Candles:
        self._make_room(bars.end_s)
        held_s = max(self.end_s, self._base.end_s)
        if held_s < bars.start_s:
            self._put(_unknown(bars.symbol, held_s, bars.start_s), held_s - self._base.end_s)
        self._put(bars, bars.start_s - self._base.end_s)
        return self._head.add(bars)

    def _correct(self, bars: Bars) -> Candles:
        """Fold the kept seconds again with these in their place; the closed candles that are others now."""
        lost = min(len(bars), max(0, self._base.end_s - bars.start_s))
        self.too_late += lost
        bars = _rows(bars, lost, len(bars))
        before = self._base.copy().add(self._kept())
        if len(bars):
            self._put(bars, bars.start_s - self._base.end_s)
            self._carry(bars.end_s - self._base.end_s)
        kept, self._head = self._kept(), self._base.copy()
        after = self._head.add(kept)
        changed = [row for row in range(len(after)) if not _same(before, after, row)]
        return joined([after[row : row + 1] for row in changed]) if changed else after[:0]

    def _make_room(self, end_s: int) -> None:
        """Fold the oldest kept seconds for good, until `end_s` fits behind the others."""
        if end_s - self._base.end_s <= len(self._count):
            return
        kept = self._kept()
        gone = min(len(kept), end_s - self._keep_s - self._base.end_s)
        self._base.add(_rows(kept, 0, gone))
        rest = len(kept) - gone
        for column in (*self._floats.values(), self._count):
            column[:rest] = column[gone : len(kept)].copy()
        if end_s - self._base.end_s > len(self._count):
            # A hole longer than what is kept lies between.
            self._base.skip(end_s - self._keep_s)

    def _kept(self) -> Bars:
        return _rows_of(
            self._name, self._base.end_s, self._floats, self._count, slice(0, self.end_s - self._base.end_s)
        )

    def _put(self, bars: Bars, at: int) -> None:
        rows = slice(at, at + len(bars))
        for name, column in self._floats.items():
            column[rows] = getattr(bars, name)
        self._count[rows] = bars.count

    def _carry(self, at: int) -> None:
        """Give seconds without trades from `at` on the close before them, which may be another one now."""
        kept = self.end_s - self._base.end_s
        traded = (self._count[at:kept] > 0) | (self._floats["volume"][at:kept] > 0)
        stop = at + int(traded.argmax()) if traded.any() else kept
        known = ~np.isnan(self._floats["close"][at:stop])
        for name in _PRICES:
            self._floats[name][at:stop][known] = self._floats["close"][at - 1]


def _rows(bars: Bars, first: int, stop: int) -> Bars:
    floats = {name: getattr(bars, name) for name in (*_PRICES, *_VOLUMES)}
    return _rows_of(bars.symbol, bars.start_s + first, floats, bars.count, slice(first, stop))


def _rows_of(symbol: str, start_s: int, floats: dict[str, Floats], count: Ints, rows: slice) -> Bars:
    return Bars(symbol, start_s, 1, count=count[rows], **{name: column[rows] for name, column in floats.items()})


def _unknown(symbol: str, start_s: int, end_s: int) -> Bars:
    prices, nothing = np.full(end_s - start_s, np.nan), np.zeros(end_s - start_s)
    return Bars(
        symbol, start_s, 1, prices, prices, prices, prices, nothing, nothing, np.zeros(len(nothing), np.int64), nothing
    )


def _same(before: Candles, after: Candles, row: int) -> bool:
    """Whether a row is equal in both to the bit, NaN included."""
    return row < len(before) and all(
        getattr(before, column)[row].tobytes() == getattr(after, column)[row].tobytes() for column in COLUMNS
    )
