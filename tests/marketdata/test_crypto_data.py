"""History and live trades in one: joined by id, equal to the offline sequence, honest about what is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trade_sets import START_S

from crypy.domain.errors import ConfigError, Incomplete
from crypy.domain.events import Trade
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.journal import TradeJournal
from crypy.marketdata.schema import CHANNELS, Block, FeatureSchema
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.sequence import feature_sequence
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch
from crypy.testing.clock import ManualClock

US = 1_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
SCHEMA = FeatureSchema(SYMBOLS, 1, (Block(1, 30, CHANNELS), Block(16, 20, CHANNELS)), allow_missing=True)


def tape(symbol: str, seconds: int, seed: int, from_id: int = 1_000) -> list[Trade]:
    """About three trades in two seconds, with some seconds empty."""
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, seconds * US, seconds * 3 // 2)) + START_S * US
    prices = (1e10 * np.exp(np.cumsum(random.normal(scale=1e-4, size=len(times))))).astype(np.int64)
    return [
        Trade(
            symbol, from_id + i, int(price), int(random.integers(1, 10**9)), 5 * i, 5 * i + i % 3, int(at), bool(i % 2)
        )
        for i, (price, at) in enumerate(zip(prices, times, strict=True))
    ]


class Desk:
    """A CryptoData on a clock that follows the trades."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock = ManualClock(START_S * US)
        self.store = TradeStore(folder)
        self.data = CryptoData(SYMBOLS, self.store, self.clock, history_s=2_000, keep_s=400, **options)

    async def at(self, time_us: int) -> None:
        await self.clock.advance(max(0, time_us - self.clock.now_us()) / US)

    async def play(self, trades: list[Trade]) -> None:
        for trade in sorted(trades, key=lambda t: t.time_us):
            await self.at(trade.time_us + 20_000)
            self.data.update(trade)


def offline(tapes: list[list[Trade]], end_s: int) -> Any:
    bars = {
        trades[0].symbol: second_bars(trades[0].symbol, [TradeBatch.of(trades)], START_S, end_s) for trades in tapes
    }
    return feature_sequence(bars, end_s, SCHEMA)


