"""Feature sequences: what a density model eats, from rings of bars, live and offline by one kernel.

For step s and k = length-1 .. 0 the window is the seconds `[end - (k+1) s, end - k s)`. Windows slide with `end`; they are
not aligned to the clock, and nothing at or after `end` counts. The channels, all raw:

returns            log of the last close in the window over the last close before it
volume             log1p of the quote volume over `QUOTE_SCALE`
realised_variance  sum of squared log returns over base steps inside the window
range              log of the highest over the lowest price; seconds without trades count with the price they carry
trade_count        single trades, as a number
taker_imbalance    (bought by takers - sold by takers) / volume, 0 without trades

Clocks are sine and cosine of the time of week of each window's end, Monday 00:00 being 0, in UTC and in New York.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crypy.domain.errors import ConfigError, Incomplete, SchemaMismatch
from crypy.domain.times import US_PER_S, iso
from crypy.marketdata.bars import Bars
from crypy.marketdata.clocks import new_york_offsets, week_circle
from crypy.marketdata.ring import (
    CLOSE,
    COUNT,
    EXTREMES,
    HIGH,
    LOG_CLOSE,
    LOW,
    QUOTE_VOLUME,
    QUOTES_PER_ONE,
    SQUARES_PER_ONE,
    TAKER_BUY,
    VOLUME,
    Ring,
)
from crypy.marketdata.schema import CHANNELS, CLOCKS, FeatureSchema, FeatureSequence
from crypy.runtime.kernels import inlined, kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

QUOTE_SCALE = 1_000.0
_MOST_CHANNELS = len(CHANNELS)
_RETURNS, _VOLUME, _VARIANCE, _RANGE, _COUNT, _IMBALANCE = range(_MOST_CHANNELS)
# One row of the plan: bars a window, windows, channels, first cell of values, of known and of clocks, then channel codes.
_STEP, _LENGTH, _WIDTH, _VALUES, _KNOWN, _CLOCKS, _CODES = range(7)
_WEEK_S = 604_800


def feature_sequence(bars: Mapping[str, Bars], end_s: int, schema: FeatureSchema) -> FeatureSequence:
    """The sequence that ends at `end_s`, from bars of each symbol; offline form, equal to the live one bit for bit.

    Only the bars that the schema needs are looked at. Raises `Incomplete` naming what is missing, unless the schema allows
    it; bars that end before `end_s` are always an error, for the newest windows would be stale. For many ends make
    a `Ring.of` the bars once and use `sequence_from_rings`.
    """
    rings = {
        symbol: Ring.of(_needed(bars[symbol], end_s, schema), (schema.base_step_s,))
        for symbol in schema.symbols
        if symbol in bars
    }
    return sequence_from_rings(rings, end_s, schema)


def sequence_from_rings(rings: Mapping[str, Ring], end_s: int, schema: FeatureSchema) -> FeatureSequence:
    """The sequence that ends at `end_s`, from rings; errors as `feature_sequence`."""
    symbols = schema.symbols
    for symbol in symbols:
        if symbol not in rings:
            raise ConfigError(
                f"the schema asks for {symbol}, bars are there of {', '.join(sorted(rings)) or 'nothing'}"
            )
    step_s = rings[symbols[0]].step_s
    plan = window_plan(schema, step_s)
    if end_s % step_s:
        raise ConfigError(f"a sequence of bars of {step_s} s cannot end at {end_s}: not a multiple of the step")
    cells, windows = window_sizes(schema)
    values = np.zeros(len(symbols) * cells)
    known = np.zeros(len(symbols) * windows, np.bool_)
    close = np.full(len(symbols), np.nan)
    lacking: list[str] = []
    for index, symbol in enumerate(symbols):
        ring = rings[symbol]
        _check(ring, step_s, end_s, schema)
        complete = fill_windows(
            ring.rows, ring.sums, ring.squares[ring.base_steps_s.index(schema.base_step_s)], ring.extremes,
            ring.first, ring.known, ring.end, end_s // step_s, plan, index, values, known, close,
        )  # fmt: skip
        if not complete:
            lacking.append(_lack(ring, end_s, schema))
    if lacking and not schema.allow_missing:
        raise Incomplete(
            f"too little history for a sequence at {iso(end_s * US_PER_S)}: {'; '.join(lacking)}", tuple(lacking)
        )
    clocks = np.empty(windows * len(CLOCKS))
    moments, offsets = new_york_offsets(end_s - schema.history_s, end_s)
    fill_clocks(end_s, step_s, plan, week_circle(), moments, offsets, clocks)
    return _sequence(end_s, schema, values, known, clocks, close)


def bars_needed(schema: FeatureSchema, step_s: int) -> int:
    """Bars of `step_s` before the end that fill every cell: the longest block and the close before its first window."""
    return max(block.step_s * block.length for block in schema.blocks) // step_s + 1


def _needed(bars: Bars, end_s: int, schema: FeatureSchema) -> Bars:
    """The rows that a sequence can look at, without copying them."""
    stop = max(0, min(len(bars), (end_s - bars.start_s) // bars.step_s))
    start = max(0, min(stop, (end_s - bars.start_s) // bars.step_s - bars_needed(schema, bars.step_s)))
    rows = slice(start, stop)
    return Bars(
        bars.symbol, bars.start_s + start * bars.step_s, bars.step_s,
        bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows],
        bars.volume[rows], bars.quote_volume[rows], bars.count[rows], bars.taker_buy_volume[rows],
    )  # fmt: skip


def _check(ring: Ring, step_s: int, end_s: int, schema: FeatureSchema) -> None:
    if ring.step_s != step_s or schema.base_step_s not in ring.base_steps_s:
        raise SchemaMismatch(
            f"{ring.symbol}: bars of {ring.step_s} s with returns squared at {ring.base_steps_s} s cannot give a sequence with"
            f" base step {schema.base_step_s} s beside bars of {step_s} s"
        )
    if ring.first < ring.end and ring.end_s < end_s:
        missing = f"{ring.symbol}: {end_s - ring.end_s:,} s after {iso(ring.end_s * US_PER_S)}"
        raise Incomplete(
            f"the sequence is to end at {iso(end_s * US_PER_S)}, but there is nothing yet of {missing}", (missing,)
        )


def _lack(ring: Ring, end_s: int, schema: FeatureSchema) -> str:
    wanted_s = end_s - bars_needed(schema, ring.step_s) * ring.step_s
    known_s = ring.known_s
    if known_s is None or known_s >= end_s:
        return f"{ring.symbol}: all {end_s - wanted_s:,} s before {iso(end_s * US_PER_S)}"
    return f"{ring.symbol}: {known_s - wanted_s:,} s before {iso(known_s * US_PER_S)}"


@lru_cache(maxsize=64)
def window_plan(schema: FeatureSchema, step_s: int) -> Ints:
    """The schema as numbers, checked against the step of the bars."""
    if not schema.symbols or not schema.blocks:
        raise ConfigError("a schema needs at least one symbol and one block")
    if schema.base_step_s < step_s or schema.base_step_s % step_s:
        raise ConfigError(f"base step {schema.base_step_s} s is not a multiple of the bars' {step_s} s")
    plan = np.zeros((len(schema.blocks), _CODES + _MOST_CHANNELS), np.int64)
    values = known = 0
    for row, block in zip(plan, schema.blocks, strict=True):
        unit_s = schema.base_step_s if "realised_variance" in block.channels else step_s
        if block.step_s < unit_s or block.step_s % unit_s or block.length < 1 or not block.channels:
            raise ConfigError(f"{block}: its step must be a multiple of {unit_s} s, with a length and channels")
        row[:_CODES] = block.step_s // step_s, block.length, len(block.channels), values, known, known * len(CLOCKS)
        row[_CODES : _CODES + len(block.channels)] = [CHANNELS.index(channel) for channel in block.channels]
        values += len(schema.symbols) * block.length * len(block.channels)
        known += block.length
    return plan


def window_sizes(schema: FeatureSchema) -> tuple[int, int]:
    """Cells of one symbol, and windows of one symbol."""
    cells = sum(block.length * len(block.channels) for block in schema.blocks)
    return cells, sum(block.length for block in schema.blocks)


def _sequence(
    end_s: int, schema: FeatureSchema, values: Floats, known: Bools, clocks: Floats, close: Floats
) -> FeatureSequence:
    """Cut the flat arrays into the blocks' own."""
    count = len(schema.symbols)
    blocks: list[Floats] = []
    masks: list[Bools] = []
    times: list[Floats] = []
    cell = window = 0
    for block in schema.blocks:
        length, width = block.length, len(block.channels)
        blocks.append(values[cell : cell + count * length * width].reshape(count, length, width))
        masks.append(known[window * count : (window + length) * count].reshape(count, length))
        times.append(clocks[window * len(CLOCKS) : (window + length) * len(CLOCKS)].reshape(length, len(CLOCKS)))
        cell += count * length * width
        window += length
    return FeatureSequence(end_s, schema, tuple(blocks), tuple(masks), tuple(times), close)


