"""When a live second is final, and what happens to trades that come after that.

Second s seals when a trade at or past s + 1 has come (the feed hands trades on in the order of their ids, without
holes), or when the clock is `grace_us` past its end and the stream is whole: a feed that knows it lacks
trades says so, and a dead socket is not taken for a quiet market. A trade that comes for a sealed second makes a new
version of its bar; the old one is kept with the moment of the change, so that `as_of` gives back what live saw.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import DataError
from crypy.domain.events import SecondBar, Trade
from crypy.domain.times import US_PER_S
from crypy.marketdata.bars import Bars
from crypy.marketdata.seconds import SecondSums
from crypy.marketdata.trades import TradeBatch

GRACE_US = 1_000_000
KEEP_S = 14_400
_MOST_CORRECTIONS = 100_000
_COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")


@dataclass(frozen=True, slots=True)
class Correction:
    """A sealed second changed at `applied_us` (our clock): what was seen until then, and from then on.

    `ids` are those of the trades that came late.
    """

    applied_us: int
    before: SecondBar
    after: SecondBar
    ids: tuple[int, ...] = ()


class SecondFold:
    """Live second bars of one symbol from `start_s` on.

    `update` takes trades in the order of their ids and drops repeated ones. `seal` closes what can be closed and gives the
    bars that are new or changed since it was last asked. Trades of up to `keep_s` / 2 seconds back can still correct; older
    ones, and any before `start_s`, are counted in `too_late` (the store has them). `last_id` is the highest id known, -1 for
    none. While `whole` is false trades are known to be missing, and time alone seals nothing.
    """

    def __init__(
        self,
        symbol: str,
        start_s: int,
        *,
        carry_close: float = float("nan"),
        last_id: int = -1,
        grace_us: int = GRACE_US,
        keep_s: int = KEEP_S,
    ) -> None:
        self.symbol = symbol
        self.sealed_s = start_s
        self.last_id = last_id
        self.last_price_e8 = 0
        self.trades = 0
        self.duplicates = 0
        self.whole = True
        self.corrections: deque[Correction] = deque(maxlen=_MOST_CORRECTIONS)
        self._untold: deque[Correction] = deque(maxlen=_MOST_CORRECTIONS)
        self._grace_us = grace_us
        self._room_s = keep_s // 2
        self._sums = SecondSums(symbol, start_s, keep_s, carry_close)
        self._pending: list[Trade] = []
        self._newest_us = start_s * US_PER_S
        self._changed_s = start_s
        self._versions: dict[int, int] = {}

    @property
    def too_late(self) -> int:
        """Trades older than everything that is held."""
        return self._sums.outside

    @property
    def waiting(self) -> int:
        """Trades taken and not folded yet; `seal` folds them."""
        return len(self._pending)

    def update(self, trade: Trade) -> bool:
        """Take one trade; false when its id was known. Folded at the next `seal`, which costs less than one by one.

        Raises `DataError` for a trade that cannot be.
        """
        if trade.id <= self.last_id:
            self.duplicates += 1
            return False
        if trade.first_id >= 0 and (trade.price_e8 <= 0 or trade.quantity_e8 < 0 or trade.last_id < trade.first_id):
            raise DataError(f"{self.symbol}: no such trade can be: {trade}")
        self.last_id = trade.id
        self.trades += 1
        self._pending.append(trade)
        if trade.first_id >= 0:
            self.last_price_e8 = trade.price_e8
            self._newest_us = max(self._newest_us, trade.time_us)
        return True

    def seal(self, now_us: int, by_time: bool = True) -> list[Bars]:
        """Seal what can be sealed at `now_us`; bars new or changed since the last call, dense, without hole up to `sealed_s`.

        Without `by_time` only trades seal, not the clock.
        """
        pieces: list[Bars] = []
        pending, self._pending = self._pending, []
        if pending:
            self._absorb(TradeBatch.of(pending), now_us, pieces)
        self._seal_to(self._newest_us // US_PER_S, pieces)
        if self.whole and by_time:
            self._seal_to((now_us - self._grace_us) // US_PER_S, pieces)
        return pieces

    def extend(self, batch: TradeBatch, now_us: int) -> list[Bars]:
        """Take many trades, ids ascending and above `last_id`, and seal: as `update` on each and one `seal`."""
        carried = self.seal(now_us, by_time=False)
        known = int(np.searchsorted(batch.id, self.last_id, side="right"))
        self.duplicates += known
        batch = batch[known:]
        if len(batch):
            self.last_id = int(batch.id[-1])
            self.trades += len(batch)
            self._absorb(batch, now_us, carried)
        return [*carried, *self.seal(now_us)]

    def amend(self, batch: TradeBatch, now_us: int) -> list[Bars]:
        """Take trades that were passed over when they were missing: ids below `last_id` that no `update` brought. Seals as `seal`."""
        pieces = self.seal(now_us, by_time=False)
        self.trades += len(batch)
        self._absorb(batch, now_us, pieces)
        return [*pieces, *self.seal(now_us)]

    def take_corrections(self) -> list[Correction]:
        """Corrections that were not taken before, in the order of the changes."""
        untold = list(self._untold)
        self._untold.clear()
        return untold

    def _absorb(self, batch: TradeBatch, now_us: int, pieces: list[Bars]) -> None:
        """Fold trades, sealing as they go along so that no unsealed second has to make room."""
        real = batch.first_id >= 0
        start = 0
        while start < len(batch):
            beyond = batch.time_us[start:] >= (self.sealed_s + self._room_s) * US_PER_S
            beyond &= real[start:]
            stop = start + int(beyond.argmax()) if beyond.any() else len(batch)
            if stop == start:
                self._seal_to(int(batch.time_us[start]) // US_PER_S, pieces)
                continue
            piece = batch[start:stop]
            self._correct_and_add(piece, now_us)
            if real[start:stop].any():
                self._newest_us = max(self._newest_us, int(piece.time_us[real[start:stop]].max()))
            start = stop

    def _correct_and_add(self, batch: TradeBatch, now_us: int) -> None:
        sums = self._sums
        sums.advance(max(sums.end_s, self.sealed_s + self._room_s))
        seconds = batch.time_us // US_PER_S
        late = (seconds < self.sealed_s) & (seconds >= sums.start_s) & (batch.first_id >= 0)
        changed: list[int] = np.unique(seconds[late]).tolist()
        before = [self._bar(second) for second in changed]
        sums.add(batch)
        for second, was in zip(changed, before, strict=True):
            self._versions[second] = was.version + 1
            ids = tuple(batch.id[late & (seconds == second)].tolist())
            correction = Correction(now_us, was, self._bar(second), ids)
            self.corrections.append(correction)
            self._untold.append(correction)
        if changed:
            self._changed_s = min(self._changed_s, changed[0])

    def _bar(self, second: int) -> SecondBar:
        return bar_at(self._sums.bars(second, second + 1), 0, self._versions.get(second, 0))

    def _seal_to(self, time_s: int, pieces: list[Bars]) -> None:
        self.sealed_s = max(self.sealed_s, time_s)
        sums = self._sums
        while self._changed_s < self.sealed_s:
            until_s = min(self.sealed_s, self._changed_s + self._room_s)
            sums.advance(max(sums.end_s, until_s))
            pieces.append(sums.bars(self._changed_s, until_s))
            self._changed_s = until_s


def bar_at(bars: Bars, row: int, version: int = 0) -> SecondBar:
    """One row of dense bars as a value."""
    return SecondBar(
        bars.symbol,
        bars.start_s + row * bars.step_s,
        float(bars.open[row]),
        float(bars.high[row]),
        float(bars.low[row]),
        float(bars.close[row]),
        float(bars.volume[row]),
        float(bars.quote_volume[row]),
        int(bars.count[row]),
        float(bars.taker_buy_volume[row]),
        version,
    )


def as_of(bars: Bars, corrections: Iterable[Correction], seen_us: int) -> Bars:
    """What live saw at `seen_us`: every correction that was applied later is taken back, the last one first."""
    columns: dict[str, NDArray[Any]] = {name: getattr(bars, name).copy() for name in _COLUMNS}
    undone = sorted((c for c in corrections if c.applied_us > seen_us), key=lambda c: (c.applied_us, c.before.version))
    for correction in reversed(undone):
        row = correction.before.time_s - bars.start_s
        if 0 <= row < len(bars):
            for name in _COLUMNS:
                columns[name][row] = getattr(correction.before, name)
    # A second without trades carries the last close, which may be another one now.
    traded = np.where(columns["count"] > 0, np.arange(len(bars)), 0)
    source = np.maximum.accumulate(traded) if len(bars) else traded
    for name in ("open", "high", "low", "close"):
        columns[name] = np.where(columns["count"] > 0, columns[name], columns["close"][source])
    return Bars(bars.symbol, bars.start_s, bars.step_s, **columns)
