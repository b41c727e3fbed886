"""History, REST and the live stream as one tape: no trade twice, none missing, whatever comes in between."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from history_kit import equal
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_sets import START_S, same_bits, trade_lists

from crypy.domain.events import Trade
from crypy.marketdata.audit import audit
from crypy.marketdata.crypto_data import CryptoData
from crypy.marketdata.journal import TradeJournal
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch
from crypy.testing.clock import ManualClock

US = 1_000_000
S = "BTCUSDT"
SECONDS = 60


class Life:
    """One run of a process on a folder that outlives it. The venue has `tape`, of which `at` have happened at the start."""

    def __init__(self, folder: Path, tape: list[Trade], at: int, data: st.DataObject) -> None:
        self._tape = tape
        self._data = data
        now_us = tape[at - 1].time_us + 1 if at else START_S * US
        self.clock = ManualClock(max(now_us, max((t.time_us for t in tape[:at]), default=0) + 1))
        self.store = TradeStore(folder / "store")
        self.journal = TradeJournal(
            folder / "journal", lambda symbol, batch: self.store.append("binance", symbol, batch)
        )
        self.journal.drain()
        self._sync(tape[:at])
        self.data = CryptoData(
            [S], self.store, self.clock, history_s=SECONDS, keep_s=4 * SECONDS, grace_s=0.0, journal=self.journal
        )
        self.data.load_history()
        # Without history to go on from, what was traded before is unknown: neither a trade whose time ran back nor one that comes
        # late to the second it all began in tells the closes of quiet seconds behind it.
        self._is_joined = S in self.data.last_ids()
        self._unseen_us = max((t.time_us for t in tape[:at]), default=0)
        self._traded_s: set[int] = set()

    def _sync(self, happened: list[Trade]) -> None:
        """What archive and REST give behind the newest stored id: in pages of any size and order that may overlap."""
        last_id = self.store.coverage("binance", S).last_id
        missing = [one for one in happened if last_id is None or one.id > last_id]
        cuts = sorted(self._data.draw(st.lists(st.integers(0, len(missing)), max_size=3)))
        pages = [
            missing[max(0, a - self._data.draw(st.integers(0, 2))) : b] for a, b in pairwise([0, *cuts, len(missing)])
        ]
        for page in self._data.draw(st.permutations(pages)):
            if page and self._data.draw(st.booleans()):
                self.store.ingest("binance", S, [TradeBatch.of(page)])
            elif page:
                self.store.append("binance", S, TradeBatch.of(page))

    def live(self, trades: list[Trade]) -> None:
        """The stream: each trade at least once, now and then an old one again; flushed, drained and sealed at any moment."""
        for number, one in enumerate(trades):
            self.clock._now_us = max(self.clock.now_us(), one.time_us)  # type: ignore[attr-defined]
            if one.time_us >= self._unseen_us:
                self._traded_s.add(one.time_us // US)
            for again in trades[max(0, number - self._data.draw(st.integers(0, 1))) : number + 1]:
                self.data.update(again)
            match self._data.draw(st.integers(0, 9)):
                case 0:
                    self.journal.flush()
                case 1:
                    self.journal.flush()
                    self.journal.drain()
                case 2:
                    self.data.sealed_s()
                case _:
                    pass

    def check_bars(self) -> None:
        """What is in memory is what the trades fold to, as far as it is sealed."""
        end_s = self.data.sealed_s()
        from_s, closes = self.data.closes(S, START_S)
        if len(closes):
            whole = second_bars(
                S, [TradeBatch.of([t for t in self._tape if t.id <= self.data.last_ids()[S]])], START_S, end_s
            )
            known_s = (
                from_s if self._is_joined else min((s for s in self._traded_s if from_s <= s < end_s), default=end_s)
            )
            np.testing.assert_array_equal(closes[known_s - from_s :], whole.close[known_s - START_S :])


@settings(max_examples=30, deadline=None)
@given(trades=trade_lists(seconds=SECONDS, most=50, backwards=True), data=st.data())
def test_any_lives_of_the_process_give_the_same_store_and_the_same_bars(
    tmp_path_factory: pytest.TempPathFactory, trades: list[Trade], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("lives")
    at = data.draw(st.integers(0, len(trades)))
    while at < len(trades):
        life = Life(folder, trades, at, data)
        until = data.draw(st.integers(at, len(trades)))
        life.live(trades[at:until])
        life.check_bars()
        if data.draw(st.booleans()):
            life.journal.close()
        # Else it was killed: what was not flushed is gone. While nothing runs, more is traded.
        at = data.draw(st.integers(until, len(trades)))
    last = Life(folder, trades, len(trades), data)
    stored = TradeStore(last.store.root)
    assert equal(stored.trades("binance", S, 0, 2**62), TradeBatch.of(trades))
    at_once = TradeStore(folder / "at-once")
    at_once.append("binance", S, TradeBatch.of(trades))
    end_s = START_S + SECONDS
    assert stored.coverage("binance", S).fingerprint == at_once.coverage("binance", S).fingerprint
    assert same_bits(stored.bars("binance", S, START_S, end_s), at_once.bars("binance", S, START_S, end_s))
    assert same_bits(stored.bars("binance", S, START_S, end_s), second_bars(S, [TradeBatch.of(trades)], START_S, end_s))
    stored.merge("binance", S)
    at_once.merge("binance", S)
    (one,), (other,) = (sorted(s.root.glob("trades/**/*.parquet"))[:1] or [folder] for s in (stored, at_once))
    if trades:
        assert one.read_bytes() == other.read_bytes()


def trade(id_: int, second: float, price: int = 100) -> Trade:
    return Trade(S, id_, price, 10, id_, id_, round((START_S + second) * US), False)


async def test_live_trades_are_in_the_store_within_five_seconds(tmp_path: Path) -> None:
    clock, store = ManualClock(START_S * US), TradeStore(tmp_path / "store")
    journal = TradeJournal(tmp_path / "journal", lambda symbol, batch: store.append("binance", symbol, batch))
    data = CryptoData([S], store, clock, journal=journal)
    task = asyncio.create_task(journal.run(clock))
    data.update(trade(1, 0.0))
    for _ in range(4):
        await clock.advance(1.0)
        written = journal.written
        async with asyncio.timeout(20):
            # The writer's thread has done this second's work when it waits for the next one.
            while not clock._sleepers:  # type: ignore[attr-defined]  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert journal.written >= written
    assert TradeStore(store.root).trades("binance", S, 0, 2**62).id.tolist() == [1]
    assert audit(TradeStore(store.root), "binance", S, clock).is_sound
    task.cancel()
    await asyncio.wait({task})
