"""One symbol live: the fold of its trades, the ring of its bars, and how the two begin and begin anew.

Without history the first second that is seen is left out, for its beginning was missed. After a hole in the ids that is
longer than `HOLE_S` everything starts anew behind it: seconds that are not known are not seconds without trades.
"""

from __future__ import annotations

import math

import msgspec

from crypy.domain.errors import DataError
from crypy.domain.events import E8, Trade
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring
from crypy.marketdata.sealing import SecondFold
from crypy.marketdata.trades import TradeBatch

HOLE_S = 60
# A trade so far ahead of our clock is not believed: one wrong timestamp would seal everything up to it.
MOST_AHEAD_S = 60
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
        self._lost = ""
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
        if len(tail):
            self.last_us, self.price_e8 = int(tail.time_us.max()), int(tail.price_e8[-1])
        self.note = ""

    def update(self, trade: Trade, now_us: int) -> bool:
        """Take one trade; false when its id was known or it cannot be believed."""
        if trade.id <= self.last_id:
            self.duplicates += 1
            return False
        if trade.time_us > now_us + MOST_AHEAD_S * US_PER_S:
            self._refuse(f"trade {trade.id} is from {iso(trade.time_us)}, but it is {iso(now_us)}")
            return False
        if trade.id != self.last_id + 1 and self.last_id >= 0 and trade.time_us - self.last_us > HOLE_S * US_PER_S:
            self._begin_anew(trade)
        try:
            self._take(trade, now_us)
        except DataError as error:
            self._refuse(str(error))
            return False
        self.last_id = trade.id
        self.last_us = max(self.last_us, trade.time_us)
        self.trades += 1
        if trade.first_id >= 0:
            self.price_e8 = trade.price_e8
        return True

    def seal(self, now_us: int) -> None:
        """Seal what can be, and bring the ring up to it."""
        if self.fold is None:
            return
        for piece in self.fold.seal(now_us):
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
        self.fold = None
        self.ring.clear()
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
