"""What live saw at a moment can be had again, bit for bit, after any restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_sets import START_S, same_bits, trade_lists

from crypy.domain.events import Trade
from crypy.marketdata.bars import Bars
from crypy.marketdata.coverage import Coverage
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.late_trades import LateTrade, LateTrades, bars_as_of
from crypy.marketdata.live_record import Frontier, LiveRecord
from crypy.marketdata.sealing import SecondFold, as_of
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch
from crypy.testing.clock import ManualClock

US = 1_000_000
S = "BTCUSDT"


def trade(id_: int, second: float, price: int = 100) -> Trade:
    return Trade(S, id_, price, 10, id_, id_, round((START_S + second) * US), False)


@settings(max_examples=60, deadline=None)
@given(trades=trade_lists(seconds=30, most=40, backwards=True), every=st.integers(1, 5), data=st.data())
def test_as_of_any_moment_gives_what_was_sealed_then(
    tmp_path_factory: pytest.TempPathFactory, trades: list[Trade], every: int, data: st.DataObject
) -> None:
    store = TradeStore(tmp_path_factory.mktemp("as_of"))
    fold = SecondFold(S, START_S, grace_us=0)
    seen: list[tuple[int, Bars]] = []
    for number, event in enumerate(trades):
        fold.update(event)
        if number % every == 0:
            now_us = (START_S + 100 + number) * US
            fold.seal(now_us, by_time=False)
            if fold.sealed_s > START_S:
                seen.append((now_us, fold._sums.bars(START_S, fold.sealed_s)))  # type: ignore[attr-defined]
    fold.seal((START_S + 200) * US)
    if trades:
        store.append("binance", S, TradeBatch.of(trades))
    late = [LateTrade(id_, c.after.time_s * US, c.applied_us) for c in fold.take_corrections() for id_ in c.ids]
    LateTrades(store, "binance", S).add(late)
    # Another process, later.
    again = TradeStore(store.root)
    for now_us, bars in seen:
        later = data.draw(st.integers(START_S, bars.end_s - 1))
        assert same_bits(bars_as_of(again, "binance", S, START_S, bars.end_s, now_us), bars)
        part = bars_as_of(again, "binance", S, later, bars.end_s, now_us)
        rows = slice(later - START_S, None)
        np.testing.assert_array_equal(part.close, bars.close[rows])
        # The corrections in memory tell the same.
        final = again.bars("binance", S, START_S, bars.end_s)
        assert same_bits(as_of(final, fold.corrections, now_us), bars)


def test_the_list_of_late_trades_outlives_a_torn_line(tmp_path: Path) -> None:
    late = LateTrades(TradeStore(tmp_path), "binance", S)
    assert late.read() == ()
    late.add([LateTrade(5, 50, 500), LateTrade(3, 30, 300)])
    late.path.write_bytes(late.path.read_bytes() + b"[7,70,")
    assert [one.id for one in late.read()] == [3, 5]
    late.add([LateTrade(9, 90, 900), LateTrade(3, 30, 999)])
    # Each once, as it was first known.
    assert late.read() == (LateTrade(3, 30, 300), LateTrade(5, 50, 500), LateTrade(9, 90, 900))


def test_a_corrected_store_has_another_fingerprint_and_gives_both_views(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    store.append("binance", S, TradeBatch.of([trade(1, 0.5), trade(2, 5.5, 130)]))
    before: Coverage = store.coverage("binance", S)
    seen = store.bars("binance", S, START_S, START_S + 6)
    store.append("binance", S, TradeBatch.of([trade(3, 3.5, 170)]))
    LateTrades(store, "binance", S).add([LateTrade(3, trade(3, 3.5).time_us, (START_S + 9) * US)])
    assert store.coverage("binance", S).fingerprint != before.fingerprint
    assert same_bits(bars_as_of(store, "binance", S, START_S, START_S + 6, (START_S + 8) * US), seen)
    now = bars_as_of(store, "binance", S, START_S, START_S + 6, (START_S + 9) * US)
    assert now.close[3:5].tolist() == [1.7e-6, 1.7e-6]
    # A range that begins behind the late trade carries the close of then.
    part = bars_as_of(store, "binance", S, START_S + 4, START_S + 5, (START_S + 8) * US)
    assert part.close.tolist() == [1e-6]


class Run:
    """One life of a process that follows a symbol; the folder outlives it."""

    def __init__(self, folder: Path, at_s: float) -> None:
        self.clock = ManualClock(round((START_S + at_s) * US))
        self.pace = ManualClock()
        self.store = TradeStore(folder / "store")
        self.data = CryptoData([S], self.store, self.clock, history_s=600, keep_s=400, grace_s=0.5)
        self.record = LiveRecord(folder / "frontier.json", self.store, "binance", self.data, self.clock)
        self.late = self.record.recover()
        self.data.load_history()

    async def look(self) -> None:
        """Let the record be written once."""
        task = asyncio.create_task(self.record.run(self.pace))
        await self.pace.advance(0.5)
        task.cancel()
        await asyncio.wait({task})

    def take(self, *trades: Trade) -> None:
        for one in trades:
            self.data.update(one)

    def late_ids(self) -> list[int]:
        return [one.id for one in LateTrades(self.store, "binance", S).read()]


async def test_a_trade_that_came_late_while_live_is_known_as_such_after_a_restart(tmp_path: Path) -> None:
    run = Run(tmp_path, 0.0)
    tape = [trade(id_, id_ * 0.8, 100 + id_) for id_ in range(100)]
    run.store.append("binance", S, TradeBatch.of(tape))
    run = Run(tmp_path, 80.1)
    await run.clock.advance(5.0)
    sealed_s = run.data.sealed_s()
    assert sealed_s == START_S + 84
    seen = run.data.closes(S, START_S + 70)[1].tolist()
    applied_us = run.clock.now_us()
    late = trade(100, 82.5, 500)
    run.take(late)
    run.data.sealed_s()
    await run.look()
    run.store.append("binance", S, TradeBatch.of([late]))
    assert run.late_ids() == [100]
    assert run.data.closes(S, START_S + 70)[1].tolist() != seen
    again = Run(tmp_path, 90.0)
    assert again.late == {}
    bars = bars_as_of(again.store, "binance", S, START_S + 70, sealed_s, applied_us - 1)
    assert bars.close.tolist() == seen
    assert bars_as_of(again.store, "binance", S, START_S + 70, sealed_s, applied_us).close[-1] == 5e-6


async def test_a_trade_that_came_between_a_kill_and_the_next_start_was_late(tmp_path: Path) -> None:
    run = Run(tmp_path, 0.0)
    run.store.append("binance", S, TradeBatch.of([trade(id_, id_ * 0.8) for id_ in range(100)]))
    run = Run(tmp_path, 80.1)
    await run.clock.advance(5.0)
    seen = run.data.closes(S, START_S + 70)[1].tolist()
    sealed_s, killed_us = run.data.sealed_s(), run.clock.now_us()
    await run.look()
    # Killed. The venue had one more trade of a second that was sealed, and one of a second that was not.
    run.store.append("binance", S, TradeBatch.of([trade(100, 82.5, 500), trade(101, 84.7, 600)]))
    again = Run(tmp_path, 99.0)
    assert again.late == {S: 1}
    assert again.late_ids() == [100]
    assert bars_as_of(again.store, "binance", S, START_S + 70, sealed_s, killed_us).close.tolist() == seen
    # Known already: a third start finds nothing new.
    await again.look()
    assert Run(tmp_path, 100.0).late == {}


async def test_holes_are_remembered_over_restarts_until_they_are_filled(tmp_path: Path) -> None:
    run = Run(tmp_path, 0.0)
    tape = [trade(id_, id_ * 0.8, 100 + id_) for id_ in range(120)]
    run.store.append("binance", S, TradeBatch.of(tape[:100]))
    run = Run(tmp_path, 80.1)
    live = [*tape[100:110], *tape[113:]]
    run.take(*live)
    run.store.append("binance", S, TradeBatch.of(live))
    run.data.sealed_s()
    assert run.data.holes() == {S: ((110, 112),)}
    await run.look()
    again = Run(tmp_path, 97.0)
    await again.look()
    third = Run(tmp_path, 98.0)
    third.store.append("binance", S, TradeBatch.of(tape[110:112]))
    assert third.record.note_filled(S) == 2
    await third.look()
    assert third.late_ids() == [110, 111]
    third.store.append("binance", S, TradeBatch.of(tape[112:113]))
    assert Run(tmp_path, 99.0).late == {S: 1}


async def test_trades_that_fill_a_hole_while_live_correct_its_seconds(tmp_path: Path) -> None:
    run = Run(tmp_path, 0.0)
    tape = [trade(id_, id_ * 0.8, 100 + id_) for id_ in range(120)]
    run.store.append("binance", S, TradeBatch.of(tape[:100]))
    run = Run(tmp_path, 80.1)
    run.take(*tape[100:110], *tape[113:])
    run.data.sealed_s()
    assert run.data.amend(S, TradeBatch.of(tape[105:114])) == 3
    assert run.data.holes() == {S: ()}
    # A second time changes nothing.
    assert run.data.amend(S, TradeBatch.of(tape[105:114])) == 0
    whole = TradeStore(tmp_path / "whole")
    whole.append("binance", S, TradeBatch.of(tape))
    end_s = run.data.sealed_s()
    from_s, closes = run.data.closes(S, START_S + 30)
    np.testing.assert_array_equal(closes, whole.bars("binance", S, from_s, end_s).close)
    assert sorted(id_ for c in run.data.corrections(S) for id_ in c.ids) == [110, 111, 112]


def test_a_record_that_cannot_be_written_says_so_and_loses_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path, 0.0)
    (tmp_path / "store").mkdir(exist_ok=True)
    (tmp_path / "store" / "late").write_text("in the way")
    run.record.note(S, TradeBatch.of([trade(1, 0.5)]))
    run.record._write({})  # type: ignore[attr-defined]
    assert "cannot be written" in run.record.fault
    (tmp_path / "store" / "late").unlink()
    run.record._write({S: Frontier(1, START_S, 1)})  # type: ignore[attr-defined]
    assert run.record.fault == ""
    assert run.late_ids() == [1]
