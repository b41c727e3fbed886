"""Feature sequences at many ends at once, from memory-mapped bars or rings of bars: what a density model is trained on.

Each is equal bit for bit to `feature_sequence` at that end, and to what the live model is served: the same kernel reads the
mapped columns. The work releases the interpreter lock. Which ends to ask for (horizons, purged ranges, weights) is
the caller's: `whole_ends` tells where nothing is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete, SchemaMismatch
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.clocks import new_york_offsets, week_circle
from crypy.marketdata.mapped_bars import MappedBars
from crypy.marketdata.mapped_file import holes_before
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import CLOCKS, FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import bars_needed, fill_clocks, fill_windows, window_plan, window_sizes
from crypy.runtime.kernels import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrainingWindows:
    """Sequences of one schema at `ends_s` [n]: `FeatureSequence` with the ends as first axis.

    Per block b: `values[b]` [n, symbol, length, channel], `known[b]` [n, symbol, length], `clocks[b]` [n, length, 4]; `close` [n, symbol].
    """

    ends_s: Ints
    schema: FeatureSchema
    values: tuple[Floats, ...]
    known: tuple[Bools, ...]
    clocks: tuple[Floats, ...]
    close: Floats

    def __len__(self) -> int:
        return len(self.ends_s)

    def __getitem__(self, index: int) -> FeatureSequence:
        """The sequence at one of the ends."""
        return FeatureSequence(
            int(self.ends_s[index]),
            self.schema,
            tuple(block[index] for block in self.values),
            tuple(block[index] for block in self.known),
            tuple(block[index] for block in self.clocks),
            self.close[index],
        )


def training_windows(
    mapped: Mapping[str, MappedBars], schema: FeatureSchema, ends_s: Sequence[int] | Ints, *, threads: int = 1
) -> TrainingWindows:
    """The sequences that end at `ends_s` (seconds, any order, repeats allowed).

    Raises `ConfigError` for a symbol that is not there, `SchemaMismatch` for a base step the files lack, and `Incomplete` naming
    the first end at which something is missing, unless the schema allows that; an end behind the last bar is always an error.
    """
    ends = np.ascontiguousarray(ends_s, np.int64)
    plan = window_plan(schema, 1)
    chosen = [_of(mapped, symbol, schema, ends) for symbol in schema.symbols]
    cells, windows = window_sizes(schema)
    count = len(schema.symbols)
    values = np.zeros((len(ends), count * cells))
    known = np.zeros((len(ends), count * windows), np.bool_)
    clocks = np.empty((len(ends), windows * len(CLOCKS)))
    close = np.full((len(ends), count), np.nan)
    whole = np.empty((count, len(ends)), np.bool_)
    knowns = [holes_before(bars.holes, bars.known_s, ends) - bars.start_s for bars in chosen]
    squares = [bars.base_steps_s.index(schema.base_step_s) for bars in chosen]
    zone = new_york_offsets(int(ends.min()) - schema.history_s, int(ends.max())) if len(ends) else None

    def work(rows: slice) -> None:
        for index, bars in enumerate(chosen):
            columns = bars.columns
            fill_ends(
                columns.rows, columns.sums, columns.squares[squares[index]], columns.extremes, knowns[index][rows],
                len(bars), ends[rows] - bars.start_s, plan, index, values[rows], known[rows], close[rows], whole[index, rows],
            )  # fmt: skip
        if zone is not None:
            fill_end_clocks(ends[rows], 1, plan, week_circle(), zone[0], zone[1], clocks[rows])

    _in_threads(work, len(ends), threads)
    if not schema.allow_missing:
        _require_whole(whole, ends, tuple(bars.symbol for bars in chosen), schema)
    return _cut(ends, schema, values, known, clocks, close)


def windows_from_rings(
    rings: Mapping[str, Ring], schema: FeatureSchema, ends_s: Sequence[int] | Ints, *, threads: int = 1
) -> TrainingWindows:
    """The same from rings that hold bars of any step (`Ring.of`); ends are multiples of the step.

    Equal bit for bit to `sequence_from_rings` at each end. Raises as `training_windows` does.
    """
    ends = np.ascontiguousarray(ends_s, np.int64)
    chosen = [_ring(rings, symbol, schema, ends) for symbol in schema.symbols]
    step_s = chosen[0].step_s
    plan = window_plan(schema, step_s)
    if (ends % step_s).any() or any(ring.step_s != step_s for ring in chosen):
        raise ConfigError(f"sequences from bars of {step_s} s end at multiples of that step, and all rings have it")
    cells, windows = window_sizes(schema)
    count = len(chosen)
    values = np.zeros((len(ends), count * cells))
    known = np.zeros((len(ends), count * windows), np.bool_)
    clocks = np.empty((len(ends), windows * len(CLOCKS)))
    close = np.full((len(ends), count), np.nan)
    whole = np.empty((count, len(ends)), np.bool_)
    zone = new_york_offsets(int(ends.min()) - schema.history_s, int(ends.max())) if len(ends) else None

    def work(rows: slice) -> None:
        for index, ring in enumerate(chosen):
            fill_ends(
                ring.rows, ring.sums, ring.squares[ring.base_steps_s.index(schema.base_step_s)], ring.extremes,
                np.full(len(ends[rows]), max(ring.first, ring.known)), ring.end, ends[rows] // step_s, plan, index,
                values[rows], known[rows], close[rows], whole[index, rows],
            )  # fmt: skip
        if zone is not None:
            fill_end_clocks(ends[rows], step_s, plan, week_circle(), zone[0], zone[1], clocks[rows])

    _in_threads(work, len(ends), threads)
    if not schema.allow_missing:
        _require_whole(whole, ends, schema.symbols, schema)
    return _cut(ends, schema, values, known, clocks, close)


def whole_ends(mapped: Mapping[str, MappedBars], schema: FeatureSchema) -> list[tuple[int, int]]:
    """Spans `[first, last]` of ends, ascending, at which every cell of every symbol is known: no hole and no missing history."""
    need = bars_needed(schema, 1)
    spans: list[tuple[int, int]] | None = None
    for symbol in schema.symbols:
        bars = _of(mapped, symbol, schema, np.empty(0, np.int64))
        begins = [bars.known_s, *(hole.to_s for hole in bars.holes)]
        stops = [*(hole.from_s for hole in bars.holes), bars.end_s]
        own = [(begin + need, stop) for begin, stop in zip(begins, stops, strict=True) if begin + need <= stop]
        spans = own if spans is None else _shared(spans, own)
    return spans or []


def _shared(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> list[tuple[int, int]]:
    both = [(max(a, c), min(b, d)) for a, b in left for c, d in right]
    return sorted((first, last) for first, last in both if first <= last)


def _of(mapped: Mapping[str, MappedBars], symbol: str, schema: FeatureSchema, ends: Ints) -> MappedBars:
    bars = mapped.get(symbol)
    if bars is None:
        raise ConfigError(f"the schema asks for {symbol}, bars are mapped of {', '.join(sorted(mapped)) or 'nothing'}")
    if bars.symbol != symbol:
        raise SchemaMismatch(f"the bars handed in for {symbol} are of {bars.symbol}")
    if schema.base_step_s not in bars.base_steps_s:
        raise SchemaMismatch(
            f"{symbol}: returns are squared at {bars.base_steps_s} s in its mapped bars, the schema wants {schema.base_step_s} s; "
            "bring them up with that base step"
        )
    if len(ends) and ends.max() > bars.end_s:
        missing = f"{symbol}: {int(ends.max()) - bars.end_s:,} s after {iso(bars.end_s * US_PER_S)}"
        raise Incomplete(
            f"a sequence is to end at {iso(int(ends.max()) * US_PER_S)}, there is nothing of {missing}", (missing,)
        )
    return bars


def _ring(rings: Mapping[str, Ring], symbol: str, schema: FeatureSchema, ends: Ints) -> Ring:
    ring = rings.get(symbol)
    if ring is None:
        raise ConfigError(f"the schema asks for {symbol}, bars are there of {', '.join(sorted(rings)) or 'nothing'}")
    if schema.base_step_s not in ring.base_steps_s:
        raise SchemaMismatch(
            f"{symbol}: returns are squared at {ring.base_steps_s} s, the schema wants {schema.base_step_s} s"
        )
    if len(ends) and ends.max() > ring.end_s:
        missing = f"{symbol}: {int(ends.max()) - ring.end_s:,} s after {iso(ring.end_s * US_PER_S)}"
        raise Incomplete(
            f"a sequence is to end at {iso(int(ends.max()) * US_PER_S)}, there is nothing of {missing}", (missing,)
        )
    return ring


def _require_whole(whole: Bools, ends: Ints, chosen: tuple[str, ...], schema: FeatureSchema) -> None:
    lacking = np.flatnonzero(~whole.all(axis=0))
    if not len(lacking):
        return
    first = int(lacking[0])
    symbols = tuple(symbol for symbol, is_whole in zip(chosen, whole[:, first], strict=True) if not is_whole)
    raise Incomplete(
        f"{len(lacking):,} of {len(ends):,} ends lack history; at {iso(int(ends[first]) * US_PER_S)} not all of the"
        f" {bars_needed(schema, 1):,} s before are known of {', '.join(symbols)}: `whole_ends` tells where they are",
        symbols,
    )


def _in_threads(work: Callable[[slice], None], rows: int, threads: int) -> None:
    """Parts of the rows, each in a thread."""
    if threads == 1:
        work(slice(0, rows))
        return
    cuts = np.linspace(0, rows, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, (slice(begin, end) for begin, end in pairwise(cuts))))


def _cut(
    ends: Ints, schema: FeatureSchema, values: Floats, known: Bools, clocks: Floats, close: Floats
) -> TrainingWindows:
    """Views of the flat arrays by block; the layout within an end is that of `feature_sequence`."""
    count, n = len(schema.symbols), len(ends)
    blocks: list[Floats] = []
    masks: list[Bools] = []
    times: list[Floats] = []
    cell = window = 0
    for block in schema.blocks:
        length, width = block.length, len(block.channels)
        blocks.append(values[:, cell : cell + count * length * width].reshape(n, count, length, width))
        masks.append(known[:, window * count : (window + length) * count].reshape(n, count, length))
        times.append(clocks[:, window * len(CLOCKS) : (window + length) * len(CLOCKS)].reshape(n, length, len(CLOCKS)))
        cell += count * length * width
        window += length
    return TrainingWindows(ends, schema, tuple(blocks), tuple(masks), tuple(times), close)


@kernel
def fill_ends(
    rows: Floats,
    sums: Ints,
    squares: Ints,
    extremes: Floats,
    known_from: Ints,
    held_until: int,
    ends: Ints,
    plan: Ints,
    symbol: int,
    values: Floats,
    known: Bools,
    close: Floats,
    whole: Bools,
) -> None:
    """Write one symbol's cells of all ends, numbered from the first row; `values`, `known` and `close` have a row for each."""
    for i in range(len(ends)):
        whole[i] = fill_windows(
            rows,
            sums,
            squares,
            extremes,
            0,
            known_from[i],
            held_until,
            ends[i],
            plan,
            symbol,
            values[i],
            known[i],
            close[i],
        )


@kernel
def fill_end_clocks(
    ends_s: Ints, step_s: int, plan: Ints, circle: Floats, moments: Ints, offsets: Ints, clocks: Floats
) -> None:
    """Write the clocks of all ends, a row for each."""
    for i in range(len(ends_s)):
        fill_clocks(ends_s[i], step_s, plan, circle, moments, offsets, clocks[i])
