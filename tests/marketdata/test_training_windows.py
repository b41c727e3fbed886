"""Windows for training: the bits of the live sequence, no look-ahead, and honest about what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from history_kit import START_US, make_trades
from hypothesis import given, settings
from hypothesis import strategies as st
from mapped_kit import going_on, mapped_of

from crypy.domain.errors import ConfigError, Incomplete, SchemaMismatch
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.mapped_bars import MappedBars
from crypy.marketdata.ring import Ring
from crypy.marketdata.schema import CHANNELS, Block, FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import bars_needed, feature_sequence
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.training_windows import training_windows, whole_ends

START_S = START_US // US_PER_S
SYMBOLS = ("BTCUSDT", "ETHUSDT")
SCHEMA = FeatureSchema(("ETHUSDT", "BTCUSDT"), 1, tuple(Block(step, 16, CHANNELS) for step in (1, 7, 300)))
MINUTES = FeatureSchema(("BTCUSDT",), 60, (Block(60, 30, CHANNELS), Block(600, 12, ("returns", "realised_variance"))))
HOLE = (30_000, 33_000)


def same(one: FeatureSequence, other: FeatureSequence) -> bool:
    arrays = zip(
        (*one.values, *one.known, *one.clocks, one.close),
        (*other.values, *other.known, *other.clocks, other.close),
        strict=True,
    )
    return all(left.tobytes() == right.tobytes() for left, right in arrays)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TradeStore:
    """Two symbols over a day and a bit; ETHUSDT lacks some trades."""
    store = TradeStore(tmp_path_factory.mktemp("store"))
    for seed, symbol in enumerate(SYMBOLS):
        trades = make_trades(60_000, seconds=1.2 * DAY_S, seed=seed)
        at_s = trades.time_us // US_PER_S - START_S
        keep = (at_s < HOLE[0]) | (at_s >= HOLE[1]) if symbol == "ETHUSDT" else np.ones(len(trades), np.bool_)
        store.append("binance", symbol, taken(trades, keep))
    return store


@pytest.fixture(scope="module")
def mapped(store: TradeStore) -> dict[str, MappedBars]:
    return {symbol: mapped_of(store, symbol, (1, 60)) for symbol in SYMBOLS}


@pytest.mark.parametrize("schema", [SCHEMA, MINUTES])
def test_windows_have_the_bits_of_the_offline_sequence(
    store: TradeStore, mapped: dict[str, MappedBars], schema: FeatureSchema
) -> None:
    bars = {symbol: store.bars("binance", symbol, mapped[symbol].start_s, mapped[symbol].end_s) for symbol in SYMBOLS}
    spans = whole_ends(mapped, schema)
    random = np.random.default_rng(5)
    ends = np.concatenate([random.integers(first, last + 1, 40) for first, last in spans])
    ends = np.concatenate([ends, [edge for span in spans for edge in span]])
    found = training_windows(mapped, schema, ends, threads=3)
    assert len(found) == len(ends)
    assert [block.shape for block in found.values] == [
        (len(ends), len(schema.symbols), block.length, len(block.channels)) for block in schema.blocks
    ]
    for index, end in enumerate(ends.tolist()):
        assert same(found[index], feature_sequence(bars, end, schema)), end


def test_windows_have_the_bits_of_a_ring_that_began_elsewhere(store: TradeStore, mapped: dict[str, MappedBars]) -> None:
    from crypy.marketdata.sequence import sequence_from_rings

    end = mapped["BTCUSDT"].end_s - 17
    rings: dict[str, Ring] = {}
    for symbol in SCHEMA.symbols:
        rings[symbol] = Ring(symbol, bars_needed(SCHEMA, 1) + 1_000)
        for start in range(end - bars_needed(SCHEMA, 1) - 321, end, 1_000):
            rings[symbol].write(store.bars("binance", symbol, start, min(start + 1_000, end)))
    assert same(training_windows(mapped, SCHEMA, [end])[0], sequence_from_rings(rings, end, SCHEMA))


@settings(max_examples=20)
@given(offset=st.integers(0, 20_000), seed=st.integers(0, 1_000))
def test_nothing_at_or_after_the_end_counts(offset: int, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The store is given another future, other prices and other volumes from `end` on: the window stays as it was."""
    schema = FeatureSchema(("BTCUSDT",), 1, (Block(1, 8, CHANNELS), Block(32, 8, CHANNELS)))
    trades = make_trades(6_000, seconds=30_000, seed=1)
    end = START_S + 1_000 + offset
    past = taken(trades, trades.time_us < end * US_PER_S)
    future = going_on(past, make_trades(800, start_us=end * US_PER_S, seconds=9_000, seed=seed))
    folder = tmp_path_factory.mktemp("futures")
    found: list[FeatureSequence] = []
    for name, batches in (("one", [trades]), ("other", [past, future])):
        store = TradeStore(folder / name)
        for batch in batches:
            store.append("binance", "BTCUSDT", batch)
        found.append(training_windows({"BTCUSDT": mapped_of(store, "BTCUSDT")}, schema, [end])[0])
    assert same(*found)


