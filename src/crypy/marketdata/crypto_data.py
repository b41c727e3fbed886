"""Market data of all symbols in one place: history from the store, live trades, and feature sequences of both.

The specification's `crypto_data_sync()`, `crypto_data_update(trade)` and `crypto_data_feature_sequence(end)` are the methods
`sync`, `update` and `feature_sequence`. All but `sync` and `load_history` are plain calls from one thread, the event loop's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from crypy.domain.errors import ConfigError
from crypy.domain.events import Trade
from crypy.domain.ports import Clock
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.journal import TradeJournal
from crypy.marketdata.live_symbol import HOLE_S, LiveSymbol, SymbolState
from crypy.marketdata.ring import Floats, Ring
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.marketdata.sealing import GRACE_US, KEEP_S, Correction
from crypy.marketdata.sequence import sequence_from_rings

if TYPE_CHECKING:
    from crypy.marketdata.store import TradeStore
    from crypy.marketdata.sync_report import SyncReport
    from crypy.marketdata.trade_progress import Progress
    from crypy.marketdata.trade_source import HistorySource
    from crypy.marketdata.trades import TradeBatch

WEEK_S = 604_800
# Behind the newest stored trade, so many seconds are folded anew from their trades: the last of them may not be full.
_TAIL_S = 60
_MARGIN_S = 3_600


class CryptoData:
    """History and live seconds of `symbols`.

    `history_s` seconds are kept in memory, at 64 bytes a second and symbol and 8 more for each of `base_steps_s` (the steps
    at which models want returns squared). `grace_s` is how long after its end a second waits for a trade that proves it complete. History that
    ends more than `join_s` ago is not joined to: the live feed would have to fetch all that lies between by REST.
    `schema` is what `feature_sequence(end)` gives when it is asked for none.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        store: TradeStore,
        clock: Clock,
        *,
        venue: str = "binance",
        schema: FeatureSchema | None = None,
        history_s: int = WEEK_S,
        base_steps_s: tuple[int, ...] = (1,),
        grace_s: float = GRACE_US / US_PER_S,
        keep_s: int = KEEP_S,
        join_s: int = 3 * 3_600,
        journal: TradeJournal | None = None,
    ) -> None:
        self.symbols = tuple(symbols)
        self.venue = venue
        self.schema = schema
        self._store = store
        self._clock = clock
        self._journal = journal
        self._join_s = join_s
        self._history_s = max(history_s, keep_s) + _MARGIN_S
        grace_us = round(grace_s * US_PER_S)
        self._live = {
            symbol: LiveSymbol(Ring(symbol, self._history_s, 1, base_steps_s), grace_us, keep_s) for symbol in symbols
        }
        self._rings = {symbol: live.ring for symbol, live in self._live.items()}

    async def sync(
        self,
        source: HistorySource,
        history_start_us: int,
        end_us: int | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> SyncReport:
        """Make the stored history of `[history_start_us, end_us)` whole (`crypy.marketdata.sync`, its errors too)."""
        from crypy.marketdata.sync import sync

        return await sync(self._store, source, self._clock, self.symbols, history_start_us, end_us, on_progress)

    def load_history(self) -> dict[str, SymbolState]:
        """Fill the rings from the store up to its newest trades. Blocks for seconds: call it in a thread, before any update."""
        now_us = self._clock.now_us()
        for live in self._live.values():
            self._load(live, now_us)
        return self.states()

    @property
    def history_s(self) -> int:
        """Seconds before the newest that are kept."""
        return self._history_s

    def last_ids(self) -> dict[str, int]:
        """The newest id of each symbol whose history has been joined or whose trades are coming: a feed begins behind it."""
        return {symbol: live.last_id for symbol, live in self._live.items() if live.last_id >= 0}

    def update(self, trade: Trade) -> bool:
        """Take one live trade, ids ascending; false when it was known or cannot be believed (`states` says why)."""
        taken = self._of(trade.symbol).update(trade, self._clock.now_us())
        if self._journal is not None:
            for one in taken:
                self._journal.add(one)
        return bool(taken)

    def holes(self) -> dict[str, tuple[tuple[int, int], ...]]:
        """First and last ids that were passed over because the venue did not give them, by symbol."""
        return {symbol: tuple(live.holes) for symbol, live in self._live.items()}

    def amend(self, symbol: str, batch: TradeBatch) -> int:
        """Take trades that fill holes, once they could be had (`repair`); how many were taken. They correct sealed seconds."""
        return self._of(symbol).amend(batch, self._clock.now_us())

    def set_whole(self, symbol: str, whole: bool) -> None:
        """Say whether trades of a symbol are known to be missing (a lost connection, an open gap): then time alone seals nothing."""
        self._of(symbol).whole = whole

    def sealed_s(self, symbol: str | None = None) -> int:
        """All seconds before this one are final, of one symbol or of all; 0 while one has none."""
        now_us = self._clock.now_us()
        chosen = self._live.values() if symbol is None else [self._of(symbol)]
        for live in chosen:
            live.seal(now_us)
        return min(live.sealed_s for live in chosen)

    def feature_sequence(self, end_s: int, schema: FeatureSchema | None = None) -> FeatureSequence:
        """The sequence that ends at `end_s`, from the rings; equal bit for bit to the offline one over the same trades.

        Raises `Incomplete` when a second before `end_s` is not sealed, or history is too short and the schema does not allow
        that. A symbol that has no second at all yet counts as history that is too short.
        """
        chosen = schema or self.schema
        if chosen is None:
            raise ConfigError("a feature sequence needs a schema: hand one in, or give CryptoData its own")
        now_us = self._clock.now_us()
        for symbol in chosen.symbols:
            self._of(symbol).seal(now_us)
        return sequence_from_rings(self._rings, end_s, chosen)

    def closes(self, symbol: str, from_s: int) -> tuple[int, Floats]:
        """Closes of the sealed seconds from `from_s` on, oldest first, and the second the first of them is of."""
        live = self._of(symbol)
        live.seal(self._clock.now_us())
        return live.ring.closes(from_s)

    def corrections(self, symbol: str) -> tuple[Correction, ...]:
        """Sealed seconds that late trades have changed since the start, in the order of the changes."""
        fold = self._of(symbol).fold
        return () if fold is None else tuple(fold.corrections)

    def take_corrections(self, symbol: str) -> list[Correction]:
        """Those of `corrections` that were not taken before: for whoever keeps them."""
        return self._of(symbol).take_corrections()

    def frontiers(self) -> dict[str, tuple[int, int]]:
        """Of each symbol that has any: the second before which all is sealed, and the newest id that is known."""
        return {
            symbol: (live.sealed_s, live.last_id)
            for symbol, live in self._live.items()
            if live.sealed_s and live.last_id >= 0
        }

    def states(self) -> dict[str, SymbolState]:
        """What is known of each symbol now."""
        return {symbol: live.state() for symbol, live in self._live.items()}

    def _of(self, symbol: str) -> LiveSymbol:
        live = self._live.get(symbol)
        if live is None:
            raise ConfigError(f"{symbol} is not followed; {', '.join(self.symbols)} are")
        return live

    def _load(self, live: LiveSymbol, now_us: int) -> None:
        covered = self._store.coverage(self.venue, live.symbol)
        if covered.last_time_us is None or covered.first_time_us is None or covered.last_id is None:
            live.note = "nothing is stored"
            return
        # A store can hold trades from after now: a replay or a simulated market that begins again.
        end_us = min(covered.last_time_us + 1, now_us)
        if now_us - end_us > self._join_s * US_PER_S:
            live.note = f"stored history ends at {iso(end_us)}, too long ago to go on from: sync it"
            return
        split_s = end_us // US_PER_S - _TAIL_S
        tail = self._store.trades(self.venue, live.symbol, split_s * US_PER_S, end_us)
        known_from_s = max(
            [-(-covered.first_time_us // US_PER_S)]
            + [
                -(-gap.before_time_us // US_PER_S)
                for gap in covered.gaps
                if gap.before_time_us - gap.after_time_us > HOLE_S * US_PER_S and gap.before_time_us < end_us
            ]
        )
        start_s = max(known_from_s, end_us // US_PER_S - self._history_s)
        if start_s >= split_s or not len(tail):
            live.note = f"stored history of the last {end_us // US_PER_S - known_from_s} s is too short to go on from"
            return
        last_id = covered.last_id if end_us > covered.last_time_us else int(tail.id[-1])
        live.load(self._store.bars(self.venue, live.symbol, start_s, split_s), tail, last_id)
