"""From a price in the nexus to every engine of the coin decided (15 of 60 markets), against the bare probabilities.

Three moments: in the middle of a 5m window, inside its last minute (part of the settlement average is known), and with no books (nothing to
decide). The yardstick is what cannot be saved: 15 skewed-t probabilities in one compiled call, and the nexus with a callback that does nothing.
"""

from __future__ import annotations

import numpy as np

from benchmarks.results import Row
from benchmarks.sixty_markets import wandering_prices, world
from benchmarks.timing import Call, latencies_us, scaled
from crypy.distributions.kernels import skew_t_cdf_many

CALLS = 5_000
ENGINES = 15


def bare_probabilities() -> Call:
    """The yardstick: one compiled call."""
    out, shape = np.empty(ENGINES), np.ones(ENGINES)
    x = np.linspace(-0.01, 0.01, ENGINES)
    return lambda _: skew_t_cdf_many(x, 0.01 * shape, -0.02 * shape, 5.0 * shape, out)


class PriceChanges:
    """`update_price` of BTC in a world of its own; when it returns, every engine of the coin has decided."""

    def __init__(self, seconds_in: float, books: bool) -> None:
        clock, self._nexus, self._manager = world(seconds_in, books)
        self._prices, self._now_us = wandering_prices(), clock.now_us()
        self._before = self._manager.counters.decisions
        self._changes = 0

    def __call__(self, _: int) -> None:
        self._changes += 1
        self._nexus.update_price("BTC", next(self._prices), self._now_us)

    def expect_all_decided(self) -> None:
        """Raises `AssertionError` where an engine was left out."""
        decided = self._manager.counters.decisions - self._before
        assert decided == ENGINES * self._changes, f"{decided} decisions of {self._changes} changes"


def empty_callback() -> Call:
    """The nexus alone."""
    clock, nexus, _ = world(120.0)
    nexus.on_change = lambda *_: None
    prices, now_us = wandering_prices(), clock.now_us()
    return lambda _: nexus.update_price("BTC", next(prices), now_us)


def measure(effort: float) -> list[Row]:
    moments = {
        "middle of the window": PriceChanges(120.0, True),
        "inside the settlement average": PriceChanges(270.0, True),
        "no books": PriceChanges(120.0, False),
    }
    bare, empty = f"{ENGINES} probabilities in one kernel", "nexus alone"
    found = latencies_us({bare: bare_probabilities(), empty: empty_callback(), **moments}, scaled(CALLS, effort, 100))
    rows: list[Row] = []
    for name, changes in moments.items():
        changes.expect_all_decided()
        what, took, floor = f"price to {ENGINES} decisions, {name}", found[name], found[bare]
        rows.append(Row(what=f"{what}, median", ours=took.p50, unit="us", peer=bare, theirs=floor.p50, budget=100.0))
        rows.append(Row(what=f"{what}, p99", ours=took.p99, unit="us", peer=bare, theirs=floor.p99, budget=1_000.0))
    rows.append(Row(what="the same, callback that does nothing, median", ours=found[empty].p50, unit="us"))
    return rows
