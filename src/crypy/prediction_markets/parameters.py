"""The knobs of a market engine: when it may act, how much it trusts itself, how much it may lose.

Defaults are cautious: half the weight goes to the book, and an edge must be two cents after all costs.
"""

from __future__ import annotations

import msgspec

from crypy.domain.errors import ConfigError


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """Probabilities, edges and prices are in collateral per share (0 to 1); money in collateral; times in seconds.

    Trust:
    `book_weight` is the share of the book's mid in the probability acted on, the rest is the model's.
    `probability_floor` keeps the model's own answer away from 0 and 1: with 30 s left, 132 answers above 95 % were wrong 8 times
    where 1.7 were expected (one day of BTC 5m). `probability_error` is taken off every edge. So are
    `delay_aversion` times the standard deviation that the probability has over the order's delay (the market's own plus `latency_s`),
    and `basis_aversion` times the one that it has because we do not see the settlement source: those who do would take the other side.
    With less than `min_history_s` of history behind a forecast nothing is done: its scale is then mostly the prior's.

    Size: the bankroll is cash plus what is at risk. `kelly_fraction` of the Kelly stake on it, at most the share `market_bankroll` of it at risk in one
    market and `total_bankroll` in all, at most `depth_share` of what is displayed at acceptable prices.

    Raises `ConfigError` naming the first value out of its range.
    """

    max_price_age_s: float = 10.0
    max_forecast_age_s: float = 5.0
    max_book_age_s: float = 30.0
    min_time_left_s: float = 2.0
    enter_before_start_s: float = 0.0
    cooldown_s: float = 5.0
    max_spread: float = 0.10
    book_weight: float = 0.5
    probability_floor: float = 0.02
    probability_error: float = 0.01
    delay_aversion: float = 1.0
    latency_s: float = 0.1
    basis_aversion: float = 0.5
    min_history_s: float = 900.0
    min_edge: float = 0.02
    exit_edge: float = 0.02
    kelly_fraction: float = 0.25
    market_bankroll: float = 0.05
    total_bankroll: float = 0.5
    depth_share: float = 0.5

    def __post_init__(self) -> None:
        for name in _SHARES:
            _demand(name, getattr(self, name), 0.0, 1.0)
        for name in _AMOUNTS:
            _demand(name, getattr(self, name), 0.0, float("inf"))
        _demand("probability_floor", self.probability_floor, 0.0, 0.5)


_SHARES = (
    "book_weight", "kelly_fraction", "market_bankroll", "total_bankroll", "depth_share", "max_spread", "probability_error",
    "min_edge", "exit_edge",
)  # fmt: skip
_AMOUNTS = (
    "max_price_age_s", "max_forecast_age_s", "max_book_age_s", "min_time_left_s", "enter_before_start_s", "cooldown_s",
    "delay_aversion", "latency_s", "basis_aversion", "min_history_s",
)  # fmt: skip


def _demand(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"engine.{name} = {value}: must be between {least:g} and {most:g}")
