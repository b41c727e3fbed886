"""Finding the Up/Down markets: the window before, the one that runs, and the next, of each coin and duration.

Markets are looked up by name, many names to a request. What is known for good is never asked again; what may change is
asked when it is due: a market not listed yet, a price to beat not published yet, an ended market that has not paid yet.
A market stays followed after its window until it has paid, and so do those handed to `watch` (positions from before a restart).

Each change gives a new snapshot of all markets to `on_markets`; a snapshot is never changed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import product
from types import MappingProxyType
from typing import Final

import msgspec

from crypy.domain.durations import DURATIONS, Duration
from crypy.domain.errors import ConfigError, Rejected, Unavailable, Unreadable, VenueError
from crypy.domain.markets import PredictionMarket
from crypy.domain.ports import Clock, Transport
from crypy.domain.times import US_PER_S
from crypy.domain.windows import next_window, previous_window, window_at
from crypy.venues.polymarket.clob import ClobClient, read_answer
from crypy.venues.polymarket.lookup import Lookup, Pace
from crypy.venues.polymarket.messages import GammaEvent
from crypy.venues.polymarket.metadata import prediction_market, with_clob_parameters, with_tick_size
from crypy.venues.polymarket.slugs import MarketName, parse_slug, slug_of

Markets = Mapping[str, PredictionMarket]

# Names in one request: with `limit=100` Gamma gives them all, and the URL stays under 2 kB.
BATCH: Final = 25


class MarketDiscovery:
    """The markets of `coins` x `durations` at the Gamma service, kept up to date by `run`.

    `clob`, where given, is asked for what Gamma does not tell (the taker's delay) and to compare fees; a market whose book it
    can't describe yet takes no orders. `problem` says in one sentence what does not work now, empty when all is well.
    Nothing that the venue does ends `run`: it waits and asks again.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        gamma_url: str,
        coins: Iterable[str],
        durations: Iterable[Duration] = DURATIONS,
        *,
        on_markets: Callable[[Markets], None],
        clob: ClobClient | None = None,
        simulated: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self.problem = ""
        self.requests = 0
        self._transport = transport
        self._clock = clock
        self._gamma_url = gamma_url.rstrip("/")
        self._coins = tuple(coins)
        self._durations: tuple[Duration, ...] = tuple(durations)
        self._on_markets = on_markets
        self._clob = clob
        self._clob_answers = True
        self._simulated = simulated
        self._pace = pace or Pace()
        self._lookups: dict[str, Lookup] = {}
        self._markets: dict[str, PredictionMarket] = {}
        self._changed = False
        self._failures = 0

    @property
    def markets(self) -> Markets:
        """The markets by slug as they are known now."""
        return MappingProxyType(dict(self._markets))

    def watch(self, slugs: Iterable[str]) -> None:
        """Follow further markets until they have paid, whatever their age. Raises `ConfigError` for what names no Up/Down market."""
        for slug in slugs:
            named = parse_slug(slug)
            if named is None:
                raise ConfigError(f"{slug!r} names no Up/Down market")
            self._follow(slug, named)
            self._lookups[slug].watched = True

    def update_tick_size(self, token_id: str, tick_size: Decimal) -> None:
        """Put the token's market on another price grid at once, and tell. Without effect for an unknown token."""
        for slug, market in self._markets.items():
            if token_id in (market.up.base, market.down.base) and market.up.tick_size != tick_size:
                self._markets[slug] = with_tick_size(market, tick_size)
                self._on_markets(self.markets)
                return

    async def run(self) -> None:
        """Keep the markets up to date until cancelled."""
        while True:
            await self._clock.sleep(await self.refresh())

    async def refresh(self) -> float:
        """Ask for what is due now and tell what changed; seconds until something is due again."""
        now_us = self._clock.now_us()
        self._roll(now_us)
        self._clob_answers = True
        problem = self.problem = ""
        try:
            await self._ask([lookup for lookup in self._lookups.values() if lookup.due_us <= now_us])
            self._failures = 0
            wait_s = self._wait_s()
        except VenueError as error:
            problem, wait_s = str(error), self._backoff_s(error)
        self.problem = problem or self.problem
        if self._changed:
            self._changed = False
            self._on_markets(self.markets)
        return wait_s

    def _roll(self, now_us: int) -> None:
        """Follow the windows around now, and let go of what has ended for good."""
        wanted: set[str] = set()
        for coin, duration in product(self._coins, self._durations):
            running = window_at(duration, now_us)
            for window in (previous_window(running), running, next_window(running)):
                slug = slug_of(coin, window)
                wanted.add(slug)
                self._follow(slug, MarketName(coin, window))
        for slug, lookup in list(self._lookups.items()):
            if slug not in wanted and lookup.is_over(self._markets.get(slug), now_us):
                del self._lookups[slug]
                self._changed |= self._markets.pop(slug, None) is not None

    def _follow(self, slug: str, named: MarketName) -> None:
        known = self._lookups.get(slug)
        if known is None:
            self._lookups[slug] = Lookup(slug, named, self._pace)
        elif known.name.window < named.window and self._has_paid(slug):
            # New York's repeated hour: two windows of one name, the later one is wanted once the earlier has paid.
            self._lookups[slug] = Lookup(slug, named, self._pace)
            del self._markets[slug]

    def _has_paid(self, slug: str) -> bool:
        market = self._markets.get(slug)
        return market is not None and market.outcome is not None

    async def _ask(self, due: Sequence[Lookup]) -> None:
        for lookup in due:
            lookup.seen_open = False
        # Gamma shows closed markets only to those who ask for them, and then no others.
        for closed in (False, True):
            wanted = [lookup for lookup in due if not closed or self._may_be_closed(lookup)]
            for batch in _batches(wanted):
                await self._take(batch, await self._events(batch, closed))
        now_us = self._clock.now_us()
        for lookup in due:
            lookup.asked(self._markets.get(lookup.slug), now_us)

    def _may_be_closed(self, lookup: Lookup) -> bool:
        return lookup.name.window.end_us <= self._clock.now_us() and not lookup.seen_open

    async def _events(self, batch: Sequence[Lookup], closed: bool) -> list[msgspec.Raw]:
        names = (f"slug={lookup.slug}" for lookup in batch)
        query = "&".join(["limit=100", f"closed={'true' if closed else 'false'}", *names])
        url = f"{self._gamma_url}/events?{query}"
        self.requests += 1
        return read_answer(await self._transport.request("GET", url), url, list[msgspec.Raw])

    async def _take(self, batch: Sequence[Lookup], events: list[msgspec.Raw]) -> None:
        """Take in what was found. A market that cannot be read costs no other its update."""
        wanted = {lookup.slug: lookup for lookup in batch}
        for raw in events:
            try:
                market = self._read(raw, wanted)
                if market is None:
                    continue
                wanted[market.slug].seen_open = market.outcome is None
                market = await self._with_parameters(market, wanted[market.slug])
            except Unreadable as error:
                self.problem = str(error)
                continue
            if self._markets.get(market.slug) != market:
                self._markets[market.slug] = market
                self._changed = True

    def _read(self, raw: msgspec.Raw, wanted: Mapping[str, Lookup]) -> PredictionMarket | None:
        try:
            event = msgspec.json.decode(raw, type=GammaEvent)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable(f"{self._gamma_url}: {error} in {bytes(raw)[:120]!r}") from None
        found = next((market for market in event.markets if market.slug in wanted), None)
        if found is None:
            return None
        link = f"{self._gamma_url}/events/slug/{found.slug}" if self._simulated else None
        market = prediction_market(event, found, simulated=self._simulated, link=link)
        return market if market.window == wanted[market.slug].name.window else None

    async def _with_parameters(self, market: PredictionMarket, lookup: Lookup) -> PredictionMarket:
        if self._clob is None or market.outcome is not None:
            return market
        if lookup.parameters is None and self._clob_answers:
            try:
                told = await self._clob.market(market.condition_id)
                # "Not yet" is asked again, everything else stays as it was told.
                lookup.parameters = None if told.ao is False else told
            except Rejected as error:
                self.problem = str(error)
            except Unavailable as error:
                # One wait in vain is enough for a round.
                self.problem, self._clob_answers = str(error), False
        if lookup.parameters is None:
            return msgspec.structs.replace(market, accepting_orders=False)
        return with_clob_parameters(market, lookup.parameters)

    def _backoff_s(self, error: VenueError) -> float:
        self._failures += 1
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
        return max(self._pace.backoff_s(self._failures), asked_s or 0.0)

    def _wait_s(self) -> float:
        next_us = min((lookup.due_us for lookup in self._lookups.values()), default=0)
        wait_s = (next_us - self._clock.now_us()) / US_PER_S
        return min(max(wait_s, self._pace.least_s), self._pace.most_s)


def _batches(lookups: Sequence[Lookup]) -> Iterator[Sequence[Lookup]]:
    for start in range(0, len(lookups), BATCH):
        yield lookups[start : start + BATCH]
