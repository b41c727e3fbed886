"""Random training windows from memory-mapped second bars, against NumPy and Polars over the same history in memory, and against memory itself.

Four symbols, returns and volume at 1, 32 and 1024 seconds x 256, at ends drawn at random from the whole span. NumPy has running sums ready and
takes differences of them by fancy indexing, a window at a time; Polars groups the raw bars of a window by step. Both give floats that
are near, ours gives the live sequence's bits. The floor is what the machine takes to fetch the cache lines of a window from as many places, one
value of each, compiled, without computing anything: it moves with the memory, not with the program.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.results import Row, Spread
from benchmarks.sequence import END_S, SYMBOLS, walk
from benchmarks.timing import loops_s, scaled
from crypy.marketdata.audit_marks import AuditMarks, Mark
from crypy.marketdata.bars import Bars
from crypy.marketdata.mapped_bars import MappedBars, mapped_folder, open_mapped_bars, update_mapped_bars
from crypy.marketdata.schema import Block, FeatureSchema
from crypy.marketdata.sequence import QUOTE_SCALE, bars_needed, feature_sequence
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_days import day_of
from crypy.marketdata.trade_facts import FileFacts, Run, fingerprint
from crypy.marketdata.training_windows import training_windows

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

STEPS = (1, 32, 1024)
DAY_S = 86_400
DAYS = 60
LEAST_DAYS = 5
BATCH = 256
POLARS_BATCH = 4
ROUNDS = 7
SCHEMA = FeatureSchema(SYMBOLS, 1, tuple(Block(step, 256, ("returns", "volume")) for step in STEPS))


class WalkStore(TradeStore):
    """A store that says it holds bars of a random walk: what is measured begins where bars end."""

    def __init__(self, root: Path, bars: Bars) -> None:
        super().__init__(root)
        self._walk = bars
        self._told = {
            day_of(start_s * 1_000_000): _facts_of(number, start_s * 1_000_000)
            for number, start_s in enumerate(range(bars.start_s, bars.end_s, DAY_S))
        }
        marks = {
            day: Mark(fingerprint=fingerprint(facts), files="1", rows=1, first_single=0, last_single=0, audited_us=0)
            for day, facts in self._told.items()
        }
        AuditMarks(self, "binance", bars.symbol).add(marks, {})

    def days(self, venue: str, symbol: str) -> dict[str, FileFacts]:  # noqa: ARG002  there is one
        return self._told

    def day_versions(self, venue: str, symbol: str) -> dict[str, str]:  # noqa: ARG002
        return dict.fromkeys(self._told, "1")

    def bars(self, venue: str, symbol: str, start_s: int, end_s: int) -> Bars:  # noqa: ARG002
        bars, rows = self._walk, slice(start_s - self._walk.start_s, end_s - self._walk.start_s)
        return Bars(
            symbol, start_s, 1, bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows],
            bars.volume[rows], bars.quote_volume[rows], bars.count[rows], bars.taker_buy_volume[rows],
        )  # fmt: skip


def _facts_of(number: int, start_us: int) -> FileFacts:
    """Of a day whose one trade is its last moment."""
    end_us = start_us + DAY_S * 1_000_000
    return FileFacts(1, start_us, end_us, (Run(number, number, start_us, end_us),), (), f"{number:032x}")


class Running:
    """NumPy's running sums of one symbol: logarithm of the close, and quote volume."""

    def __init__(self, bars: Bars) -> None:
        self.log_close: Floats = np.log(bars.close)
        self.quotes: Floats = np.cumsum(bars.quote_volume)

    def window(self, end: int) -> list[Floats]:
        blocks: list[Floats] = []
        for step in STEPS:
            ends = end - 1 - np.arange(256, -1, -1) * step
            quotes = np.log1p(np.diff(self.quotes[ends]) / QUOTE_SCALE)
            blocks.append(np.stack([np.diff(self.log_close[ends]), quotes], axis=1))
        return blocks


