"""When a market's metadata are worth asking for again. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from crypy.domain.markets import PredictionMarket
from crypy.domain.times import DAY_S, US_PER_S
from crypy.venues.polymarket.messages import ClobMarket
from crypy.venues.polymarket.slugs import MarketName

_NEVER_S: Final = 1e9


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Waits in seconds of the clock.

    `missing_s`: the first wait for a market that is not listed, doubled each time up to `slow_s`. `changing_s`: for a running market without price to beat, and for
    one that has ended and has not paid. `steady_s`: for one where only a surprise would change something. `least_s` and `most_s` bound
    the wait between rounds; errors wait `first_backoff_s`, doubled each time, up to `last_backoff_s`. After `give_up_s` a market that has not paid is forgotten.
    """

    missing_s: float = 5.0
    changing_s: float = 10.0
    steady_s: float = 60.0
    slow_s: float = 300.0
    least_s: float = 1.0
    most_s: float = 15.0
    first_backoff_s: float = 1.0
    last_backoff_s: float = 60.0
    give_up_s: float = float(DAY_S)

    def times(self, speed: float) -> Pace:
        """The same waits on the wall for a clock that runs `speed` times as fast; how long a market is waited for is the clock's."""
        waits = {name: value * speed for name, value in msgspec.structs.asdict(self).items() if name != "give_up_s"}
        return Pace(**waits, give_up_s=self.give_up_s)

    def backoff_s(self, failures: int) -> float:
        """The wait after that many failures in a row (1 or more)."""
        return min(self.first_backoff_s * 2.0 ** min(failures - 1, 30), self.last_backoff_s)


class Lookup:
    """One followed market: its name, when to ask again, and what was asked once for good.

    `watched` markets are kept until they have paid, others until `is_over`.
    """

    __slots__ = ("_in_vain", "_pace", "due_us", "name", "parameters", "seen_open", "slug", "watched")

    def __init__(self, slug: str, name: MarketName, pace: Pace) -> None:
        self.slug = slug
        self.name = name
        self.due_us = 0
        self.watched = False
        self.seen_open = False
        self.parameters: ClobMarket | None = None
        self._pace = pace
        self._in_vain = 0

    def asked(self, market: PredictionMarket | None, now_us: int) -> None:
        """Set when to ask again, from what is known of the market after asking."""
        window = self.name.window
        waits_for_venue = market is None or now_us >= window.end_us
        self._in_vain = self._in_vain + 1 if waits_for_venue else 0
        due_us = now_us + round(self._wait_s(market, now_us) * US_PER_S)
        # A window's start and end are when something new is to be seen.
        for edge_us in (window.start_us, window.end_us):
            if now_us < edge_us < due_us:
                due_us = edge_us
        self.due_us = due_us

    def is_over(self, market: PredictionMarket | None, now_us: int) -> bool:
        """Whether to let go of a market that is not among the wanted any more: it has paid, or never will."""
        ended_us = now_us - self.name.window.end_us
        has_paid = market is not None and market.outcome is not None
        if self.watched and not has_paid:
            return False
        return ended_us >= (0 if has_paid else round(self._pace.give_up_s * US_PER_S))

    def _wait_s(self, market: PredictionMarket | None, now_us: int) -> float:
        pace = self._pace
        if market is None:
            return min(pace.missing_s * 2.0 ** min(self._in_vain - 1, 30), pace.slow_s)
        if market.outcome is not None:
            return _NEVER_S if market.final_price is not None else pace.slow_s
        if now_us >= self.name.window.end_us:
            return min(pace.changing_s * 2.0 ** (min(self._in_vain, 240) // 12), pace.slow_s)
        # Until the order book has told its part, the market can't be judged whole.
        incomplete = not market.accepting_orders or (
            now_us >= self.name.window.start_us and market.price_to_beat is None
        )
        return pace.changing_s if incomplete else pace.steady_s
