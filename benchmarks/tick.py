"""A whole inference as it happens every second: sequence of a week, 4 coins x 20 horizons and 40 windows, nexus, 60 engines.

`ModelRunner.tick` on full rings of a week, with the nexus and its engines behind it; beside it the parts. The yardstick is the prediction kernel alone,
called with everything ready.
"""

from __future__ import annotations

import numpy as np

from benchmarks.results import Row
from benchmarks.sequence import END_S, SECONDS, SYMBOLS, walk
from benchmarks.sixty_markets import COINS, fill, manager_of, show_books, wandering_prices
from benchmarks.timing import latencies_us, scaled
from crypy.domain.times import US_PER_S
from crypy.forecasting.horizons import GRID_S
from crypy.forecasting.runner import ModelRunner
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import sequence_from_rings
from crypy.models.volatility import VolatilityBaseline
from crypy.nexus.nexus import Nexus
from crypy.testing.clock import ManualClock

CALLS = 300
SHORT_SECONDS = 20_000
SPAN_S = 150


class Rings:
    """A `SequenceSource` over rings that are full."""

    def __init__(self, bars: dict[str, Bars]) -> None:
        self.rings = {symbol: Ring(symbol, len(one)) for symbol, one in bars.items()}
        for symbol, one in bars.items():
            self.rings[symbol].write(one)

    def feature_sequence(self, end_s: int, schema: FeatureSchema) -> FeatureSequence:
        return sequence_from_rings(self.rings, end_s, schema)


class World:
    """Nexus, sixty engines and the runner before them, in the middle of a 5m window; second by second until it is nearly over."""

    def __init__(self, source: Rings, model: VolatilityBaseline) -> None:
        self._source, self._model = source, model
        self._prices = wandering_prices()
        self.first_s = (END_S - 600) // 300 * 300 + 60

    def a_second_later(self, k: int) -> None:
        """Fresh prices and books; at the window's end, everything anew."""
        if k % SPAN_S == 0:
            self._begin()
        self._clock._now_us = (self.first_s + k % SPAN_S) * US_PER_S
        for coin in COINS:
            self._nexus.update_price(coin, next(self._prices), self._clock.now_us())
        show_books(self._manager, self._markets, self._clock.now_us())
        self._decided = self._manager.counters.decisions

    def tick(self, k: int) -> None:
        """What happens every second."""
        self._runner.tick(self.first_s + k % SPAN_S)
        assert self._manager.counters.decisions - self._decided == 60

    def _begin(self) -> None:
        self._clock = ManualClock((self.first_s - 101) * US_PER_S)
        self._nexus = Nexus(COINS, self._clock, lambda *_: None)
        self._manager = manager_of(self._nexus, self._clock)
        self._markets = fill(self._clock, self._nexus, self._manager, self.first_s - 1)
        coins = dict(zip(COINS, SYMBOLS, strict=True))
        self._runner = ModelRunner(self._source, self._model, (self._nexus,), self._clock, coins)


def measure(effort: float) -> list[Row]:
    seconds = SECONDS if effort > 0.05 else SHORT_SECONDS
    bars = {symbol: walk(symbol, seed, seconds) for seed, symbol in enumerate(SYMBOLS)}
    source, model = Rings(bars), VolatilityBaseline.prior(SYMBOLS)
    world = World(source, model)
    calls, rounds = scaled(CALLS, effort, 20), 3
    horizons = np.array(GRID_S, np.float64)
    sequence = source.feature_sequence(world.first_s, model.schema)
    ways = {
        "whole": world.tick,
        "kernel": lambda _: model.predict(sequence, horizons),
        "sequence": lambda k: source.feature_sequence(world.first_s + k % SPAN_S, model.schema),
    }
    found = latencies_us(ways, calls, rounds, before={"whole": world.a_second_later})
    whole, kernel = found["whole"], found["kernel"]
    peer = "prediction alone, 20 horizons"
    return [
        Row(what="tick to 60 decisions, median", ours=whole.p50, unit="us", peer=peer, theirs=kernel.p50, budget=5_000.0),
        Row(what="tick to 60 decisions, p99", ours=whole.p99, unit="us", peer=peer, theirs=kernel.p99, budget=50_000.0),
        Row(what="of it the sequence, median", ours=found["sequence"].p50, unit="us"),
    ]  # fmt: skip