def test_whole_ends_are_exactly_those_without_a_hole(mapped: dict[str, MappedBars]) -> None:
    spans = whole_ends(mapped, SCHEMA)
    assert len(spans) == 2
    hole = mapped["ETHUSDT"].holes[0]
    need = bars_needed(SCHEMA, 1)
    known = max(bars.known_s for bars in mapped.values())
    assert spans[0] == (known + need, hole.from_s)
    assert spans[1] == (hole.to_s + need, min(bars.end_s for bars in mapped.values()))
    for first, last in spans:
        assert len(training_windows(mapped, SCHEMA, [first, last])) == 2
        for outside in (first - 1, last + 1):
            with pytest.raises(Incomplete):
                training_windows(mapped, SCHEMA, [outside])


def test_a_schema_that_allows_it_gets_masks_where_seconds_are_not_known(
    store: TradeStore, mapped: dict[str, MappedBars]
) -> None:
    hole = mapped["ETHUSDT"].holes[0]
    schema = FeatureSchema(("ETHUSDT",), 1, (Block(100, 20, ("returns", "volume")),), allow_missing=True)
    end = hole.to_s + 1_000
    found = training_windows(mapped, schema, [end, hole.to_s - 10])
    behind = store.bars("binance", "ETHUSDT", hole.to_s, end)
    assert same(found[0], feature_sequence({"ETHUSDT": behind}, end, schema))
    assert found.known[0][0, 0].sum() == 9
    assert not found.known[0][1].any()
    assert np.isnan(found.close[1]).all()


def test_misuse_is_told(mapped: dict[str, MappedBars]) -> None:
    end = mapped["BTCUSDT"].end_s
    with pytest.raises(ConfigError, match="asks for SOLUSDT"):
        training_windows(mapped, FeatureSchema(("SOLUSDT",), 1, (Block(1, 4, ("returns",)),)), [end])
    with pytest.raises(SchemaMismatch, match="squared at"):
        training_windows(mapped, FeatureSchema(("BTCUSDT",), 5, (Block(5, 4, ("returns",)),)), [end])
    with pytest.raises(SchemaMismatch, match="are of ETHUSDT"):
        training_windows(
            {"BTCUSDT": mapped["ETHUSDT"]}, FeatureSchema(("BTCUSDT",), 1, (Block(1, 4, ("returns",)),)), [end]
        )
    with pytest.raises(Incomplete, match="there is nothing of BTCUSDT"):
        training_windows(mapped, FeatureSchema(("BTCUSDT",), 1, (Block(1, 4, ("returns",)),)), [end + 1])


def test_no_ends_give_no_windows(mapped: dict[str, MappedBars]) -> None:
    found = training_windows(mapped, SCHEMA, [])
    assert len(found) == 0
    assert found.values[0].shape == (0, 2, 16, len(CHANNELS))
