"""One symbol live: the fold of its trades, the ring of its bars, and how the two begin and begin anew.

Without history the first second that is seen is left out, for its beginning was missed. After a hole in the ids that is
longer than `HOLE_S` everything starts anew behind it: seconds that are not known are not seconds without trades.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.events import E8, Trade
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring
from crypy.marketdata.sealing import Correction, SecondFold
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trades import TradeBatch

HOLE_S = 60
# A trade so far ahead of our clock is not believed: one wrong timestamp would seal everything up to it.
MOST_AHEAD_S = 60
# So many trades in a row from the future are no mistake of the venue's.
_AGREEING = 20
# A clock that goes on by more between two looks has leapt.
_LEAP_S = 60
# So many holes are remembered; older ones are mended in the store alone.
_MOST_HOLES = 1_000
# Trades that wait to be folded while nobody asks for a seal.
_MOST_WAITING = 20_000
_HOUR_S = 3_600


class SymbolState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one symbol now. Times in microseconds (`_us`) or seconds (`_s`), 0 where there is none yet.

    `history_s` counts seconds with a known price up to `sealed_s`; `volatility_1h` is the standard deviation of the last
    hour's log return, from its squared one-second (base step) returns.
    """

    symbol: str
    price: float | None
    trade_us: int
    trades: int
    last_id: int | None
    sealed_s: int
    history_s: int
    whole: bool
    corrections: int
    duplicates: int
    too_late: int
    refused: int
    volatility_1h: float | None
    note: str


