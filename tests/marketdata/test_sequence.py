"""Feature sequences: what each cell means, and that live, offline, a week and a minute of history give the same bits."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_sets import COLUMNS, START_S, cut, random_bars, trade_lists

from crypy.domain.errors import ConfigError, Incomplete, SchemaMismatch
from crypy.domain.events import Trade
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import CHANNELS, Block, FeatureSchema, FeatureSequence
from crypy.marketdata.sealing import SecondFold
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.sequence import QUOTE_SCALE, bars_needed, feature_sequence, sequence_from_rings
from crypy.marketdata.trades import TradeBatch

BLOCKS = (Block(1, 9, CHANNELS), Block(4, 7, ("taker_imbalance", "returns", "range")), Block(70, 5, CHANNELS))
SCHEMA = FeatureSchema(("BTCUSDT",), 1, BLOCKS)
NEEDED_S = 351


def same(one: FeatureSequence, other: FeatureSequence) -> bool:
    arrays = [(*s.values, *s.clocks, s.close, *s.known) for s in (one, other)]
    return one.end_s == other.end_s and all(a.tobytes() == b.tobytes() for a, b in zip(*arrays, strict=True))


def by_definition(bars: Bars, end_s: int, start_s: int, channel: str, base: int = 1) -> float:
    """One cell, slowly: of the window `[start_s, end_s)`."""
    step = bars.step_s
    inside = cut(bars, start_s, end_s)
    before = cut(bars, start_s - step, start_s)
    if channel == "returns":
        return math.log(inside.close[-1] / before.close[-1])
    if channel == "volume":
        return math.log1p(inside.quote_volume.sum() / QUOTE_SCALE)
    if channel == "realised_variance":
        closes = cut(bars, start_s - step, end_s).close[:: base // step]
        return float((np.diff(np.log(closes)) ** 2).sum())
    if channel == "range":
        return math.log(inside.high.max() / inside.low.min())
    if channel == "trade_count":
        return float(inside.count.sum())
    volume = inside.volume.sum()
    return float((2 * inside.taker_buy_volume.sum() - volume) / volume) if volume > 0 else 0.0


def test_every_cell_is_what_its_definition_says() -> None:
    bars = random_bars("BTCUSDT", START_S, 400, seed=3)
    end_s = START_S + 390
    sequence = feature_sequence({"BTCUSDT": bars}, end_s, SCHEMA)
    for block, values, known in zip(BLOCKS, sequence.values, sequence.known, strict=True):
        assert values.shape == (1, block.length, len(block.channels))
        assert known.all()
        for j in range(block.length):
            window_end = end_s - (block.length - 1 - j) * block.step_s
            for c, channel in enumerate(block.channels):
                expected = by_definition(bars, window_end, window_end - block.step_s, channel)
                assert values[0, j, c] == pytest.approx(expected, rel=1e-6, abs=1e-14), (block, j, channel)
    assert sequence.close[0] == bars.close[389]


@settings(deadline=None, max_examples=120)
@given(
    seed=st.integers(0, 10_000),
    end=st.integers(NEEDED_S, 900),
    starts=st.tuples(st.integers(0, 700), st.integers(0, 700)),
    lengths=st.tuples(st.integers(400, 1_000), st.integers(400, 1_000)),
    written=st.lists(st.integers(1, 300), max_size=6),
)
def test_the_ring_and_the_store_give_the_same_bits_wherever_a_ring_begins_and_however_long_it_is(
    seed: int, end: int, starts: tuple[int, int], lengths: tuple[int, int], written: list[int]
) -> None:
    bars = random_bars("BTCUSDT", START_S, 900, seed)
    end_s = START_S + end
    expected = feature_sequence({"BTCUSDT": bars}, end_s, SCHEMA)
    for start, length in zip(starts, lengths, strict=True):
        ring = Ring("BTCUSDT", length)
        start_s = START_S + min(start, end - NEEDED_S)
        for size in (*written, 900):
            stop_s = min(max(ring.end_s, start_s) + size, end_s)
            ring.write(cut(bars, max(ring.end_s, start_s), stop_s))
        assert same(sequence_from_rings({"BTCUSDT": ring}, end_s, SCHEMA), expected)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 999), back=st.integers(1, 300), other=st.integers(0, 999))
def test_bars_written_again_leave_no_trace_of_what_was_there(seed: int, back: int, other: int) -> None:
    bars, wrong = random_bars("BTCUSDT", START_S, 800, seed), random_bars("BTCUSDT", START_S, 800, other)
    ring, end_s = Ring("BTCUSDT", 700), START_S + 800
    from_s = end_s - back
    ring.write(cut(bars, START_S, from_s))
    ring.write(cut(wrong, from_s, end_s))
    ring.write(cut(bars, from_s, end_s))
    assert same(
        sequence_from_rings({"BTCUSDT": ring}, end_s, SCHEMA), feature_sequence({"BTCUSDT": bars}, end_s, SCHEMA)
    )


@settings(deadline=None, max_examples=60)
@given(trades=trade_lists(seconds=40, most=60, backwards=True), end=st.integers(12, 40), every=st.integers(1, 9))
def test_live_trades_and_stored_trades_give_the_same_sequence(trades: list[Trade], end: int, every: int) -> None:
    schema = FeatureSchema(("BTCUSDT",), 1, (Block(1, 5, CHANNELS), Block(3, 3, CHANNELS)), allow_missing=True)
    bars = second_bars("BTCUSDT", [TradeBatch.of(trades)], START_S, START_S + 40)
    fold, ring = SecondFold("BTCUSDT", START_S, grace_us=0), Ring("BTCUSDT", 64)
    for number, trade in enumerate(trades):
        fold.update(trade)
        if number % every == 0:
            for piece in fold.seal(trade.time_us):
                ring.write(piece)
    for piece in fold.seal((START_S + 40) * 1_000_000):
        ring.write(piece)
    live = sequence_from_rings({"BTCUSDT": ring}, START_S + end, schema)
    assert same(live, feature_sequence({"BTCUSDT": bars}, START_S + end, schema))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 999), other=st.integers(1_000, 1_999), end=st.integers(NEEDED_S, 600))
def test_nothing_at_or_after_the_end_counts(seed: int, other: int, end: int) -> None:
    bars, future = random_bars("BTCUSDT", START_S, 700, seed), random_bars("BTCUSDT", START_S, 700, other)
    joined = [np.concatenate([getattr(bars, n)[:end], 3 * getattr(future, n)[end:]]) for n in COLUMNS]
    perturbed = Bars("BTCUSDT", START_S, 1, *joined)
    end_s = START_S + end
    expected = feature_sequence({"BTCUSDT": bars}, end_s, SCHEMA)
    assert same(feature_sequence({"BTCUSDT": perturbed}, end_s, SCHEMA), expected)
    assert same(sequence_from_rings({"BTCUSDT": Ring.of(perturbed)}, end_s, SCHEMA), expected)
    assert same(feature_sequence({"BTCUSDT": cut(bars, START_S, end_s)}, end_s, SCHEMA), expected)


@pytest.mark.parametrize(("step_s", "base_s"), [(60, 60), (1, 60), (1, 5)])
def test_returns_are_squared_at_the_base_step_whatever_the_step_of_the_bars(step_s: int, base_s: int) -> None:
    bars = random_bars("BTCUSDT", START_S, 5_000, seed=8, step_s=step_s)
    schema = FeatureSchema(("BTCUSDT",), base_s, (Block(base_s * 5, 12, ("realised_variance", "returns")),))
    end_s = START_S + 4_321 * step_s
    sequence = feature_sequence({"BTCUSDT": bars}, end_s, schema)
    for j in range(12):
        window_end = end_s - (11 - j) * base_s * 5
        expected = by_definition(bars, window_end, window_end - base_s * 5, "realised_variance", base_s)
        assert sequence.values[0][0, j, 0] == pytest.approx(expected, rel=1e-7)
    ring = Ring("BTCUSDT", 4_999, step_s, (step_s, base_s))
    ring.write(bars)
    assert same(sequence_from_rings({"BTCUSDT": ring}, end_s, schema), sequence)


def test_a_realised_variance_of_returns_as_small_as_a_tick_keeps_six_digits() -> None:
    close = 60_000.0 + 0.01 * (np.arange(2_000) % 2)
    zero = np.zeros(2_000)
    bars = Bars("BTCUSDT", START_S, 1, close, close, close, close, zero, zero, zero.astype(np.int64), zero)
    schema = FeatureSchema(("BTCUSDT",), 1, (Block(1_024, 1, ("realised_variance",)),))
    value = feature_sequence({"BTCUSDT": bars}, START_S + 2_000, schema).values[0][0, 0, 0]
    assert value == pytest.approx(1_024 * math.log(60_000.01 / 60_000.0) ** 2, rel=1e-3)


def test_clocks_are_the_week_in_utc_and_in_new_york_across_a_clock_change() -> None:
    # New York's clocks went back on Sunday 2025-11-02 at 06:00 UTC.
    end_s = int(datetime(2025, 11, 2, 8, tzinfo=UTC).timestamp())
    bars = random_bars("BTCUSDT", end_s - 40 * 900, 40 * 15, seed=1, step_s=60)
    schema = FeatureSchema(("BTCUSDT",), 60, (Block(900, 30, ("returns",)),))
    clocks = feature_sequence({"BTCUSDT": bars}, end_s, schema).clocks[0]
    for j in range(30):
        instant = datetime.fromtimestamp(end_s - (29 - j) * 900, UTC)
        for column, zone in ((0, "UTC"), (2, "America/New_York")):
            local = instant.astimezone(ZoneInfo(zone))
            angle = 2 * math.pi * (local.weekday() * 86_400 + local.hour * 3_600 + local.minute * 60) / 604_800
            assert clocks[j, column : column + 2] == pytest.approx([math.sin(angle), math.cos(angle)], abs=1e-12)


def test_too_little_history_is_named_to_the_second() -> None:
    bars = random_bars("BTCUSDT", START_S, 200, seed=1)
    with pytest.raises(Incomplete) as caught:
        feature_sequence({"BTCUSDT": bars}, START_S + 200, SCHEMA)
    assert caught.value.missing == ("BTCUSDT: 151 s before 2025-01-01T00:00:00Z",)


def test_where_the_schema_allows_it_unknown_cells_are_masked_and_zero() -> None:
    schema = FeatureSchema(("BTCUSDT", "ETHUSDT", "XRPUSDT"), 1, (Block(10, 6, CHANNELS),), allow_missing=True)
    bars = {
        "BTCUSDT": random_bars("BTCUSDT", START_S, 100, seed=1),
        # The first price is that of second 60, so the first window with a close before it ends at 75.
        "ETHUSDT": random_bars("ETHUSDT", START_S, 100, seed=2, unknown=60),
        "XRPUSDT": cut(random_bars("XRPUSDT", START_S, 100, seed=3), START_S, START_S),
    }
    sequence = feature_sequence(bars, START_S + 95, schema)
    assert sequence.known[0].tolist() == [[True] * 6, [False] * 3 + [True] * 3, [False] * 6]
    assert not sequence.values[0][~sequence.known[0]].any()
    assert np.isfinite(sequence.values[0]).all()
    assert np.isnan(sequence.close).tolist() == [False, False, True]


def test_a_sequence_never_ends_where_the_bars_do_not_reach() -> None:
    bars = random_bars("BTCUSDT", START_S, 400, seed=1)
    schema = FeatureSchema(("BTCUSDT",), 1, (Block(1, 9, ("returns",)),), allow_missing=True)
    with pytest.raises(Incomplete, match="1 s after 2025-01-01T00:06:40Z"):
        feature_sequence({"BTCUSDT": bars}, START_S + 401, schema)


@pytest.mark.parametrize(
    ("schema", "error"),
    [
        (FeatureSchema(("ETHUSDT",), 1, BLOCKS), ConfigError),
        (FeatureSchema(("BTCUSDT",), 60, BLOCKS), ConfigError),
        (FeatureSchema(("BTCUSDT",), 1, ()), ConfigError),
        (FeatureSchema(("BTCUSDT",), 1, (Block(1, 0, ("returns",)),)), ConfigError),
        (FeatureSchema(("BTCUSDT",), 5, (Block(5, 2, ("returns",)),)), SchemaMismatch),
    ],
)
def test_what_rings_cannot_give_is_refused(schema: FeatureSchema, error: type[Exception]) -> None:
    ring = Ring.of(random_bars("BTCUSDT", START_S, 400, seed=1))
    with pytest.raises(error):
        sequence_from_rings({"BTCUSDT": ring}, START_S + 400, schema)


def test_the_history_a_schema_asks_for_is_enough_and_one_bar_less_is_not() -> None:
    bars = random_bars("BTCUSDT", START_S, 1_000, seed=1)
    end_s = START_S + 1_000
    assert bars_needed(SCHEMA, 1) == SCHEMA.history_s == NEEDED_S
    enough = cut(bars, end_s - SCHEMA.history_s, end_s)
    assert same(
        feature_sequence({"BTCUSDT": enough}, end_s, SCHEMA), feature_sequence({"BTCUSDT": bars}, end_s, SCHEMA)
    )
    with pytest.raises(Incomplete):
        feature_sequence({"BTCUSDT": cut(bars, end_s - SCHEMA.history_s + 1, end_s)}, end_s, SCHEMA)
