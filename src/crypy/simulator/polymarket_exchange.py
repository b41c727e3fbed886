"""The simulated Polymarket itself, without servers: markets that are listed, quoted, traded, and pay.

`step(now_us)` brings everything up to the clock: new windows are listed a window ahead, strikes become known, ended markets are
withdrawn and later resolved by their rule from the world's prices. `quote` lets the makers and takers of one market act. What
happens is told to `on_event` at once. Nothing here waits or knows of sockets.

In a world that begins inside a window (a recording) nobody knows that window's true strike: the first price seen is taken, and shown
as the price to beat. A market whose end the world does not reach never pays.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Literal

from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.times import US_PER_S
from crypy.domain.windows import Window, next_window, previous_window, window_at
from crypy.simulator.market import PriceWorld
from crypy.simulator.polymarket_book import LevelChange, Taken, UpBook
from crypy.simulator.polymarket_fair import SimOutcome, chance_of_up, outcome_of, statistic_at
from crypy.simulator.polymarket_listing import Listing, listing_of, past_window
from crypy.simulator.polymarket_maker import COARSE, FINE, MakerRules, believed, ladders, wants_fine_grid

# A taker comes to a running market about so often, to the next window's far less.
_TRADES_PER_S: Final = 0.15
_IDLE_TRADES_PER_S: Final = 0.01


@dataclass(slots=True)
class SimMarket:
    """One market as it stands. `strike` and `final` are the exchange's knowledge; the public sees them later."""

    listing: Listing
    seed: int
    book: UpBook = field(default_factory=UpBook)
    tick: int = COARSE
    strike: float | None = None
    final: float | None = None
    outcome: SimOutcome | None = None
    quoted_us: int = 0
    updated_us: int = 0

    @property
    def is_closed(self) -> bool:
        return self.outcome is not None

    def shown_strike(self, now_us: int) -> float | None:
        """The price to beat as far as it has been published."""
        return self.strike if now_us >= self.listing.strike_shown_us else None


EventKind = Literal["listed", "levels", "trade", "book", "tick", "resolved"]


@dataclass(frozen=True, slots=True)
class SimEvent:
    """Something that happened to a market's book or life. `changes` belong to `levels` and `trade`, `taken` to `trade`."""

    kind: EventKind
    market: SimMarket
    time_us: int
    changes: tuple[LevelChange, ...] = ()
    taken: Taken | None = None


