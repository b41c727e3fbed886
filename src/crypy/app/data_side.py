"""Market data and forecasts of one process: history, the live feed, the journal, the model and its runner, wired together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import structlog
from numpy.typing import NDArray

from crypy.app.baseline import Fitted, audit_new, fit_stored
from crypy.app.data.stores import store_place
from crypy.app.model_side import ModelSide, registry_of
from crypy.app.road import Road
from crypy.app.settings import Settings
from crypy.app.world import World
from crypy.domain.errors import DataError
from crypy.domain.events import Quote, Trade
from crypy.domain.instruments import coin_of
from crypy.domain.ports import Transport
from crypy.domain.reports import SymbolRow
from crypy.domain.times import DAY_S, US_PER_S
from crypy.forecasting.calibrating import Calibrator
from crypy.forecasting.hot_swap import HotSwap, Rings
from crypy.forecasting.runner import ModelRunner
from crypy.forecasting.shadow import Shadows
from crypy.marketdata.crypto_data import WEEK_S, CryptoData
from crypy.marketdata.feed_lag import FeedLag
from crypy.marketdata.journal import TradeJournal
from crypy.marketdata.live_record import LiveRecord
from crypy.marketdata.ports import PriceSink
from crypy.marketdata.store import TradeStore
from crypy.marketdata.sync_report import SyncReport
from crypy.marketdata.trade_progress import Progress
from crypy.marketdata.trade_source import TradeKind
from crypy.marketdata.trades import TradeBatch
from crypy.models.artefact import read_card
from crypy.models.volatility import VolatilityBaseline
from crypy.nexus.nexus import Nexus
from crypy.runtime.agent import AgentContext
from crypy.runtime.clocks import SystemClock
from crypy.runtime.deadlines import end
from crypy.venues.binance.feed import BinanceFeed
from crypy.venues.binance.history import BinanceHistory

log = structlog.get_logger()

OnClose = Callable[[str, int, float], None]
OnHistory = Callable[[str, int, NDArray[np.float64]], None]

# How much history a reference price may need: a day's window that began with the clocks going back.
_CLOSES_S = 27 * 3_600
_VENUE = "binance"
# Steps at which models may want live returns squared: models of seconds and of minutes.
BASE_STEPS_S = (1, 60)
# A store on this machine has live trades within five seconds; each put to another one is a file and a round trip.
_DRAIN_S = 3.0
_DRAIN_REMOTE_S = 60.0


class DataSide:
    """From the venue's trades and quotes to distributions in the nexus.

    `on_history(coin, start_s, closes)` hears once of the seconds that were sealed before the start, NaN where the price is unknown, and
    `on_close(coin, time_s, close)` of every one that is sealed later, in order.
    """

    def __init__(
        self,
        settings: Settings,
        road: Road,
        world: World,
        transport: Transport,
        nexus: Nexus,
        on_close: OnClose,
        on_history: OnHistory,
    ) -> None:
        self.kind: TradeKind = "trades" if road.kind == "trade" else "aggTrades"
        self.store = TradeStore(store_place(settings, world.card.kind, world.store_dir), self.kind)
        drain_s = _DRAIN_REMOTE_S if self.store.shelf.is_remote else _DRAIN_S
        self.journal = TradeJournal(world.journal_dir, self._store_live, drain_s=drain_s)
        self._registry, self._world = registry_of(world)
        self.crypto_data = CryptoData(
            road.symbols,
            self.store,
            road.clock,
            history_s=max(WEEK_S + DAY_S, self._longest_s()),
            base_steps_s=BASE_STEPS_S,
            grace_s=settings.data.seal_grace_s,
            journal=self.journal,
        )
        self.record = LiveRecord(world.folder / "frontier.json", self.store, _VENUE, self.crypto_data, road.clock)
        self.report: SyncReport | None = None
        self.runner: ModelRunner | None = None
        self.models: ModelSide | None = None
        self.calibrator: Calibrator | None = None
        self.feed: BinanceFeed | None = None
        self.lag = FeedLag()
        self._settings = settings
        self._road = road
        self._model_dir = world.model_dir
        self._transport = transport
        self._nexus = nexus
        self._sink: PriceSink = nexus
        self._on_close = on_close
        self._on_history = on_history
        self._closed_s: dict[str, int] = {}
        self._mids: dict[str, float] = {}
        # One thread for the model in use and one for shadows: neither waits in the event loop.
        self._threads = ThreadPoolExecutor(2, "model")
        self.history = BinanceHistory(transport, road.clock, road.archive_url, road.rest_url, self.kind)

    async def load_history(self, on_progress: Callable[[Progress], None] | None) -> None:
        """Bring back what a former run left, make history whole up to now, and fill the rings."""
        recovered = await asyncio.to_thread(self.journal.drain)
        for one in recovered:
            log.info("journal.recovered", symbol=one.symbol, trades=one.trades, torn_bytes=one.torn_bytes)
        # What a crash or a disk spoilt is set aside first, so that the sync brings it back.
        for symbol in self._road.symbols:
            await asyncio.to_thread(audit_new, self.store, symbol, self._road.clock)
        start_us = self._road.history_start_us
        # A recording has no history before it: the archive of its days does not exist.
        if start_us is not None and self._road.end_us is None:
            self.report = await self.crypto_data.sync(self.history, start_us, on_progress=on_progress)
            for problem in self.report.problems:
                log.warning("sync.problem", problem=problem)
        for symbol, trades in (await asyncio.to_thread(self.record.recover)).items():
            log.info("record.late", symbol=symbol, trades=trades)
        await asyncio.to_thread(self.crypto_data.load_history)
        self._nothing_live()
        await asyncio.to_thread(self.tell_history)

    async def make_model(self) -> None:
        """Fit the baseline on what is stored (with nothing stored it is the prior, and says so by its history), then serve what is deployed."""
        baseline = await asyncio.to_thread(fit_stored, self.store, self._road, self._model_dir)
        if self.models is None:
            self.runner = await asyncio.to_thread(self._make_runner, baseline)
            self.models = self._make_models(self.runner, baseline.model)
        else:
            self.models.swap.renew(baseline.model)
        await self.models.look()

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
        self._nothing_live()
        context.ready()
        await self.feed.run()

    async def run_journal(self, context: AgentContext) -> None:
        """Make live trades durable and move them to the store within seconds, of the wall: a kill strikes in its time, however fast ours runs."""
        context.ready()
        wall = SystemClock()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.journal.run(wall), name="journal")
            group.create_task(self.record.run(wall), name="record")

    async def fill_holes(self, symbol: str) -> int:
        """Take into the live seconds what the store has by now of trades that the feed could not get; how many there were."""
        await asyncio.to_thread(self.record.note_filled, symbol)
        taken = 0
        for first_id, last_id in self.crypto_data.holes()[symbol]:
            batch = await asyncio.to_thread(self.store.trades_by_id, _VENUE, symbol, first_id, last_id)
            if len(batch):
                self.record.note(symbol, batch)
                taken += self.crypto_data.amend(symbol, batch)
        return taken

    async def run_model(self, context: AgentContext) -> None:
        """One inference a second."""
        if self.models is None:
            await self.make_model()
        assert self.models is not None  # made above
        context.ready()
        saving = None if self.calibrator is None else asyncio.ensure_future(self.calibrator.run(SystemClock()))
        try:
            async for due_us in context.every(1.0):
                self.tell_closes()
                await self.models.step(due_us)
        finally:
            if saving is not None:
                await end(saving)

    def tell_history(self) -> None:
        """Tell all at once the seconds of the past that a reference price may need. Before the feed runs, in any thread."""
        from_s = self._road.clock.now_us() // US_PER_S - _CLOSES_S
        for symbol in self._road.symbols:
            first_s, closes = self.crypto_data.closes(symbol, from_s)
            self._on_history(coin_of(symbol), first_s, closes)
            self._closed_s[symbol] = first_s + len(closes) if len(closes) else from_s

    def tell_closes(self) -> None:
        """Tell every second that was sealed since the last time."""
        for symbol in self._road.symbols:
            from_s = self._closed_s.get(symbol)
            if from_s is None:
                from_s = self._road.clock.now_us() // US_PER_S
            first_s, closes = self.crypto_data.closes(symbol, from_s)
            coin = coin_of(symbol)
            for time_s, close in enumerate(closes.tolist(), first_s):
                self._on_close(coin, time_s, close)
                if self.models is not None:
                    self.models.on_close(symbol, time_s, close)
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
        self._threads.shutdown(wait=False, cancel_futures=True)

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

    def _make_runner(self, baseline: Fitted) -> ModelRunner:
        model = baseline.model
        coins = dict(zip(self._road.coins, self._road.symbols, strict=True))
        if self._settings.model.calibrate:
            self.calibrator = self._make_calibrator(baseline)
        correct = None if self.calibrator is None else self.calibrator.apply
        runner = ModelRunner(
            self.crypto_data,
            model,
            (self._nexus,),
            self._road.clock,
            coins,
            self._settings.data.durations,
            correct=correct,
        )
        # Whatever inference has to compile is compiled here and not in the event loop at the first second.
        with suppress(DataError):
            runner.try_out(model, self.crypto_data.feature_sequence(self.crypto_data.sealed_s(), model.schema))
        return runner

    def _make_calibrator(self, baseline: Fitted) -> Calibrator:
        """With what an earlier run learned, else what the stored history teaches. A recording learns only from itself, so that it plays the same each time."""
        folder = None if self._road.end_us is not None else self._model_dir.parent
        calibrator = Calibrator(self.crypto_data, baseline.model, folder)
        if calibrator.fresh:
            calibrator.warm(baseline.lately(calibrator.horizons_s))
        return calibrator

    def _make_models(self, runner: ModelRunner, baseline: VolatilityBaseline) -> ModelSide:
        rings = Rings(self._road.symbols, BASE_STEPS_S, self.crypto_data.history_s)
        swap = HotSwap(
            runner, self.crypto_data, self._registry, self._world, rings, baseline, self._baseline_at, self.crypto_data.sealed_s,
            self._threads, None if self.calibrator is None else self.calibrator.use,
        )  # fmt: skip
        shadows = Shadows(self._registry, self._world, self.crypto_data, rings, self._threads)
        return ModelSide(self._settings.model, swap, shadows, runner, self.crypto_data)

    def _baseline_at(self, symbols: tuple[str, ...], base_step_s: int) -> VolatilityBaseline:
        return fit_stored(self.store, self._road, None, symbols, base_step_s).model

    def _longest_s(self) -> int:
        """How far back what is deployed now looks; a registry that cannot be read says so later."""
        try:
            deployed = self._registry.deployed(self._world)
            return max((read_card(one.folder).schema.history_s for one in deployed), default=0)
        except DataError as error:
            log.warning("registry.unreadable", error=str(error))
            return 0

    def _nothing_live(self) -> None:
        """Until the feed says that it is whole, a second without trades is one that nobody watched: time alone seals none."""
        for symbol in self._road.symbols:
            self.crypto_data.set_whole(symbol, False)

    def _store_live(self, symbol: str, batch: TradeBatch) -> None:
        self.store.append(_VENUE, symbol, batch)
