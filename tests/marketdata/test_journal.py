"""Live trades are on disk within seconds and in the store soon after, whatever ends the process."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_sets import START_S

from crypy.domain.errors import ConfigError, DataError
from crypy.domain.events import Trade
from crypy.marketdata.journal import TradeJournal
from crypy.marketdata.journal_file import batch_of, decode, encode
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trades import TradeBatch
from crypy.testing.clock import ManualClock


def trade(id_: int, symbol: str = "BTCUSDT") -> Trade:
    return Trade(symbol, id_, 100 + id_, 10, 2 * id_, 2 * id_ + 1, START_S * 1_000_000 + id_, id_ % 2 == 0, id_ + 5)


class Sink:
    def __init__(self) -> None:
        self.ids: dict[str, list[int]] = {}
        self.fails: list[Exception] = []

    def __call__(self, symbol: str, batch: TradeBatch) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.ids.setdefault(symbol, []).extend(batch.id.tolist())


def rows_of(data: bytes) -> list[int]:
    return decode(data)[0][:, 0].tolist()


def test_records_give_back_every_field() -> None:
    trades = [trade(3), trade(1), trade(1), Trade("BTCUSDT", 2, 0, 0, -1, -1, 7, True, 8)]
    rows, torn = decode(encode(trades[:2]) + encode(trades[2:]))
    assert torn == 0
    assert rows[0].tolist() == [3, 103, 10, 6, 7, START_S * 1_000_000 + 3, 0, 8]
    batch = batch_of(rows)
    expected = TradeBatch.of([trades[1], trades[3], trades[0]])
    for name in ("id", "price_e8", "quantity_e8", "first_id", "last_id", "time_us", "buyer_is_maker"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(expected, name))
        assert getattr(batch, name).dtype == getattr(expected, name).dtype


@settings(deadline=None)
@given(length=st.integers(0, 500))
def test_a_tail_torn_anywhere_costs_only_the_last_record(length: int) -> None:
    first, second = encode([trade(1), trade(2)]), encode([trade(3), trade(4), trade(5)])
    kept = (first + second)[:length]
    expected = [1, 2, 3, 4, 5] if length >= len(first + second) else [1, 2] if length >= len(first) else []
    assert rows_of(kept) == expected
    # What is appended after a crash is read all the same.
    assert rows_of(kept + encode([trade(9)])) == [*expected, 9]


@settings(deadline=None)
@given(at=st.integers(0, 155), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_and_costs_only_its_record(at: int, bit: int) -> None:
    parts = [encode([trade(1), trade(2)]), encode([trade(3)]), encode([trade(4)])]
    spoilt = bytearray(b"".join(parts))
    at = at % len(spoilt)
    spoilt[at] ^= 1 << bit
    kept = rows_of(bytes(spoilt))
    ends = np.cumsum([len(part) for part in parts])
    hit = int(np.searchsorted(ends, at, side="right"))
    assert kept == [id_ for part, ids in enumerate([[1, 2], [3], [4]]) if part != hit for id_ in ids]
    assert decode(bytes(spoilt))[1] == len(parts[hit])


def test_trades_reach_the_store_once_and_in_the_right_symbol(tmp_path: Path) -> None:
    store = TradeStore(tmp_path / "store")
    journal = TradeJournal(tmp_path / "journal", lambda symbol, batch: store.append("binance", symbol, batch))
    for id_ in range(10):
        journal.add(trade(id_))
        journal.add(trade(id_ + 50, "ETHUSDT"))
        journal.flush()
    moved = journal.close()
    assert sorted((m.symbol, m.trades, m.torn_bytes) for m in moved) == [("BTCUSDT", 10, 0), ("ETHUSDT", 10, 0)]
    assert list((tmp_path / "journal").iterdir()) == []
    for symbol, first in (("BTCUSDT", 0), ("ETHUSDT", 50)):
        stored = store.trades("binance", symbol, 0, 2**62)
        np.testing.assert_array_equal(stored.id, np.arange(first, first + 10))
    assert (journal.written, journal.stored, journal.fault) == (20, 20, "")


async def test_while_it_runs_trades_are_durable_after_each_interval_and_stored_now_and_then(tmp_path: Path) -> None:
    clock, sink = ManualClock(), Sink()
    journal = TradeJournal(tmp_path, sink, sync_s=2.0, drain_s=10.0)
    task = asyncio.create_task(journal.run(clock))

    async def until(written: int, stored: int) -> None:
        async with asyncio.timeout(10):
            while (journal.written, journal.stored) != (written, stored):  # noqa: ASYNC110 - a thread's work, seen only in its counts
                await asyncio.sleep(0.002)

    journal.add(trade(1))
    await clock.advance(2.0)
    await until(1, 0)
    assert rows_of((tmp_path / "BTCUSDT.0.journal").read_bytes()) == [1]
    for id_ in range(2, 7):
        journal.add(trade(id_))
        await clock.advance(2.0)
        await until(id_, 0 if id_ < 5 else 5)
    journal.add(trade(7))
    task.cancel()
    await asyncio.wait({task})
    # What came before the end is on disk, and the next start takes it to the store.
    assert rows_of((tmp_path / "BTCUSDT.1.journal").read_bytes()) == [6, 7]
    TradeJournal(tmp_path, sink).drain()
    assert sink.ids == {"BTCUSDT": [1, 2, 3, 4, 5, 6, 7]}


def test_kill_9_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from crypy.domain.events import Trade
        from crypy.marketdata.journal import TradeJournal
        journal = TradeJournal(Path(sys.argv[1]), lambda symbol, batch: None)
        for id_ in range(10**9):
            journal.add(Trade("BTCUSDT", id_, 1, 1, id_, id_, id_, False))
            if id_ % 100 == 99:
                journal.flush()
                print(id_, flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child.stdout as lines:
        promised = [int(lines.readline()) for _ in range(20)][-1]
        os.kill(child.pid, signal.SIGKILL)
        promised = max([promised, *(int(line) for line in lines if line.endswith("\n"))])
    child.wait()
    sink = Sink()
    TradeJournal(tmp_path, sink).drain()
    ids = sink.ids["BTCUSDT"]
    assert ids == list(range(len(ids)))
    assert len(ids) > promised


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Files of this process may not grow past `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_is_told_loses_nothing_and_is_tried_again(tmp_path: Path) -> None:
    sink = Sink()
    journal = TradeJournal(tmp_path, sink)
    journal.add(trade(1))
    journal.flush()
    with full_disk(200):
        journal.add(trade(2))
        journal.add(trade(3))
        journal.flush()
        assert "live trades of BTCUSDT cannot be written" in journal.fault
        # Nothing half-written stays behind.
        assert rows_of((tmp_path / "BTCUSDT.0.journal").read_bytes()) == [1]
        assert decode((tmp_path / "BTCUSDT.0.journal").read_bytes())[1] == 0
        journal.add(trade(4))
        journal.flush()
    journal.flush()
    assert journal.fault == ""
    journal.drain()
    assert sink.ids == {"BTCUSDT": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("error", "stays"), [(ConfigError("the disk is full"), True), (DataError("told in two ways"), False)]
)
def test_trades_that_the_store_does_not_take_are_kept(tmp_path: Path, error: Exception, stays: bool) -> None:
    sink = Sink()
    sink.fails = [error]
    journal = TradeJournal(tmp_path, sink)
    journal.add(trade(1))
    journal.close()
    assert str(error) in journal.fault
    (kept,) = tmp_path.iterdir()
    assert rows_of(kept.read_bytes()) == [1]
    journal.drain()
    assert sink.ids == ({"BTCUSDT": [1]} if stays else {})