class LiveSymbol:
    """Fold and ring of one symbol; `update` on each trade in the order of ids, `seal` before the ring is read."""

    def __init__(self, ring: Ring, grace_us: int, keep_s: int) -> None:
        self.symbol = ring.symbol
        self.ring = ring
        self.fold: SecondFold | None = None
        self.last_id = -1
        self.last_us = 0
        self.price_e8 = 0
        self.trades = self.refused = self.duplicates = 0
        self.note = "no trade yet"
        # First and last id of what was passed over because it could not be had.
        self.holes: deque[tuple[int, int]] = deque(maxlen=_MOST_HOLES)
        self._lost = ""
        self._given_up: list[Correction] = []
        self._doubted: list[Trade] = []
        self._behind_us = 0
        self._looked_us = 0
        self._leapt = False
        self._grace_us = grace_us
        self._keep_s = keep_s
        self._whole = True

    @property
    def whole(self) -> bool:
        """Whether no trade is known to be missing; while there is one, time alone seals nothing."""
        return self._whole

    @whole.setter
    def whole(self, whole: bool) -> None:
        self._whole = whole
        if self.fold is not None:
            self.fold.whole = whole

    @property
    def sealed_s(self) -> int:
        """Every second before this one that is known at all is final; 0 while nothing is."""
        return 0 if self.fold is None else self.fold.sealed_s

    def load(self, bars: Bars, tail: TradeBatch, last_id: int) -> None:
        """Begin with history: bars up to a second, and every trade from that second on."""
        self.ring.clear()
        self.ring.write(bars)
        carry = float(bars.close[-1]) if len(bars) else math.nan
        self.fold = self._new_fold(bars.end_s, carry)
        for piece in self.fold.extend(tail, 0):
            self.ring.write(piece)
        self.fold.last_id = self.last_id = last_id
        self.holes.clear()
        if len(tail):
            self.last_us, self.price_e8 = int(tail.time_us.max()), int(tail.price_e8[-1])
        self.note = ""

    def update(self, trade: Trade, now_us: int) -> Sequence[Trade]:
        """Take one trade; what was taken: nothing when its id was known or it cannot be believed, more when doubted ones are believed now."""
        if trade.id <= self.last_id:
            self.duplicates += 1
            return ()
        if trade.time_us > now_us + self._behind_us + MOST_AHEAD_S * US_PER_S:
            return self._doubt(trade, now_us)
        if self._behind_us or self._doubted:
            self._behind_us = min(self._behind_us, max(0, trade.time_us - now_us))
            self._doubted.clear()
        return (trade,) if self._accept(trade, now_us) else ()

    def _doubt(self, trade: Trade, now_us: int) -> Sequence[Trade]:
        """One trade from the future is a wrong timestamp; many in a row that agree with each other show that our clock is behind."""
        if self._doubted and abs(trade.time_us - self._doubted[-1].time_us) > MOST_AHEAD_S * US_PER_S:
            self._doubted.clear()
        self._doubted.append(trade)
        self._refuse(f"trade {trade.id} is from {iso(trade.time_us)}, but it is {iso(now_us)}")
        if len(self._doubted) < _AGREEING:
            return ()
        self._behind_us = trade.time_us - now_us
        believed, self._doubted = self._doubted, []
        self.refused -= len(believed)
        self.note = f"our clock is {self._behind_us / US_PER_S:.0f} s behind the venue's"
        return [one for one in believed if self._accept(one, now_us)]

    def _accept(self, trade: Trade, now_us: int) -> bool:
        """Fold in a trade whose time is believed; false for one that cannot be."""
        if trade.id != self.last_id + 1 and self.last_id >= 0 and trade.time_us - self.last_us > HOLE_S * US_PER_S:
            self._begin_anew(trade)
        try:
            self._take(trade, now_us)
        except DataError as error:
            self._refuse(str(error))
            return False
        if trade.id != self.last_id + 1 and self.last_id >= 0:
            self.holes.append((self.last_id + 1, trade.id - 1))
        self.last_id = trade.id
        self.last_us = max(self.last_us, trade.time_us)
        self.trades += 1
        if trade.first_id >= 0:
            self.price_e8 = trade.price_e8
        return True

    def amend(self, batch: TradeBatch, now_us: int) -> int:
        """Take trades that fill holes, ids ascending; how many were taken. Any others are known, or none of ours to know."""
        inside = np.zeros(len(batch), np.bool_)
        for first, last in self.holes:
            inside |= (batch.id >= first) & (batch.id <= last)
        filling = taken(batch, inside)
        if not len(filling):
            return 0
        self.holes = deque(left_of(self.holes, filling.id), _MOST_HOLES)
        if self.fold is not None:
            self._write(self.fold.amend(filling, now_us))
        return len(filling)

    def seal(self, now_us: int) -> None:
        """Seal what can be, and bring the ring up to it.

        A clock that leaps ahead says nothing of what was traded meanwhile (the machine slept, and the socket is dead without knowing it): until a
        trade shows that the stream has caught up, time alone seals nothing.
        """
        if self._looked_us and now_us - self._looked_us > _LEAP_S * US_PER_S:
            self._leapt = True
        self._looked_us = max(self._looked_us, now_us)
        if self._leapt and now_us - self.last_us <= _LEAP_S * US_PER_S:
            self._leapt = False
        if self.fold is not None:
            self._write(self.fold.seal(now_us, by_time=not self._leapt))

    def take_corrections(self) -> list[Correction]:
        """Corrections that were not taken before, those of a fold that was given up included."""
        told, self._given_up = self._given_up, []
        return told if self.fold is None else [*told, *self.fold.take_corrections()]

    def _write(self, pieces: list[Bars]) -> None:
        for piece in pieces:
            if piece.start_s < self.ring.first * self.ring.step_s:
                self.note = (
                    f"a correction at {iso(piece.start_s * US_PER_S)} came after the ring had forgotten that second"
                )
                continue
            self.ring.write(piece)

    def state(self) -> SymbolState:
        """Everything known now, for reports."""
        fold, known_s = self.fold, self.ring.known_s
        variance = self.ring.variance(_HOUR_S)
        return SymbolState(
            symbol=self.symbol,
            price=self.price_e8 / E8 if self.price_e8 else None,
            trade_us=self.last_us,
            trades=self.trades,
            last_id=self.last_id if self.last_id >= 0 else None,
            sealed_s=self.sealed_s,
            history_s=0 if known_s is None else self.ring.end_s - known_s,
            whole=self.whole,
            corrections=0 if fold is None else len(fold.corrections),
            duplicates=self.duplicates,
            too_late=0 if fold is None else fold.too_late,
            refused=self.refused,
            volatility_1h=None if variance is None else math.sqrt(variance),
            note=self.note,
        )

    def _take(self, trade: Trade, now_us: int) -> None:
        """Fold a trade in; the first second of all only lends its last price."""
        second = trade.time_us // US_PER_S
        if self.fold is None:
            if self.last_id < 0 or second <= self.last_us // US_PER_S:
                if trade.first_id >= 0 and trade.price_e8 <= 0:
                    raise DataError(f"{self.symbol}: no such trade can be: {trade}")
                self.note = "waiting for the first whole second"
                return
            self.fold = self._new_fold(self.last_us // US_PER_S + 1, self.price_e8 / E8 if self.price_e8 else math.nan)
            self.note = self._lost
        self.fold.update(trade)
        if self.fold.waiting >= _MOST_WAITING:
            self.seal(now_us)

    def _begin_anew(self, trade: Trade) -> None:
        missing = f"ids {self.last_id + 1} to {trade.id - 1}, {iso(self.last_us)} to {iso(trade.time_us)}"
        if self.fold is not None:
            self._given_up += self.fold.take_corrections()
        self.fold = None
        self.ring.clear()
        self.holes.clear()
        self.last_id = -1
        self.price_e8 = 0
        self._lost = f"history begins anew, trades are missing: {missing}"

    def _new_fold(self, start_s: int, carry_close: float) -> SecondFold:
        fold = SecondFold(self.symbol, start_s, carry_close=carry_close, grace_us=self._grace_us, keep_s=self._keep_s)
        fold.whole = self._whole
        return fold

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        self.note = reason


def left_of(holes: Iterable[tuple[int, int]], ids: NDArray[np.int64]) -> list[tuple[int, int]]:
    """What is left of holes once these ids, ascending, have come."""
    left: list[tuple[int, int]] = []
    for first, last in holes:
        here = ids[np.searchsorted(ids, first) : np.searchsorted(ids, last, side="right")].tolist()
        edges = [first - 1, *here, last + 1]
        left += [(a + 1, b - 1) for a, b in pairwise(edges) if b - a > 1]
    return left
