"""The market manager: which markets there are, whose engines decide when, and what becomes of their plans.

`eval_actions` is the nexus' `on_change`: a change of a price, a distribution or a reference runs the coin's engines in the same call, without a
queue and without waiting; a change of a book runs that market's engine. A plan becomes an order request that is handed on at once; the rest of its way
(limits, ledger, wire) is the desk's, whose callbacks bring its end back here. Each market has at most one order on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import structlog
from msgspec.structs import replace

from crypy.distributions.kernels import skew_t_cdf
from crypy.domain.errors import DataError
from crypy.domain.events import Trigger
from crypy.domain.instruments import ZERO
from crypy.domain.markets import PredictionMarket
from crypy.domain.orders import Fill, OrderRequest, OrderState, Position
from crypy.domain.ports import Clock
from crypy.domain.reports import Counters, MarketRow
from crypy.domain.settlement import Outcome
from crypy.domain.times import US_PER_S
from crypy.marketdata.book import Book
from crypy.nexus.nexus import Nexus
from crypy.prediction_markets.averages import RunningAverage
from crypy.prediction_markets.market_engine import CoinNow, MarketEngine
from crypy.prediction_markets.parameters import Parameters
from crypy.prediction_markets.plans import Buy, Cancel, Plan, Sell, Token
from crypy.prediction_markets.references import References
from crypy.prediction_markets.reporting import market_row

log = structlog.get_logger()

Submit = Callable[[OrderRequest], None]
CancelOrder = Callable[[str], None]
Settle = Callable[[PredictionMarket, Outcome], None]

# The longest average that any rule takes, and some room for clocks that differ.
_AVERAGE_KEEP_S = 600
_DAY_S = 86_400


class MarketManager:
    """Engines of all markets of the nexus' coins.

    `cash` gives the account's balance as booked; what orders on their way may cost is taken off here. `next_id` gives a client id that has
    never been used. `submit` and `cancel` take an order on its way and return at once; `settle` is told once of each market that paid while
    something of it was held. `heard_us` of a token id tells when its stream last lived, for books that are quiet and true.
    """

    def __init__(
        self,
        nexus: Nexus,
        clock: Clock,
        *,
        account: str,
        parameters: Parameters,
        references: References,
        cash: Callable[[], Decimal],
        next_id: Callable[[], str],
        submit: Submit,
        cancel: CancelOrder,
        settle: Settle,
        heard_us: Callable[[str], int] | None = None,
    ) -> None:
        self.parameters = parameters
        self.references = references
        self.paused = False
        self._nexus = nexus
        self._clock = clock
        self._account = account
        self._cash = cash
        self._next_id = next_id
        self._submit = submit
        self._cancel = cancel
        self._settle = settle
        self._heard_us = heard_us
        self._engines: dict[str, MarketEngine] = {}
        self._by_coin: dict[str, list[MarketEngine]] = {coin: [] for coin in nexus.coins}
        self._by_token: dict[str, tuple[MarketEngine, Token]] = {}
        self._by_symbol: dict[str, MarketEngine] = {}
        self._averages = {coin: RunningAverage(_AVERAGE_KEEP_S) for coin in nexus.coins}
        self._history: dict[str, tuple[int, float]] = {}
        self._restored: dict[str, Position] = {}
        self._at_risk = 0.0
        self._reserved = ZERO
        # Loads the compiled distribution function now, so that no price ever waits for it.
        skew_t_cdf(0.0, 1.0, 0.0, 5.0)
        self._counts = {"decisions": 0, "orders": 0, "refused": 0, "fills": 0, "settled": 0, "errors": 0}

    def use(self, parameters: Parameters) -> None:
        """Decide by these parameters from now on, in all markets."""
        self.parameters = parameters
        for engine in self._engines.values():
            engine.use(parameters)

    # What is known of the markets

    def on_markets(self, markets: Mapping[str, PredictionMarket]) -> None:
        """All markets as the venue describes them now. One that is no longer there goes once nothing of it is held."""
        now_us = self._clock.now_us()
        for market in markets.values():
            if market.coin in self._by_coin:
                self._learn_safely(market, now_us)
        wanted = {market.condition_id for market in markets.values()}
        for condition_id, engine in list(self._engines.items()):
            if condition_id not in wanted and not engine.holds and engine.order is None:
                del self._engines[condition_id]
        self._index()
        self.references.prune(now_us // US_PER_S - 2 * _DAY_S)
        for coin in self._by_coin:
            self._refresh_references(coin)

    def on_book(self, token_id: str, book: Book) -> None:
        """A token's book has changed: decide in its market, straight away."""
        found = self._by_token.get(token_id)
        if found is None:
            return
        engine, token = found
        engine.on_book(token, book)
        if not self.paused and engine.outcome is None:
            self._run((engine,), self._coin_now(engine.market.coin, self._clock.now_us()))

    def on_close(self, coin: str, time_s: int, close: float) -> None:
        """The coin's second `[time_s, time_s + 1)` is sealed."""
        self.references.on_close(coin, time_s, close)
        self._refresh_references(coin)

    def on_resolved(self, condition_id: str, outcome: Outcome | None, time_us: int = 0) -> None:  # noqa: ARG002  the feed's callback
        """The venue has paid a market. Ignored before the window's end, and without an outcome: the metadata will tell."""
        engine = self._engines.get(condition_id)
        if engine is None or outcome is None or self._clock.now_us() < engine.market.window.end_us:
            return
        if engine.settle(outcome):
            self._counts["settled"] += 1
            self._refresh_risk()
            self._settle(engine.market, outcome)

    # Deciding

    def eval_actions(self, coin: str | None, trigger: Trigger) -> int:
        """Let the coin's engines decide (all coins' for `None`), as the specification's `pm_manager_eval_actions`; how many did.

        A straight call: when it returns, every order that was decided has been handed on.
        """
        now_us = self._clock.now_us()
        decided = 0
        for one in self._by_coin if coin is None else (coin,):
            now = self._coin_now(one, now_us)
            if trigger == "price" and now.price is not None:
                self._averages[one].update(now.price_time_us, now.price)
            if not self.paused:
                decided += self._run(self._by_coin[one], now)
        return decided

    def report(self) -> tuple[MarketRow, ...]:
        """One row per market, in the order of coins, durations and windows. Changes nothing."""
        now_us, cash = self._clock.now_us(), self._cash() - self._reserved
        rows: list[MarketRow] = []
        for coin, engines in self._by_coin.items():
            now = self._coin_now(coin, now_us)
            for engine in engines:
                view = engine.view(now, cash, self._at_risk)
                rows.append(market_row(engine, view, self._nexus.view(coin, engine.market.window.duration)))
        return tuple(rows)

    # What the desk tells

    def on_order_state(self, state: OrderState) -> None:
        """An order is now like this; those of others are ignored."""
        engine = self._by_symbol.get(state.request.symbol)
        if engine is not None:
            self._counts["refused"] += state.status == "rejected"
            engine.on_order_state(state)
            self._refresh_risk()

    def on_fill(self, fill: Fill) -> None:
        """Part of an order was done."""
        engine = self._by_symbol.get(fill.symbol)
        if engine is None:
            return
        self._counts["fills"] += 1
        engine.on_fill(fill)
        self._refresh_risk()
        if engine.outcome is not None:
            # Matched at the last moment and told after the market had paid.
            self.on_resolved(engine.market.condition_id, engine.outcome)

    def restore(self, positions: Iterable[Position], live: Iterable[OrderState] | None = None) -> None:
        """All that the account holds, at the start or after reconciling; replaces what was believed.

        Markets that are not found yet take theirs when they are; one that has paid already is settled now. `live` is every order that is
        not over: one that an engine waits for and that is not among them was lost on its way to the desk, and is waited for no more.
        """
        if live is not None:
            living = {state.request.client_id for state in live}
            for engine in self._engines.values():
                engine.forget_orders(living)
        held = {position.symbol: position for position in positions}
        for symbol, engine in self._by_symbol.items():
            token = engine.token_of(symbol)
            nothing = replace(engine.positions[token], quantity=ZERO, cost=ZERO)
            engine.restore(token, held.pop(symbol, nothing))
        self._restored = held
        self._refresh_risk()
        for engine in tuple(self._engines.values()):
            if engine.outcome is not None and engine.holds:
                self.on_resolved(engine.market.condition_id, engine.outcome)

    @property
    def positions(self) -> dict[str, Position]:
        """Everything held, by symbol."""
        held = (position for engine in self._engines.values() for position in engine.positions.values())
        return {position.symbol: position for position in held if position.quantity}

    @property
    def tokens(self) -> tuple[str, ...]:
        """Token ids whose books are wanted: of all markets that have not paid."""
        return tuple(self._by_token)

    @property
    def counters(self) -> Counters:
        return Counters(markets=len(self._engines), **self._counts)

    def engine(self, condition_id: str) -> MarketEngine | None:
        """The engine of a market, `None` if it is not followed."""
        return self._engines.get(condition_id)

    # Inside

    def _run(self, engines: Iterable[MarketEngine], now: CoinNow) -> int:
        cash, decided = self._cash() - self._reserved, 0
        for engine in engines:
            if engine.outcome is not None or engine.fault:
                continue
            decided += 1
            try:
                plan = engine.eval_action(now, cash, self._at_risk)
            except Exception as error:  # whatever is wrong with one market: the feed and the other markets go on
                self._stop(engine, error)
                continue
            if isinstance(plan, (Buy, Sell, Cancel)):
                self._carry_out(engine, plan, now.now_us)
                cash = self._cash() - self._reserved
        self._counts["decisions"] += decided
        return decided

    def _carry_out(self, engine: MarketEngine, plan: Plan, now_us: int) -> None:
        match plan:
            case Buy() | Sell():
                # Reserved before it is handed on: whoever takes it may answer, or make us decide again, within the call.
                request = engine.send(self._next_id(), plan, now_us)
                self._counts["orders"] += 1
                self._refresh_risk()
                self._submit(request)
            case Cancel():
                for client_id in plan.client_ids:
                    self._cancel(client_id)
            case _:
                pass

    def _coin_now(self, coin: str, now_us: int) -> CoinNow:
        price, dist_end_us = self._nexus.price(coin), self._nexus.dist_end_us or 0
        history = self._history.get(coin)
        if history is None or history[0] != dist_end_us:
            history = self._history[coin] = (dist_end_us, self._nexus.history_s(coin))
        return CoinNow(
            now_us,
            None if price is None else price.value,
            0 if price is None else price.time_us,
            self._nexus.curve(coin),
            dist_end_us,
            history[1],
        )

    def _stop(self, engine: MarketEngine, error: Exception) -> None:
        """Stop one market's engine for good and keep the evidence."""
        engine.fault = f"stopped by an error: {type(error).__name__}: {error}"
        self._counts["errors"] += 1
        log.error("engine.stopped", slug=engine.market.slug, exc_info=error)

    def _learn_safely(self, market: PredictionMarket, now_us: int) -> None:
        """What is wrong with one market's metadata costs no other market its own."""
        try:
            self._learn(market, now_us)
        except DataError as error:
            self._counts["errors"] += 1
            log.error("market.not_understood", slug=market.slug, error=str(error))

    def _learn(self, market: PredictionMarket, now_us: int) -> None:
        engine = self._engines.get(market.condition_id)
        if engine is None:
            engine = self._start(market)
        engine.update_market(market)
        rule = market.settlement
        if rule is not None and market.price_to_beat is not None:
            self.references.on_price_to_beat(market.coin, rule, market.window, market.price_to_beat)
        if now_us < market.window.end_us:
            return
        if rule is not None and market.final_price is not None:
            self.references.on_final_price(market.coin, rule, market.window, market.final_price)
        if market.outcome is not None and engine.outcome is None:
            self.on_resolved(market.condition_id, market.outcome)

    def _start(self, market: PredictionMarket) -> MarketEngine:
        """A new market's engine (the specification's `pm_engine_start`)."""
        ahead_sd = 0.0 if market.settlement is None else self.references.ahead_sd(market.settlement)
        engine = MarketEngine(
            market, self.parameters, self._account, self._averages[market.coin], ahead_sd, self._heard_us
        )
        self._engines[market.condition_id] = engine
        for symbol in (market.up.symbol, market.down.symbol):
            position = self._restored.pop(symbol, None)
            if position is not None:
                engine.restore(engine.token_of(symbol), position)
        return engine

    def _index(self) -> None:
        """Order the engines for evaluation and find them by token and symbol."""
        for engines in self._by_coin.values():
            engines.clear()
        self._by_token, self._by_symbol = {}, {}
        for engine in sorted(self._engines.values(), key=_place):
            market = engine.market
            self._by_coin[market.coin].append(engine)
            self._by_symbol[market.up.symbol] = self._by_symbol[market.down.symbol] = engine
            if engine.outcome is None:
                self._by_token[market.up.base] = (engine, "up")
                self._by_token[market.down.base] = (engine, "down")
        self._refresh_risk()

    def _refresh_references(self, coin: str) -> None:
        """Give the running windows the best reference there is now; the nexus is told of each that is new."""
        now_us = self._clock.now_us()
        for engine in tuple(self._by_coin[coin]):
            market = engine.market
            if market.settlement is None or now_us < market.window.start_us or engine.outcome is not None:
                continue
            known, best = engine.reference, self.references.reference(coin, market.settlement, market.window, now_us)
            engine.reference = best
            if best is None or (known is not None and (known.price, known.source) == (best.price, best.source)):
                continue
            if market.window.contains(now_us):
                self._nexus.update_reference(coin, market.window.duration, market.window, best.price, best.source)

    def _refresh_risk(self) -> None:
        engines = self._engines.values()
        self._at_risk = float(sum((engine.at_risk for engine in engines), ZERO))
        self._reserved = sum((engine.order.reserved for engine in engines if engine.order is not None), ZERO)


def _place(engine: MarketEngine) -> tuple[int, int, str]:
    window = engine.market.window
    return window.end_s - window.start_s, window.start_s, engine.market.slug