def assert_same(one: Any, other: Any) -> None:
    for ours, theirs in zip(
        (*one.values, *one.known, one.close), (*other.values, *other.known, other.close), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("split", [0.3, 0.9])
async def test_history_and_live_joined_by_id_give_the_offline_sequence(tmp_path: Path, split: float) -> None:
    desk = Desk(tmp_path)
    tapes = [tape("BTCUSDT", 900, 1), tape("ETHUSDT", 900, 2)]
    at_s = START_S + round(900 * split)
    for trades in tapes:
        stored = [t for t in trades if t.time_us < at_s * US + 123_456]
        desk.store.append("binance", trades[0].symbol, TradeBatch.of(stored))
    await desk.at(at_s * US + 200_000)
    states = desk.data.load_history()
    assert [state.note for state in states.values()] == ["", ""]
    last_ids = desk.data.last_ids()
    # The feed goes on behind the last stored id, and may repeat some.
    live = [t for trades in tapes for t in trades if t.id > last_ids[t.symbol] - 3]
    await desk.play(live)
    end_s = START_S + 899
    await desk.at((end_s + 3) * US)
    assert desk.data.sealed_s() >= end_s
    sequence = desk.data.feature_sequence(end_s, SCHEMA)
    assert_same(sequence, offline(tapes, end_s))
    assert all(known.all() for known in sequence.known)
    assert [state.duplicates for state in desk.data.states().values()] == [3, 3]


async def test_without_history_the_first_second_is_left_out_and_the_rest_is_masked(tmp_path: Path) -> None:
    desk = Desk(tmp_path, schema=SCHEMA)
    assert {state.note for state in desk.data.load_history().values()} == {"nothing is stored"}
    assert desk.data.last_ids() == {}
    trades = tape("BTCUSDT", 60, 3)
    await desk.play(trades)
    await desk.at((START_S + 62) * US)
    sequence = desk.data.feature_sequence(START_S + 60)
    whole = second_bars("BTCUSDT", [TradeBatch.of(trades)], START_S, START_S + 60)
    first = trades[0].time_us // US - START_S
    # One close is needed before the first window: that of the first whole second.
    expected = [k >= first + 2 for k in range(30, 60)]
    assert sequence.known[0][0].tolist() == expected
    assert not sequence.known[0][1].any()
    np.testing.assert_allclose(sequence.values[0][0, -10:, 0], np.diff(np.log(whole.close))[-10:], atol=1e-15)
    state = desk.data.states()["BTCUSDT"]
    assert (state.trades, state.last_id, state.history_s) == (
        len(trades),
        trades[-1].id,
        desk.data.sealed_s("BTCUSDT") - START_S - first - 1,
    )
    assert state.price == trades[-1].price_e8 / 1e8
    assert np.isnan(sequence.close[1])


async def test_a_second_that_is_not_sealed_cannot_be_asked_for(tmp_path: Path) -> None:
    desk = Desk(tmp_path, grace_s=1.0)
    await desk.play(tape("BTCUSDT", 20, 3))
    await desk.at((START_S + 20) * US + 900_000)
    with pytest.raises(Incomplete, match="BTCUSDT"):
        desk.data.feature_sequence(START_S + 20, FeatureSchema(("BTCUSDT",), 1, (Block(1, 5, ("returns",)),)))
    await desk.at((START_S + 21) * US + 1)
    desk.data.feature_sequence(START_S + 20, FeatureSchema(("BTCUSDT",), 1, (Block(1, 5, ("returns",)),)))


async def test_while_trades_are_missing_no_second_is_final(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    trades = tape("BTCUSDT", 60, 3)
    await desk.play(trades[:40])
    desk.data.set_whole("BTCUSDT", False)
    sealed_s = trades[39].time_us // US
    await desk.at((START_S + 60) * US)
    assert desk.data.sealed_s("BTCUSDT") == sealed_s
    for trade in trades[40:]:
        desk.data.update(trade)
    desk.data.set_whole("BTCUSDT", True)
    await desk.at((START_S + 62) * US)
    end_s = START_S + 60
    one = FeatureSchema(("BTCUSDT",), 1, (Block(1, 20, CHANNELS),))
    bars = second_bars("BTCUSDT", [TradeBatch.of(trades)], START_S, end_s)
    np.testing.assert_array_equal(
        desk.data.feature_sequence(end_s, one).values[0], feature_sequence({"BTCUSDT": bars}, end_s, one).values[0]
    )
    assert desk.data.corrections("BTCUSDT") == ()


async def test_a_late_trade_corrects_its_second_and_is_recorded(tmp_path: Path) -> None:
    desk = Desk(tmp_path, grace_s=0.1)
    trades = tape("BTCUSDT", 60, 3)
    late = [t for t in trades if t.time_us // US == START_S + 50]
    assert late
    await desk.play([t for t in trades if t.time_us < (START_S + 50) * US])
    await desk.at((START_S + 55) * US)
    assert desk.data.sealed_s("BTCUSDT") == START_S + 54
    for trade in [t for t in trades if t.time_us >= (START_S + 50) * US]:
        desk.data.update(trade)
    await desk.at((START_S + 62) * US)
    one = FeatureSchema(("BTCUSDT",), 1, (Block(1, 20, CHANNELS),))
    bars = second_bars("BTCUSDT", [TradeBatch.of(trades)], START_S, START_S + 60)
    np.testing.assert_array_equal(
        desk.data.feature_sequence(START_S + 60, one).values[0],
        feature_sequence({"BTCUSDT": bars}, START_S + 60, one).values[0],
    )
    corrected = [c.after for c in desk.data.corrections("BTCUSDT")]
    assert corrected[0].time_s == START_S + 50
    assert (corrected[0].count, corrected[0].version) == (int(bars.count[50]), 1)


async def test_a_long_hole_in_the_ids_begins_history_anew_and_a_short_one_does_not(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    trades = tape("BTCUSDT", 300, 3)
    await desk.play([t for t in trades[:100] if t.id not in (1_050, 1_051)])
    assert desk.data.sealed_s("BTCUSDT") > START_S
    assert desk.data.states()["BTCUSDT"].history_s > 0
    assert desk.data.states()["BTCUSDT"].note == ""
    after = [t for t in trades if t.time_us > trades[99].time_us + 61 * US]
    await desk.play(after)
    await desk.at((START_S + 305) * US)
    assert desk.data.sealed_s("BTCUSDT") > 0
    state = desk.data.states()["BTCUSDT"]
    assert state.history_s == state.sealed_s - after[0].time_us // US - 1
    assert state.note.startswith("history begins anew, trades are missing: ids 1100 to ")


async def test_a_trade_from_the_future_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.play(tape("BTCUSDT", 5, 3))
    assert not desk.data.update(Trade("BTCUSDT", 9_999, 1, 1, 1, 1, (START_S + 999) * US, False))
    state = desk.data.states()["BTCUSDT"]
    assert (state.refused, "9999" in state.note) == (1, True)
    assert desk.data.sealed_s("BTCUSDT") < START_S + 10


async def test_history_that_ended_long_ago_or_has_a_hole_is_not_taken_for_whole(tmp_path: Path) -> None:
    desk = Desk(tmp_path, join_s=600)
    trades = tape("BTCUSDT", 900, 1)
    hole = [t for t in trades if not 300 <= t.time_us // US - START_S < 400]
    desk.store.append("binance", "BTCUSDT", TradeBatch.of(hole))
    await desk.at((START_S + 900) * US)
    state = desk.data.load_history()["BTCUSDT"]
    assert 490 <= state.history_s <= 500
    await desk.at((START_S + 1_600) * US)
    other = Desk(tmp_path, join_s=600)
    await other.at((START_S + 1_600) * US)
    assert "too long ago" in other.data.load_history()["BTCUSDT"].note
    assert other.data.last_ids() == {}


async def test_live_trades_go_through_the_journal_into_the_store(tmp_path: Path) -> None:
    store = TradeStore(tmp_path / "store")
    journal = TradeJournal(tmp_path / "journal", lambda symbol, batch: store.append("binance", symbol, batch))
    desk = Desk(tmp_path / "store", journal=journal)
    trades = tape("BTCUSDT", 30, 3)
    await desk.play([*trades, *trades[:5]])
    journal.close()
    stored = store.trades("binance", "BTCUSDT", 0, 2**62)
    np.testing.assert_array_equal(stored.id, [t.id for t in trades])


async def test_symbols_and_schemas_that_nobody_configured_are_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with pytest.raises(ConfigError, match="DOGEUSDT"):
        desk.data.update(Trade("DOGEUSDT", 1, 1, 1, 1, 1, START_S * US, False))
    with pytest.raises(ConfigError, match="schema"):
        desk.data.feature_sequence(START_S)
