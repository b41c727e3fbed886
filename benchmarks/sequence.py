"""Feature sequences from rings a week long, against NumPy doing the same sums on the same bars in the same run.

Layouts of four symbols: returns and volume at 1, 32 and 1024 seconds x 256 (the budget of 100 us is for this one), what the volatility
baseline asks for (five minutes of 10 s and a week of 300 s realised variances), and all channels. The yardstick has its running sums
ready too and takes differences of them; it is allowed floats, and so cannot promise equal bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Row
from benchmarks.timing import latencies_us, scaled
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import CHANNELS, Block, FeatureSchema
from crypy.marketdata.sequence import QUOTE_SCALE, feature_sequence, sequence_from_rings
from crypy.models.memory import Memory

Floats = NDArray[np.float64]

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
END_S = 1_767_225_600
SECONDS = 608_400
STEPS = (1, 32, 1024)
SHORT_SECONDS = 300_000
CALLS = 500
BUDGET_US = 100.0
LAYOUTS = {
    "returns and volume, 3 steps x 256": tuple(Block(step, 256, ("returns", "volume")) for step in STEPS),
    "the baseline's own layout": Memory.of(1).schema(SYMBOLS).blocks,
    "all six channels, 3 steps x 256": tuple(Block(step, 256, CHANNELS) for step in STEPS),
}


def walk(symbol: str, seed: int, seconds: int) -> Bars:
    """Seconds of which two in five have no trades."""
    random = np.random.default_rng(seed)
    traded = random.random(seconds) < 0.6
    close = 100.0 * np.exp(np.cumsum(random.normal(scale=1e-5, size=seconds) * traded))
    volume = np.round(random.exponential(size=seconds), 5) * traded
    bought = np.round(volume * random.random(seconds), 8)
    return Bars(
        symbol, END_S - seconds, 1, close, close * 1.00001, close * 0.99999, close,
        volume, volume * close, random.integers(1, 50, seconds) * traded, bought,
    )  # fmt: skip


class Yardstick:
    """The same layouts in plain NumPy: one running sum a channel, differences by fancy indexing."""

    def __init__(self, bars: Bars) -> None:
        self._log_close = np.log(bars.close)
        self._quotes = np.cumsum(bars.quote_volume)
        self._squares = np.cumsum(np.diff(self._log_close, prepend=self._log_close[0]) ** 2)
        self._count = np.cumsum(bars.count)
        self._volume = np.cumsum(bars.volume)
        self._bought = np.cumsum(bars.taker_buy_volume)
        self._high, self._low = bars.high, bars.low

    def block(self, end: int, block: Block) -> Floats:
        ends = end - 1 - np.arange(block.length - 1, -1, -1) * block.step_s
        starts = ends - block.step_s
        columns: list[Floats] = []
        for channel in block.channels:
            if channel == "returns":
                columns.append(self._log_close[ends] - self._log_close[starts])
            elif channel == "volume":
                columns.append(np.log1p((self._quotes[ends] - self._quotes[starts]) / QUOTE_SCALE))
            elif channel == "realised_variance":
                columns.append(self._squares[ends] - self._squares[starts])
            elif channel == "range":
                rows = slice(starts[0] + 1, ends[-1] + 1)
                high = self._high[rows].reshape(block.length, block.step_s).max(axis=1)
                low = self._low[rows].reshape(block.length, block.step_s).min(axis=1)
                columns.append(np.log(high / low))
            elif channel == "trade_count":
                columns.append((self._count[ends] - self._count[starts]).astype(np.float64))
            else:
                volume = self._volume[ends] - self._volume[starts]
                bought = self._bought[ends] - self._bought[starts]
                columns.append(np.where(volume > 0, (2 * bought - volume) / np.maximum(volume, 1e-300), 0.0))
        return np.stack(columns, axis=1)


def measure(effort: float) -> list[Row]:
    """Median and 99th percentile of each layout; first the answers are compared: with NumPy's, and bit for bit with the offline form."""
    seconds = SECONDS if effort > 0.05 else SHORT_SECONDS
    bars = {symbol: walk(symbol, seed, seconds) for seed, symbol in enumerate(SYMBOLS)}
    rings = {symbol: Ring(symbol, seconds) for symbol in SYMBOLS}
    for symbol, ring in rings.items():
        ring.write(bars[symbol])
    yardsticks = {symbol: Yardstick(bars[symbol]) for symbol in SYMBOLS}
    rows: list[Row] = []
    for name, blocks in LAYOUTS.items():
        if max(block.step_s * block.length for block in blocks) >= seconds - 1_000:
            continue
        schema = FeatureSchema(SYMBOLS, 1, blocks)
        _agree(rings, bars, yardsticks, schema)

        def theirs(k: int, blocks: tuple[Block, ...] = blocks) -> object:
            return [[yardsticks[symbol].block(seconds - k % 500, block) for block in blocks] for symbol in SYMBOLS]

        def ours(k: int, schema: FeatureSchema = schema) -> object:
            return sequence_from_rings(rings, END_S - k % 500, schema)

        calls = scaled(CALLS, effort, 50)
        found = latencies_us({"ring": ours, "numpy": theirs}, calls)
        ring, numpy = found["ring"], found["numpy"]
        budget = BUDGET_US if not rows else None
        peer = "NumPy, without clocks and masks"
        rows += [
            Row(what=f"{name}, median", ours=ring.p50, unit="us", peer=peer, theirs=numpy.p50, budget=budget),
            Row(what=f"{name}, p99", ours=ring.p99, unit="us", peer=peer, theirs=numpy.p99),
        ]
    return rows


def _agree(
    rings: dict[str, Ring], bars: dict[str, Bars], yardsticks: dict[str, Yardstick], schema: FeatureSchema
) -> None:
    ours, offline = sequence_from_rings(rings, END_S, schema), feature_sequence(bars, END_S, schema)
    for index, block in enumerate(schema.blocks):
        theirs = np.stack([yardsticks[symbol].block(len(bars[symbol]), block) for symbol in SYMBOLS])
        np.testing.assert_allclose(ours.values[index], theirs, rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(ours.values[index], offline.values[index])
