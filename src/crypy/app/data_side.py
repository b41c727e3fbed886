"""Market data and forecasts of one process: history, the live feed, the journal, the model and its runner, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import structlog

from crypy.app.road import Road
from crypy.app.settings import Settings
from crypy.app.world import World
from crypy.domain.errors import CrypyError, DataError
from crypy.domain.events import Quote, Trade
from crypy.domain.instruments import coin_of
from crypy.domain.ports import Transport
from crypy.domain.reports import SymbolRow
from crypy.domain.times import DAY_S, US_PER_S
from crypy.forecasting.runner import ModelRunner
from crypy.marketdata.crypto_data import WEEK_S, CryptoData
from crypy.marketdata.feed_lag import FeedLag
from crypy.marketdata.journal import TradeJournal
from crypy.marketdata.ports import PriceSink
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync import SyncReport
from crypy.marketdata.trade_progress import Progress
from crypy.marketdata.trade_source import TradeKind
from crypy.marketdata.trades import TradeBatch
from crypy.models.fitting import fit_baseline
from crypy.models.volatility import VolatilityBaseline
from crypy.nexus.nexus import Nexus
from crypy.runtime.agent import AgentContext
from crypy.venues.binance.feed import BinanceFeed
from crypy.venues.binance.history import BinanceHistory

log = structlog.get_logger()

OnClose = Callable[[str, int, float], None]

# How much history a reference price may need: a day's window that began with the clocks going back.
_CLOSES_S = 27 * 3_600
_VENUE = "binance"


class DataSide:
    """From the venue's trades and quotes to distributions in the nexus.

    `on_close(coin, time_s, close)` hears of every sealed second, in order.
    """

    def __init__(
        self, settings: Settings, road: Road, world: World, transport: Transport, nexus: Nexus, on_close: OnClose
    ) -> None:
        self.kind: TradeKind = "trades" if road.kind == "trade" else "aggTrades"
        self.store = TradeStore(world.store_dir, self.kind)
        self.journal = TradeJournal(world.journal_dir, self._store_live)
        self.crypto_data = CryptoData(
            road.symbols,
            self.store,
            road.clock,
            history_s=WEEK_S + DAY_S,
            grace_s=settings.data.seal_grace_s,
            journal=self.journal,
        )
        self.report: SyncReport | None = None
        self.runner: ModelRunner | None = None
        self.feed: BinanceFeed | None = None
        self.lag = FeedLag()
        self._settings = settings
        self._road = road
        self._model_dir = world.model_dir
        self._transport = transport
        self._nexus = nexus
        self._sink: PriceSink = nexus
        self._on_close = on_close
        self._closed_s: dict[str, int] = {}
        self._mids: dict[str, float] = {}
        self._history = BinanceHistory(transport, road.clock, road.archive_url, road.rest_url, self.kind)

    async def load_history(self, on_progress: Callable[[Progress], None] | None) -> None:
        """Bring back what a former run left, make history whole up to now, and fill the rings."""
        recovered = await asyncio.to_thread(self.journal.drain)
        for one in recovered:
            log.info("journal.recovered", symbol=one.symbol, trades=one.trades, torn_bytes=one.torn_bytes)
        start_us = self._road.history_start_us
        # A recording has no history before it: the archive of its days does not exist.
        if start_us is not None and self._road.end_us is None:
            self.report = await self.crypto_data.sync(self._history, start_us, on_progress=on_progress)
            for problem in self.report.problems:
                log.warning("sync.problem", problem=problem)
        await asyncio.to_thread(self.crypto_data.load_history)

    async def make_model(self) -> None:
        """Fit the baseline on what is stored; with nothing stored it is the prior, and says so by its history."""
        now_s = self._road.clock.now_us() // US_PER_S
        model = await asyncio.to_thread(self._fit, now_s)
        coins = dict(zip(self._road.coins, self._road.symbols, strict=True))
        self.runner = ModelRunner(
            self.crypto_data, model, (self._nexus,), self._road.clock, coins, self._settings.data.durations
        )

    async def run_feed(self, context: AgentContext) -> None:
        """Follow trades and quotes until cancelled."""
        self.feed = BinanceFeed(
            self._transport,
            self._road.clock,
            self._road.symbols,
            self._road.stream_url,
            self._road.rest_url,
            self._on_trade,
            self._on_quote,
            "trade" if self.kind == "trades" else "aggTrade",
            random=np.random.default_rng(),
            last_ids=self.crypto_data.last_ids(),
            on_whole=self.crypto_data.set_whole,
        )
        context.ready()
        await self.feed.run()

    async def run_journal(self, context: AgentContext) -> None:
        """Make live trades durable within seconds, and drain them into the store now and then."""
        context.ready()
        await self.journal.run(self._road.clock)

    async def run_model(self, context: AgentContext) -> None:
        """One inference a second."""
        if self.runner is None:
            await self.make_model()
        assert self.runner is not None  # made above
        context.ready()
        async for due_us in context.every(1.0):
            self.tell_closes()
            await self.runner.step(due_us)

    def tell_closes(self) -> None:
        """Tell every second that was sealed since the last time."""
        for symbol in self._road.symbols:
            from_s = self._closed_s.get(symbol)
            if from_s is None:
                from_s = self._road.clock.now_us() // US_PER_S - _CLOSES_S
            first_s, closes = self.crypto_data.closes(symbol, from_s)
            coin = coin_of(symbol)
            for time_s, close in enumerate(closes.tolist(), first_s):
                self._on_close(coin, time_s, close)
            self._closed_s[symbol] = first_s + len(closes) if len(closes) else from_s

    def rows(self) -> tuple[SymbolRow, ...]:
        """What is known of each symbol, for the page."""
        now_us = self._road.clock.now_us()
        states = self.crypto_data.states()
        rows: list[SymbolRow] = []
        for symbol, state in states.items():
            price = self._nexus.price(coin_of(symbol))
            rows.append(
                SymbolRow(
                    symbol=symbol,
                    price=state.price if price is None else price.value,
                    price_age_s=None if price is None else max(0.0, (now_us - price.time_us) / US_PER_S),
                    trades=state.trades,
                    last_id=state.last_id,
                    history_s=state.history_s,
                    volatility_1h=state.volatility_1h,
                    note=state.note,
                )
            )
        return tuple(rows)

    def close(self) -> None:
        """Everything that came is in the store when this returns."""
        self.journal.close()

    def _on_trade(self, trade: Trade) -> None:
        self.crypto_data.update(trade)
        self.lag.update("binance.trades", trade.time_us, trade.received_us)

    def _on_quote(self, quote: Quote) -> None:
        """Tell the nexus a changed midprice; one that is unchanged is told too once a second, for its age."""
        mid, coin = quote.mid, coin_of(quote.symbol)
        if self._mids.get(coin) == mid:
            known = self._nexus.price(coin)
            if known is not None and quote.time_us - known.time_us < US_PER_S:
                return
        self._mids[coin] = mid
        try:
            self._sink.update_price(coin, mid, quote.time_us)
        except DataError as error:
            log.warning("price.refused", coin=coin, error=str(error))

    def _store_live(self, symbol: str, batch: TradeBatch) -> None:
        self.store.append(_VENUE, symbol, batch)

    def _fit(self, now_s: int) -> VolatilityBaseline:
        start_us = self._road.history_start_us
        bars = {}
        for symbol in self._road.symbols:
            covered = self.store.coverage(_VENUE, symbol)
            if covered.first_time_us is None or covered.last_time_us is None or start_us is None:
                continue
            start_s = -(-max(covered.first_time_us, start_us) // US_PER_S)
            end_s = min(covered.last_time_us // US_PER_S, now_s)
            if end_s > start_s:
                bars[symbol] = self.store.bars(_VENUE, symbol, start_s, end_s)
        if set(bars) != set(self._road.symbols):
            return VolatilityBaseline.prior(self._road.symbols)
        model = fit_baseline(bars)
        _save(model, self._model_dir)
        return model


def _save(model: VolatilityBaseline, folder: Path) -> None:
    """Keep the artefact; a disk that takes none does not keep the model from being used."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.save(folder)
    except (CrypyError, OSError) as error:
        log.warning("model.not_saved", folder=str(folder), error=str(error))