def polars_window(frame: pl.DataFrame, end: int) -> list[pl.DataFrame]:
    """The same from a frame of log returns and quote volumes by second, each block a group by."""
    return [
        frame.slice(end - 256 * step, 256 * step)
        .group_by(pl.int_range(pl.len()) // step, maintain_order=True)
        .agg(pl.col("returns").sum(), (pl.col("quotes").sum() / QUOTE_SCALE).log1p())
        for step in STEPS
    ]


@numba.njit(nogil=True)
def fetch(columns: Floats, ends: Ints, steps: Ints) -> float:
    """Touch what one symbol's windows touch: two columns at 257 places of each step."""
    total = 0.0
    for i in range(len(ends)):
        for step in steps:
            for k in range(257):
                row = ends[i] - 1 - k * step
                total += columns[row, 1] + columns[row, 4]
    return total


def measure(effort: float) -> list[Row]:
    """Sequences of all four symbols a second, each way; before that some of them are compared, ours bit for bit with the offline form."""
    days = scaled(DAYS, effort, LEAST_DAYS)
    seconds = days * DAY_S
    with tempfile.TemporaryDirectory() as folder:
        mapped: dict[str, MappedBars] = {}
        running: dict[str, Running] = {}
        frames: dict[str, pl.DataFrame] = {}
        built = verified = 0.0
        for seed, symbol in enumerate(SYMBOLS):
            bars = walk(symbol, seed, seconds)
            store = WalkStore(Path(folder), bars)
            began = time.perf_counter()
            update_mapped_bars(store, symbol, verify=False)
            built += time.perf_counter() - began
            began = time.perf_counter()
            mapped[symbol] = open_mapped_bars(mapped_folder(store, "binance", symbol))
            verified += time.perf_counter() - began
            running[symbol] = Running(bars)
            returns = np.diff(running[symbol].log_close, prepend=running[symbol].log_close[0])
            frames[symbol] = pl.DataFrame({"returns": returns, "quotes": bars.quote_volume})
            if not seed:
                _agree(bars, mapped[symbol], running[symbol], frames[symbol])
        return _rows(mapped, running, frames, seconds, built, verified)


def _rows(
    mapped: dict[str, MappedBars],
    running: dict[str, Running],
    frames: dict[str, pl.DataFrame],
    seconds: int,
    built: float,
    verified: float,
) -> list[Row]:
    random = np.random.default_rng(11)
    start_s, need = END_S - seconds, bars_needed(SCHEMA, 1)
    threads = min(4, os.cpu_count() or 1)

    def ends(count: int) -> Ints:
        return random.integers(need, seconds + 1, count)

    found = loops_s(
        {
            "one": lambda: training_windows(mapped, SCHEMA, start_s + ends(BATCH)),
            "threads": lambda: training_windows(mapped, SCHEMA, start_s + ends(BATCH), threads=threads),
            "numpy": lambda: [[running[symbol].window(end) for symbol in SYMBOLS] for end in ends(BATCH).tolist()],
            "polars": lambda: [
                [polars_window(frames[symbol], end) for symbol in SYMBOLS] for end in ends(POLARS_BATCH).tolist()
            ],
            "floor": lambda: [fetch(mapped[symbol].columns.rows, ends(BATCH), np.array(STEPS)) for symbol in SYMBOLS],
        },
        ROUNDS,
    )
    rate = {name: spread.per(POLARS_BATCH if name == "polars" else BATCH) for name, spread in found.items()}
    unit = "sequences/s"
    size = sum(len(bars) * 72 for bars in mapped.values())
    return [
        Row(what="one thread", ours=rate["one"], unit=unit, more_is_better=True, peer="NumPy, sums ready, one thread", theirs=rate["numpy"]),
        Row(what="one thread", ours=rate["one"], unit=unit, more_is_better=True, peer="Polars group_by, its threads", theirs=rate["polars"]),
        Row(what=f"{threads} threads", ours=rate["threads"], unit=unit, more_is_better=True, peer="NumPy, sums ready, one thread", theirs=rate["numpy"]),
        Row(what="one thread", ours=rate["one"], unit=unit, more_is_better=True, peer="floor: the same cells fetched", theirs=rate["floor"]),
        Row(what="made from bars", ours=Spread.of([len(SYMBOLS) * seconds / built]), unit="seconds of bars/s", more_is_better=True),
        Row(what="opened, every row checked", ours=Spread.of([size / verified / 1e9]), unit="GB/s", more_is_better=True),
    ]  # fmt: skip


def _agree(bars: Bars, mapped: MappedBars, running: Running, frame: pl.DataFrame) -> None:
    schema = FeatureSchema((bars.symbol,), 1, SCHEMA.blocks)
    for end in (len(bars), len(bars) - 77_777):
        ours = training_windows({bars.symbol: mapped}, schema, [bars.start_s + end])[0]
        offline = feature_sequence({bars.symbol: bars}, bars.start_s + end, schema)
        for block, (one, theirs, grouped) in enumerate(
            zip(ours.values, running.window(end), polars_window(frame, end), strict=True)
        ):
            np.testing.assert_array_equal(one, offline.values[block])
            np.testing.assert_allclose(one[0], theirs, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(
                one[0], grouped.drop("literal", strict=False).to_numpy()[:, -2:], rtol=1e-5, atol=1e-7
            )
