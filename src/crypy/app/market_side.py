"""The prediction markets of one process: discovery, books, engines, and the paper account's desk, wired together.

This is wiring: what is decided, refused, booked or matched is decided, refused, booked and matched elsewhere.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Iterator, Mapping
from decimal import Decimal
from itertools import count
from typing import Any

import numpy as np
import structlog
from msgspec.structs import replace

from crypy.app.road import Road
from crypy.app.trading_settings import TradingSettings
from crypy.app.world import World
from crypy.domain.errors import CrypyError, StateError
from crypy.domain.events import Trigger
from crypy.domain.instruments import ONE, ZERO
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import Fill, OrderRequest, OrderState
from crypy.domain.ports import Transport
from crypy.domain.reports import Account
from crypy.domain.settlement import Outcome
from crypy.execution.desk import Desk
from crypy.execution.limits import Refused
from crypy.execution.stamp import Stamp, StampIssuer
from crypy.ledger.ledger import Ledger
from crypy.ledger.values import Listing, market_listings
from crypy.marketdata.book import Book
from crypy.marketdata.feed_lag import FeedLag
from crypy.nexus.nexus import Nexus
from crypy.prediction_markets.manager import MarketManager
from crypy.prediction_markets.references import References
from crypy.runtime.agent import AgentContext
from crypy.simulator.models.latency import FixedLatency
from crypy.simulator.paper import PaperExchange
from crypy.simulator.paper_rules import Terms, market_terms
from crypy.venues.polymarket.clob import ClobClient
from crypy.venues.polymarket.discovery import MarketDiscovery
from crypy.venues.polymarket.events import MarketTrade
from crypy.venues.polymarket.feed import POLYMARKET_PATIENCE, MarketCallbacks, MarketFeed
from crypy.venues.polymarket.lookup import Pace
from crypy.venues.polymarket.metadata import COLLATERAL

log = structlog.get_logger()

# An entry's stamp outlives the order by far; what it allows is this very order and no more.
_STAMP_LIFE_S = 3_600.0
# How long a payout waits that could not be booked.
_SETTLE_AGAIN_S = 5.0
# How long the desk, told to stop, waits for what is on its way to the venue or back (wall seconds).
_FINISH_S = 2.0


class MarketSide:
    """Everything between the nexus and the paper venue. `close` writes what is under way and closes the databases."""

    def __init__(self, settings: TradingSettings, road: Road, world: World, transport: Transport) -> None:
        clock, account = road.clock, settings.paper.account
        self.account = account
        self.errors = 0
        self.lag = FeedLag()
        self._clock = clock
        self._world = world
        self._markets: dict[str, PredictionMarket] = {}
        self._listings: dict[str, Listing] = {}
        self._terms: dict[str, Terms] = {}
        self._tokens: dict[str, str] = {}
        self._symbols: dict[str, str] = {}
        self._followed: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._deciding: AgentContext | None = None
        # Markets that have paid and whose payout is not booked yet, by condition id.
        self._owed: dict[str, tuple[PredictionMarket, Outcome]] = {}
        self._settling: set[str] = set()
        key = secrets.token_bytes(32)
        self._stamps = StampIssuer(account, key, clock)

        clob = ClobClient(transport, road.clob_url)
        self.feed = MarketFeed(
            transport,
            clock,
            road.market_ws_url,
            MarketCallbacks(self._on_book, self._on_trade, self._on_resolved, self._on_tick_size),
            clob=clob,
            patience=POLYMARKET_PATIENCE.times(road.speed),
            random=np.random.default_rng(),
        )
        self.discovery = MarketDiscovery(
            transport,
            clock,
            road.gamma_url,
            road.coins,
            settings.data.durations,
            on_markets=self._on_markets,
            clob=clob,
            simulated=road.simulated,
            pace=Pace().times(road.speed),
        )
        self.nexus = Nexus(road.coins, clock, self._on_change, settings.data.durations)
        self.ledger = Ledger.open(world.ledger_url, clock, "paper")
        self.paper = PaperExchange(
            world.paper_url,
            clock,
            self._book_of,
            self._terms.get,
            {COLLATERAL: settings.paper.cash},
            FixedLatency(round(settings.paper.latency_ms * 1_000 * road.speed)),
            on_fill=self._on_paper_fill,
        )
        self.desk = Desk(
            account=account,
            ledger=self.ledger,
            port=self.paper,
            limits=settings.limits,
            clock=clock,
            listing_of=self._listings.get,
            mid_of=self._mid_of,
            stamp_key=key,
            redeemer=self.paper,
            reconcile_every_s=60.0 * road.speed,
        )
        self.ledger.listen(account, self._on_ledger)
        self.manager = MarketManager(
            self.nexus,
            clock,
            account=account,
            # Orders and quotes travel in wall time: in a faster market they are later by as much. Else a book that is seconds old could be picked.
            parameters=replace(settings.engine, latency_s=settings.engine.latency_s * road.speed),
            references=References(),
            cash=self._cash,
            next_id=_client_ids(clock.now_us()).__next__,
            submit=self._submit,
            cancel=self._cancel,
            settle=self._settle,
            heard_us=self.feed.heard_us,
        )
        # Books and prices come before the desk has reconciled; nobody decides on them until the engines are started.
        self.manager.paused = True

    async def run_discovery(self, context: AgentContext) -> None:
        """Find the markets and keep them up to date; those that are held from an earlier run are followed too."""
        positions = [position for position in self.ledger.positions(self.account).values() if position.quantity]
        live = {_slug(state.request.symbol) for state in self.ledger.open_orders(self.account)}
        self.discovery.watch(live | {_slug(position.symbol) for position in positions})
        if self._tasks is None:
            # Before the first market is found: one that has paid is followed only while something of it is held.
            self.manager.restore(positions)
        await self.discovery.refresh()
        context.ready()
        await self.discovery.run()

    async def run_feed(self, context: AgentContext) -> None:
        """Keep the books."""
        context.ready()
        await self.feed.run()

    async def run_desk(self, context: AgentContext) -> None:
        """Reconcile, then carry orders to the venue and their answers back."""
        await self.desk.start()
        try:
            async with asyncio.TaskGroup() as group:
                self._tasks = group
                self._settling.clear()
                for condition_id in self._owed:
                    self._settle_soon(condition_id)
                # Only now: what has been paid meanwhile is settled at once. What is owed has been settled by its engine already.
                owed = {market.slug for market, _ in self._owed.values()}
                positions = self.ledger.positions(self.account).items()
                self.manager.restore(
                    [position for symbol, position in positions if _slug(symbol) not in owed],
                    self.ledger.open_orders(self.account),
                )
                context.ready()
                try:
                    await self.desk.run()
                finally:
                    # Nothing new; what the venue may have done already is booked before the ledger closes.
                    self._tasks = None
                    if self._work:
                        await asyncio.wait(self._work, timeout=_FINISH_S)
        finally:
            self._tasks = None

    async def run_engines(self, context: AgentContext) -> None:
        """Let all engines decide once a second as well, for what changes with time alone; pausing stops all decisions."""
        self._deciding = context
        context.ready()
        try:
            async for _ in context.every(1.0):
                self._on_change(None, "clock")
        finally:
            self._deciding = None
            self.manager.paused = True

    def market(self, slug: str) -> PredictionMarket | None:
        """A market that is followed now."""
        return self._markets.get(slug)

    def account_now(self) -> Account:
        """The paper account at a glance, holdings at the book's mid."""
        view = self.ledger.view(self.account)
        cash = view.balances.get(COLLATERAL, ZERO)
        profit = view.profits.get(COLLATERAL)
        equity = self.ledger.equity(self.account, COLLATERAL, self._mid_of)
        return Account(
            name=self.account,
            mode="paper",
            cash=float(cash),
            positions_value=float(equity - cash),
            realised=float(profit.realised) if profit else 0.0,
            fees=float(profit.fees) if profit else 0.0,
        )

    def close(self) -> None:
        """Close paper venue and ledger; what was begun is finished."""
        self.paper.close()
        self.ledger.close()

    # What comes from the venue, straight from its sockets

    def _on_markets(self, markets: Mapping[str, PredictionMarket]) -> None:
        self._markets = dict(markets)
        for market in markets.values():
            for listed, terms in zip(market_listings(market), market_terms(market), strict=True):
                self._listings[listed.symbol] = listed
                self._terms[listed.symbol] = terms
                self._tokens[listed.symbol] = terms.instrument.base
                self._symbols[terms.instrument.base] = listed.symbol
        self.manager.on_markets(markets)
        self._forget_the_rest()
        wanted = set(self.manager.tokens)
        self.feed.unsubscribe(self._followed - wanted)
        self.feed.subscribe(wanted - self._followed)
        self._followed = wanted

    def _forget_the_rest(self) -> None:
        """Let go of markets that are neither listed any more nor held, or memory would grow with every window."""
        kept = {market.slug for market in self._markets.values()}
        kept |= {_slug(state.request.symbol) for state in self.ledger.open_orders(self.account)}
        kept |= {_slug(s) for s, position in self.ledger.positions(self.account).items() if position.quantity}
        for symbol in [symbol for symbol in self._listings if _slug(symbol) not in kept]:
            del self._listings[symbol], self._terms[symbol]
            self._symbols.pop(self._tokens.pop(symbol), None)

    def _on_book(self, token: str, book: Book) -> None:
        self._look_whether_paused()
        self.manager.on_book(token, book)

    def _on_trade(self, trade: MarketTrade) -> None:
        self.lag.update("polymarket.trades", trade.time_us, trade.received_us)
        symbol = self._symbols.get(trade.token_id)
        if symbol is not None:
            self.paper.on_trade(symbol, trade.side, trade.price, trade.quantity, trade.time_us)

    def _on_resolved(self, condition_id: str, outcome: Outcome | None, time_us: int) -> None:
        self.manager.on_resolved(condition_id, outcome, time_us)

    def _on_tick_size(self, token: str, tick: Decimal) -> None:
        self.discovery.update_tick_size(token, tick)

    def _on_change(self, coin: str | None, trigger: Trigger) -> None:
        self._look_whether_paused()
        self.manager.eval_actions(coin, trigger)

    def _look_whether_paused(self) -> None:
        """Each change makes engines decide, not only the second's tick: whoever pauses them means all of it."""
        self.manager.paused = self._deciding is None or self._deciding.paused

    # What the manager asks of the desk

    def _submit(self, request: OrderRequest) -> None:
        if not self._soon(self._send(request, self._stamp(request))):
            self._refuse(request, "the desk is not running")

    def _soon(self, work: Coroutine[Any, Any, None]) -> bool:
        """Have the desk's tasks do this; false where the desk is not running, or is just coming down."""
        try:
            if self._tasks is not None:
                task = self._tasks.create_task(work)
                self._work.add(task)
                task.add_done_callback(self._work.discard)
                return True
        except RuntimeError as error:  # the group takes nothing new while it ends
            log.debug("desk.ending", error=str(error))
        work.close()
        return False

    async def _send(self, request: OrderRequest, stamp: Stamp | None) -> None:
        try:
            answer = await self.desk.submit(request, stamp)
        except CrypyError as error:
            self.errors += 1
            log.error("order.failed", client_id=request.client_id, symbol=request.symbol, error=str(error))
            self._refuse(request, str(error))
            return
        if isinstance(answer, Refused):
            log.info("order.refused", symbol=request.symbol, limit=answer.limit, reason=answer.reason)
            self._refuse(request, answer.reason)

    def _refuse(self, request: OrderRequest, reason: str) -> None:
        state = OrderState(request=request, status="rejected", reason=reason, updated_us=self._clock.now_us())
        self.manager.on_order_state(state)

    def _stamp(self, request: OrderRequest) -> Stamp | None:
        """The manager is the holder of its collateral: it stamps its own entries, each for its own amount."""
        if request.side != "buy" or request.price is None:
            return None
        return self._stamps.issue(
            request.strategy,
            request.symbol,
            request.side,
            request.strategy,
            request.price * request.quantity,
            _STAMP_LIFE_S,
        )

    def _cancel(self, client_id: str) -> None:
        self._soon(self._cancel_one(client_id))

    async def _cancel_one(self, client_id: str) -> None:
        try:
            await self.desk.cancel(client_id)
        except CrypyError as error:
            self.errors += 1
            log.warning("order.cancel_failed", client_id=client_id, error=str(error))

    def _settle(self, market: PredictionMarket, outcome: Outcome) -> None:
        """Owed until it is booked, whatever happens in between: the desk may be down, the venue silent, the disk full."""
        self._owed[market.condition_id] = market, outcome
        self._settle_soon(market.condition_id)

    def _settle_soon(self, condition_id: str) -> None:
        if condition_id not in self._settling and self._soon(self._settle_one(condition_id)):
            self._settling.add(condition_id)

    async def _settle_one(self, condition_id: str) -> None:
        market, outcome = self._owed[condition_id]
        try:
            while True:
                try:
                    paid = await self.desk.settle(market, outcome)
                    break
                except CrypyError as error:
                    self.errors += 1
                    log.error("market.settle_failed", slug=market.slug, outcome=outcome, error=str(error))
                    if isinstance(error, StateError):
                        return  # asking again would give the same answer: a person must look; the next run asks once more
                await self._clock.sleep(_SETTLE_AGAIN_S)
        finally:
            self._settling.discard(condition_id)
        self._owed.pop(condition_id, None)
        log.info("market.settled", slug=market.slug, outcome=outcome, paid=str(paid.paid))

    # What the ledger and the paper venue tell and ask

    def _on_ledger(self, state: OrderState, fills: tuple[Fill, ...]) -> None:
        for fill in fills:
            # Followed until it has paid, however long that takes.
            self.discovery.watch((_slug(fill.symbol),))
            self.manager.on_fill(fill)
        self.manager.on_order_state(state)

    def _on_paper_fill(self) -> None:
        self.desk.nudge()

    def _cash(self) -> Decimal:
        return self.ledger.balances(self.account).get(COLLATERAL, ZERO)

    def _book_of(self, symbol: str) -> Book | None:
        token = self._tokens.get(symbol)
        return None if token is None else self.feed.book(token)

    def _mid_of(self, symbol: str) -> Decimal | None:
        book = self._book_of(symbol)
        if book is None or not book.valid:
            return None
        bid, ask = book.best_bid, book.best_ask
        # A side that nobody quotes is as good as certain: nought below, one above.
        return ((bid[0] if bid else ZERO) + (ask[0] if ask else ONE)) / 2 if bid or ask else None


def _slug(symbol: str) -> str:
    """The market of an outcome token's symbol."""
    return symbol.rsplit(":", 1)[0]


def _client_ids(started_us: int) -> Iterator[str]:
    """Ids that no other run has given: the clock never runs backwards between runs of one world."""
    return (f"pm-{started_us:x}-{number}" for number in count(1))
