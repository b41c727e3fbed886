"""Datasets over memory-mapped second bars: the numbers of bars in memory, read from the file, and nothing where it has a hole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.times import US_PER_S, parse_time_us
from crypy.marketdata.audit import audit
from crypy.marketdata.mapped_bars import MappedBars, update_mapped_bars
from crypy.marketdata.ring import LOG_CLOSE
from crypy.marketdata.schema import Block, FeatureSchema
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trades import TradeBatch
from crypy.models.dataset import Dataset
from crypy.models.fitting import fit_on
from crypy.models.hindcast import hindcasts
from crypy.testing.clock import ManualClock

START_US = parse_time_us("2025-01-05")
START_S = START_US // US_PER_S
HOURS = 5
HOLE = (2 * 3_600 + 100, 2 * 3_600 + 400)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
SCHEMA = FeatureSchema(SYMBOLS, 1, (Block(1, 30, ("returns", "volume")), Block(32, 20, ("realised_variance",))))


def trades(seed: int, rows: int) -> TradeBatch:
    random = np.random.default_rng(seed)
    ids = np.arange(1_000, 1_000 + rows, dtype=np.int64)
    price = (9_400_000 + np.cumsum(random.integers(-3, 4, rows))) * 1_000_000
    times = START_US + np.sort(random.integers(0, HOURS * 3_600 * US_PER_S, rows))
    return TradeBatch(ids, price, random.integers(1, 999, rows) * 1_000, ids, ids, times, random.random(rows) < 0.5)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> TradeStore:
    """Two symbols over some hours; ETHUSDT lacks five minutes."""
    store = TradeStore(tmp_path_factory.mktemp("store"))
    for seed, symbol in enumerate(SYMBOLS):
        batch = trades(seed, 40_000)
        at_s = batch.time_us // US_PER_S - START_S
        keep = (at_s < HOLE[0]) | (at_s >= HOLE[1]) if symbol == "ETHUSDT" else np.ones(len(batch), np.bool_)
        store.append("binance", symbol, taken(batch, keep))
        assert not audit(store, "binance", symbol, ManualClock(parse_time_us("2027-01-01"))).bad
    return store


@pytest.fixture(scope="module")
def mapped(stored: TradeStore) -> dict[str, MappedBars]:
    return {symbol: update_mapped_bars(stored, symbol) for symbol in SYMBOLS}


@pytest.fixture(scope="module")
def dataset(mapped: dict[str, MappedBars]) -> Dataset:
    end_s = min(one.end_s for one in mapped.values())
    return Dataset.of_mapped(mapped, START_S + 3_600, end_s, spacing_s=60, horizons_s=(5, 300, 900))


def test_returns_and_sequences_are_those_of_bars_in_memory(
    stored: TradeStore, mapped: dict[str, MappedBars], dataset: Dataset
) -> None:
    one = mapped["BTCUSDT"]
    bars = {"BTCUSDT": stored.bars("binance", "BTCUSDT", one.start_s, dataset.end_s)}
    other = Dataset.of(bars, dataset.start_s, dataset.end_s, spacing_s=60, horizons_s=dataset.horizons_s)
    origins_s = dataset.origins_s()
    assert np.array_equal(origins_s, other.origins_s())
    mine = dataset.returns("BTCUSDT", origins_s, np.array(dataset.horizons_s))
    assert mine.tobytes() == other.returns("BTCUSDT", origins_s, np.array(dataset.horizons_s)).tobytes()
    schema = FeatureSchema(("BTCUSDT",), 1, SCHEMA.blocks)
    left, right = dataset.windows(schema, origins_s[::7]), other.windows(schema, origins_s[::7])
    for a, b in zip((*left.values, left.close), (*right.values, right.close), strict=True):
        assert a.tobytes() == b.tobytes()
    assert np.array_equal(dataset.has_history(schema, origins_s), other.has_history(schema, origins_s))
    found = dataset.bars["BTCUSDT"]
    for name in ("close", "high", "low", "volume", "quote_volume", "count", "taker_buy_volume"):
        np.testing.assert_allclose(getattr(found, name), getattr(bars["BTCUSDT"], name), rtol=0, atol=1e-6)
    assert np.isnan(found.open).all()


def test_closes_are_not_copied(mapped: dict[str, MappedBars], dataset: Dataset) -> None:
    assert np.shares_memory(dataset.log_close("BTCUSDT"), mapped["BTCUSDT"].columns.rows[:, LOG_CLOSE])
    assert dataset.step_s == 1


def test_what_touches_a_hole_counts_nothing(mapped: dict[str, MappedBars], dataset: Dataset) -> None:
    hole = mapped["ETHUSDT"].holes[0]
    origins_s = np.arange(hole.from_s - 400, hole.to_s + 1_000, dtype=np.int64)
    known = np.isfinite(dataset.returns("ETHUSDT", origins_s, np.array([5, 300])))
    for column, horizon in enumerate((5, 300)):
        # The close before the origin, and every second until the horizon's end, lie outside of it.
        expected = (origins_s + horizon <= hole.from_s) | (origins_s - 1 >= hole.to_s)
        assert np.array_equal(known[:, column], expected)
    of_each = np.isfinite(dataset.returns("ETHUSDT", origins_s, np.tile([5, 300], (len(origins_s), 1))))
    assert np.array_equal(known, of_each)
    history = dataset.has_history(SCHEMA, origins_s)
    assert np.array_equal(history, (origins_s <= hole.from_s) | (origins_s >= hole.to_s + 32 * 20 + 1))
    close = dataset.bars["ETHUSDT"].close
    inside = slice(hole.from_s - START_S, hole.to_s - START_S)
    assert np.isnan(close[inside]).all()
    assert np.isfinite(close[hole.to_s - START_S :]).all()


def test_a_baseline_is_fitted_and_judged_on_it(dataset: Dataset) -> None:
    model = fit_on(dataset.between(dataset.start_s, dataset.end_s - 3_600))
    cast = hindcasts(model, dataset.between(dataset.end_s - 3_600, dataset.end_s), np.array([5.0, 300.0]))
    assert np.isfinite(cast["BTCUSDT"].scale).all()


def test_the_fingerprint_tells_ranges_apart_and_not_how_the_file_grew(stored: TradeStore, tmp_path: Path) -> None:
    folder = tmp_path / "mapped"
    short = update_mapped_bars(stored, "BTCUSDT", folder=folder)
    before = Dataset.of_mapped({"BTCUSDT": short}, START_S, START_S + 7_200).fingerprint()
    assert before != Dataset.of_mapped({"BTCUSDT": short}, START_S, START_S + 7_201).fingerprint()
    grown = TradeStore(tmp_path / "grown")
    batch = trades(0, 40_000)
    grown.append("binance", "BTCUSDT", taken(batch, batch.time_us < START_US + 3 * 3_600 * US_PER_S))
    clock = ManualClock(parse_time_us("2027-01-01"))
    audit(grown, "binance", "BTCUSDT", clock)
    young = Dataset.of_mapped({"BTCUSDT": update_mapped_bars(grown, "BTCUSDT")}, START_S, START_S + 7_200).fingerprint()
    assert young == before
    grown.append("binance", "BTCUSDT", taken(batch, batch.time_us >= START_US + 3 * 3_600 * US_PER_S))
    audit(grown, "binance", "BTCUSDT", clock)
    later = Dataset.of_mapped({"BTCUSDT": update_mapped_bars(grown, "BTCUSDT")}, START_S, START_S + 7_200)
    assert later.fingerprint() == before


def test_what_cannot_be_is_told(mapped: dict[str, MappedBars], dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="beyond the dataset"):
        dataset.between(START_S + 3_600, START_S + 7_200).windows(SCHEMA, np.array([START_S + 7_201]))
    with pytest.raises(ConfigError, match="at least one symbol"):
        Dataset.of_mapped({})
    with pytest.raises(ConfigError, match="asks for SOLUSDT"):
        dataset.windows(FeatureSchema(("SOLUSDT",), 1, SCHEMA.blocks), dataset.origins_s())
    with pytest.raises(Incomplete, match="whole_ends"):
        dataset.windows(SCHEMA, np.array([mapped["ETHUSDT"].holes[0].to_s + 10]))