class PolymarketExchange:
    """All markets of `coins` x `durations` in one world. Deterministic in seed, world and the moments at which it is stepped and quoted."""

    def __init__(
        self,
        world: PriceWorld,
        seed: int,
        coins: Iterable[str],
        durations: Iterable[Duration] = DURATIONS,
        rules: MakerRules | None = None,
        on_event: Callable[[SimEvent], None] | None = None,
    ) -> None:
        self.on_event = on_event
        self._world = world
        self._seed = seed
        self._coins = tuple(coins)
        self._durations: tuple[Duration, ...] = tuple(durations)
        self._rules = rules or MakerRules()
        self._takers = random.Random(seed)
        self._markets: dict[str, SimMarket] = {}
        self._by_token: dict[str, SimMarket] = {}
        self._by_condition: dict[str, SimMarket] = {}
        self._roll_us = 0

    # ---- what is asked

    def markets(self) -> Iterator[SimMarket]:
        """Every market in the exchange's memory."""
        return iter(self._markets.values())

    def by_slug(self, slug: str, now_us: int) -> SimMarket | None:
        """The market of that name; one that ended long ago is worked out again from the world's history."""
        return self._markets.get(slug) or self._past(slug, now_us)

    def by_token(self, token: str) -> SimMarket | None:
        return self._by_token.get(token)

    def by_condition(self, condition_id: str) -> SimMarket | None:
        return self._by_condition.get(condition_id.lower())

    # ---- what happens

    def step(self, now_us: int) -> None:
        """List, withdraw and resolve whatever is due."""
        self._advance(now_us)
        if now_us >= self._roll_us:
            self._roll(now_us)
            self._advance(now_us)

    def quote(self, market: SimMarket, now_us: int) -> None:
        """Let makers and takers of a market act; nothing happens in one that has ended or has no price."""
        window, rules = market.listing.window, self._rules
        if now_us >= window.end_us or market.is_closed:
            return
        seen_us = now_us - round(rules.lag_s * US_PER_S)
        chance = chance_of_up(self._world, market.listing, market.strike, seen_us)
        if chance is None:
            return
        probability = believed(chance, market.seed, now_us, rules.error)
        if market.tick == COARSE and wants_fine_grid(probability):
            market.tick = FINE
            self._tell("tick", market, now_us)
        is_running = now_us >= window.start_us
        half_spread = rules.half_spread if is_running else rules.idle_half_spread
        changes = market.book.show(*ladders(probability, half_spread, market.tick, market.seed, now_us))
        if changes:
            self._tell("levels", market, now_us, changes)
        self._let_trade(market, chance, now_us, _TRADES_PER_S if is_running else _IDLE_TRADES_PER_S)
        market.quoted_us = now_us

    def _let_trade(self, market: SimMarket, chance: float, now_us: int, rate: float) -> None:
        since_s = min((now_us - market.quoted_us) / US_PER_S, 60.0) if market.quoted_us else 0.0
        if self._takers.random() >= 1.0 - math.exp(-rate * since_s):
            return
        # Takers know a little: they come more often on the side that the makers' error makes cheap.
        middle = (market.book.best_bid + market.book.best_ask) / 2_000
        lean = 0.5 + 2.0 * max(-0.2, min(0.2, chance - middle))
        side = "BUY" if self._takers.random() < lean else "SELL"
        size = 500 + round(self._takers.expovariate(1 / 2_500))
        taken = market.book.take(side, size, levels=2)
        if taken is not None:
            self._tell("trade", market, now_us, taken.changes, taken)
            self._tell("book", market, now_us)

    def _advance(self, now_us: int) -> None:
        for market in list(self._markets.values()):
            if market.is_closed:
                continue
            if market.strike is None:
                market.strike = self._strike(market.listing, now_us)
            if now_us >= market.listing.window.end_us:
                self._withdraw(market, now_us)
            if now_us >= market.listing.resolved_us:
                self._resolve(market, now_us)

    def _roll(self, now_us: int) -> None:
        """List the windows around now; forget those before, except what has not paid."""
        wanted: set[str] = set()
        ends: list[int] = []
        for coin, duration in product(self._coins, self._durations):
            running = window_at(duration, now_us)
            ends.append(running.end_us)
            for window in (previous_window(running), running, next_window(running)):
                wanted.add(self._list(coin, window, now_us))
        for slug, market in list(self._markets.items()):
            if slug not in wanted and (market.is_closed or not self._may_still_pay(market, now_us)):
                self._forget(market)
        self._roll_us = min(ends, default=now_us)

    def _list(self, coin: str, window: Window, now_us: int) -> str:
        listing = listing_of(self._seed, coin, window)
        known = self._markets.get(listing.slug)
        # New York's repeated hour names two windows alike; the second is listed when the first has paid.
        if known is not None and (known.listing.window == window or not known.is_closed):
            return listing.slug
        market = self._settled(listing, now_us) if now_us >= window.end_us else self._opened(listing)
        if market is not None:
            self._markets[listing.slug] = market
            self._by_token |= {listing.up_token: market, listing.down_token: market}
            self._by_condition[listing.condition_id] = market
            self._tell("listed", market, now_us)
        return listing.slug

    def _opened(self, listing: Listing) -> SimMarket:
        return SimMarket(listing, int(listing.up_token) & ((1 << 60) - 1))

    def _settled(self, listing: Listing, now_us: int) -> SimMarket | None:
        """A market that ended before it was looked at: open until its resolution is due; `None` where the world does not know its start."""
        strike = statistic_at(self._world, listing, listing.window.start_s)
        if strike is None:
            return None
        market = self._opened(listing)
        market.strike = strike
        if now_us >= listing.resolved_us:
            market.final = statistic_at(self._world, listing, listing.window.end_s)
            market.outcome = None if market.final is None else outcome_of(listing, strike, market.final)
        return market

    def _past(self, slug: str, now_us: int) -> SimMarket | None:
        for coin, duration in product(self._coins, self._durations):
            window = past_window(slug, coin, duration, now_us)
            if window is not None:
                return self._settled(listing_of(self._seed, coin, window), now_us)
        return None

    def _strike(self, listing: Listing, now_us: int) -> float | None:
        if now_us < (listing.window.start_s + listing.lag_s) * US_PER_S:
            return None
        return statistic_at(self._world, listing, listing.window.start_s) or self._world.mid(listing.coin, now_us)

    def _withdraw(self, market: SimMarket, now_us: int) -> None:
        changes = market.book.show({}, {})
        if changes:
            self._tell("levels", market, now_us, changes)

    def _resolve(self, market: SimMarket, now_us: int) -> None:
        listing = market.listing
        final = statistic_at(self._world, listing, listing.window.end_s)
        if final is None or market.strike is None:
            return
        market.final = final
        market.outcome = outcome_of(listing, market.strike, final)
        self._tell("resolved", market, now_us)

    def _may_still_pay(self, market: SimMarket, now_us: int) -> bool:
        return now_us < market.listing.resolved_us + 3_600 * US_PER_S

    def _forget(self, market: SimMarket) -> None:
        listing = market.listing
        del self._markets[listing.slug]
        self._by_condition.pop(listing.condition_id, None)
        for token in (listing.up_token, listing.down_token):
            self._by_token.pop(token, None)

    def _tell(
        self,
        kind: EventKind,
        market: SimMarket,
        now_us: int,
        changes: tuple[LevelChange, ...] = (),
        taken: Taken | None = None,
    ) -> None:
        market.updated_us = now_us
        if self.on_event is not None:
            self.on_event(SimEvent(kind, market, now_us, changes, taken))