@kernel
def fill_windows(
    rows: Floats,
    sums: Ints,
    squares: Ints,
    extremes: Floats,
    first: int,
    known_from: int,
    held_until: int,
    end: int,
    plan: Ints,
    symbol: int,
    values: Floats,
    known: Bools,
    close: Floats,
) -> bool:
    """Write one symbol's cells of all blocks, and its last close. Returns whether every cell is known."""
    size = len(rows)
    symbols = len(close)
    oldest = max(first, known_from)
    complete = True
    if oldest < end <= held_until:
        close[symbol] = rows[(end - 1) % size, CLOSE]
    for block in range(len(plan)):
        step = plan[block, _STEP]
        length = plan[block, _LENGTH]
        width = plan[block, _WIDTH]
        cell = plan[block, _VALUES] + symbol * length * width
        mask = plan[block, _KNOWN] * symbols + symbol * length
        # The close before a window starts it, so that close must be known too.
        before = end - length * step - 1
        skipped = 0
        if before < oldest:
            complete = False
            skipped = min(length, -((before - oldest) // step))
        slot_before = (before + skipped * step) % size
        for j in range(skipped, length):
            slot = slot_before + step
            while slot >= size:
                slot -= size
            known[mask + j] = True
            at = cell + j * width
            for c in range(width):
                code = plan[block, _CODES + c]
                if code == _RETURNS:
                    values[at + c] = rows[slot, LOG_CLOSE] - rows[slot_before, LOG_CLOSE]
                elif code == _VOLUME:
                    quotes = sums[slot, QUOTE_VOLUME] - sums[slot_before, QUOTE_VOLUME]
                    values[at + c] = np.log1p(quotes / (QUOTES_PER_ONE * QUOTE_SCALE))
                elif code == _VARIANCE:
                    values[at + c] = (squares[slot] - squares[slot_before]) / SQUARES_PER_ONE
                elif code == _RANGE:
                    number = before + (j * step) + 1
                    values[at + c] = _range(rows, extremes, number, number + step)
                elif code == _COUNT:
                    values[at + c] = sums[slot, COUNT] - sums[slot_before, COUNT]
                else:
                    volume = sums[slot, VOLUME] - sums[slot_before, VOLUME]
                    bought = sums[slot, TAKER_BUY] - sums[slot_before, TAKER_BUY]
                    values[at + c] = (2 * bought - volume) / volume if volume > 0 else 0.0
            slot_before = slot
    return complete


@inlined
def _range(rows: Floats, extremes: Floats, start: int, stop: int) -> float:
    """log(high / low) of bars `[start, stop)`: whole blocks by their extremes, the ends bar by bar."""
    size = len(rows)
    top = -np.inf
    bottom = np.inf
    number = start
    while number < stop:
        slot = number % size
        if number % EXTREMES == 0 and number + EXTREMES <= stop:
            top = max(top, extremes[slot // EXTREMES, 0])
            bottom = min(bottom, extremes[slot // EXTREMES, 1])
            number += EXTREMES
        else:
            top = max(top, rows[slot, HIGH])
            bottom = min(bottom, rows[slot, LOW])
            number += 1
    return np.log(top / bottom)


@kernel
def fill_clocks(
    end_s: int, step_s: int, plan: Ints, circle: Floats, moments: Ints, offsets: Ints, clocks: Floats
) -> None:
    """Write sine and cosine of the time of week of each window's end; `offsets[i]` is New York's from `moments[i]` on."""
    for block in range(len(plan)):
        length = plan[block, _LENGTH]
        at = plan[block, _CLOCKS]
        zone = len(moments) - 1
        for k in range(length):
            time_s = end_s - k * plan[block, _STEP] * step_s
            while time_s < moments[zone]:
                zone -= 1
            cell = at + (length - 1 - k) * 4
            utc = (time_s + 3 * 86_400) % _WEEK_S
            local = (time_s + offsets[zone] + 3 * 86_400) % _WEEK_S
            clocks[cell] = circle[utc, 0]
            clocks[cell + 1] = circle[utc, 1]
            clocks[cell + 2] = circle[local, 0]
            clocks[cell + 3] = circle[local, 1]
