"""What a leaping clock does to live seconds: nothing is invented, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from trade_sets import START_S

from crypy.domain.events import Trade
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.journal import TradeJournal
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch
from crypy.testing.clock import ManualClock

US = 1_000_000
S = "BTCUSDT"


def trade(id_: int, second: float) -> Trade:
    return Trade(S, id_, 100 + id_, 10, id_, id_, round((START_S + second) * US), False)


class Desk:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(START_S * US)
        self.store = TradeStore(folder / "store")
        self.journal = TradeJournal(
            folder / "journal", lambda symbol, batch: self.store.append("binance", symbol, batch)
        )
        self.data = CryptoData(
            [S], self.store, self.clock, history_s=8_000, keep_s=8_000, grace_s=1.0, journal=self.journal
        )
        self.tape: list[Trade] = []

    def leap_to(self, second: float) -> None:
        self.clock._now_us = round((START_S + second) * US)  # type: ignore[attr-defined]

    def play(self, trades: list[Trade], ours_less_s: float = 0.0) -> None:
        """Trades that arrive when the venue's time says so, on our clock, which may be behind; seconds are asked for all along."""
        for one in trades:
            self.leap_to(one.time_us / US - START_S - ours_less_s)
            self.data.update(one)
            self.data.sealed_s()
            self.tape.append(one)

    def check(self) -> None:
        """Seconds in memory and rows in the store are those of all trades that were played."""
        end_s = self.data.sealed_s()
        from_s, closes = self.data.closes(S, START_S)
        whole = second_bars(S, [TradeBatch.of(self.tape)], START_S, end_s)
        np.testing.assert_array_equal(closes, whole.close[from_s - START_S :])
        self.journal.flush()
        self.journal.drain()
        assert self.store.trades("binance", S, 0, 2**62).id.tolist() == [one.id for one in self.tape]


def test_a_machine_that_slept_seals_no_second_that_it_did_not_see(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play([trade(i, i * 0.7) for i in range(30)])
    sealed_s = desk.data.sealed_s()
    # An hour asleep. The socket is dead and does not know it yet: every second looks quiet.
    desk.leap_to(3_600.0)
    assert desk.data.sealed_s() == sealed_s
    desk.leap_to(3_605.0)
    assert desk.data.sealed_s() == sealed_s
    # The feed connects anew and fetches what was missed, the oldest first; only then time seals again.
    missed = [trade(30 + i, 21.0 + i * 3.0) for i in range(1_195)]
    for one in missed:
        desk.data.update(one)
        desk.tape.append(one)
    assert desk.data.corrections(S) == ()
    desk.leap_to(3_611.0)
    assert desk.data.sealed_s() == START_S + 3_610
    desk.check()


def test_a_short_leap_is_put_right_by_what_comes_then(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play([trade(i, i * 0.7) for i in range(30)])
    desk.leap_to(60.0)
    assert desk.data.sealed_s() == START_S + 59
    desk.play([trade(30 + i, 21.0 + i * 0.7) for i in range(60)])
    assert desk.data.corrections(S) != ()
    assert max(c.after.version for c in desk.data.corrections(S)) >= 1
    desk.leap_to(64.0)
    desk.check()


def test_a_clock_that_is_behind_is_found_out_by_trades_that_agree(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play([trade(i, i * 0.7) for i in range(30)])
    # The machine slept ten minutes and its clock did not notice.
    later = [trade(30 + i, 620.0 + i * 0.5) for i in range(50)]
    desk.play(later[:19], ours_less_s=600.0)
    state = desk.data.states()[S]
    assert (state.refused, state.last_id) == (19, 29)
    assert "is from" in state.note
    desk.play(later[19:], ours_less_s=600.0)
    state = desk.data.states()[S]
    assert (state.refused, state.last_id) == (0, 79)
    assert state.note == "our clock is 600 s behind the venue's"
    assert desk.data.holes() == {S: ()}
    desk.check()


def test_one_wrong_time_among_right_ones_is_never_believed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for i in range(100):
        wrong = i % 3 == 2
        one = trade(i, 9_999.0 if wrong else i * 0.1)
        desk.leap_to(i * 0.1)
        assert desk.data.update(one) is not wrong
        if not wrong:
            desk.tape.append(one)
    assert desk.data.states()[S].refused == 33
    assert desk.data.sealed_s() <= START_S + 10
    # What was not believed is a hole, and the store's gap: repair fetches it.
    assert desk.data.holes()[S][:2] == ((2, 2), (5, 5))
    desk.check()
    assert len(desk.store.coverage("binance", S).gaps) == 33


def test_wrong_times_that_do_not_agree_with_each_other_are_not_believed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play([trade(i, i * 0.1) for i in range(10)])
    for i in range(60):
        assert not desk.data.update(trade(10 + i, 1_000.0 + 500.0 * (i % 2)))
    assert desk.data.states()[S].refused == 60


def test_a_clock_that_is_set_back_takes_no_second_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play([trade(i, i * 0.7) for i in range(30)])
    desk.leap_to(23.0)
    sealed_s = desk.data.sealed_s()
    desk.leap_to(-50.0)
    assert desk.data.sealed_s() == sealed_s
    desk.data.update(trade(30, 9.9))
    desk.tape.append(trade(30, 9.9))
    desk.leap_to(25.0)
    desk.check()
