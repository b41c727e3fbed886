"""Repair: what is missing or was set aside comes back from the venue, and what cannot is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from history_kit import ARCHIVE, REST, START_US, Answer, FakeVenue, MemoryTransport, equal, make_trades

from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.repair import SymbolRepair, repair
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_locks import only_one
from crypy.marketdata.trade_merge import taken
from crypy.testing.clock import ManualClock
from crypy.venues.binance.history import BinanceHistory

DAY_US = DAY_S * US_PER_S
NOW_US = START_US + 4 * DAY_US
TRADES = make_trades(4_000, seconds=4 * 86_400)
DAYS = ("2025-01-01", "2025-01-02", "2025-01-03", "2025-01-04")
S = "BTCUSDT"


def day_rows(number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.flatnonzero(TRADES.time_us // DAY_US == START_US // DAY_US + number)


def file_of(store: TradeStore, day: str) -> Path:
    return store.root / "trades" / "binance" / S / store.kind / f"{day}.parquet"


class Desk:
    """A store, a venue that has everything, and a clock."""

    def __init__(self, root: Path, rows: np.ndarray[Any, np.dtype[np.int64]] | None = None) -> None:
        self.clock = ManualClock(NOW_US)
        self.venue = FakeVenue({S: TRADES}, NOW_US)
        self.store = TradeStore(root)
        self.store.ingest("binance", S, [TRADES if rows is None else taken(TRADES, rows)])
        self.source = BinanceHistory(MemoryTransport(self.venue), self.clock, ARCHIVE, REST, "aggTrades")  # type: ignore[arg-type]

    async def repair(self, **options: Any) -> SymbolRepair:
        return (await repair(self.store, self.source, self.clock, [S], **options))[S]

    def is_whole(self) -> bool:
        return equal(TradeStore(self.store.root).trades("binance", S, 0, 2**62), TRADES)


async def test_where_all_is_well_the_venue_is_asked_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    found = await desk.repair()
    assert (found.is_whole, found.filled, found.left, desk.venue.asked) == (True, 0, (), [])


async def test_missing_ids_come_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path, np.r_[0:100, 103:2_000, 2_001:3_000, 3_900:4_000])
    found = await desk.repair()
    assert (found.filled, found.left, found.is_whole) == (3 + 1 + 900, (), True)
    assert desk.is_whole()
    assert found.audit.marked == 4
    # Few ids need no archive of a whole day.
    assert not any("2025-01-01.zip" in asked for asked in desk.venue.asked)
    asked = len(desk.venue.asked)
    await desk.repair()
    assert len(desk.venue.asked) == asked


@pytest.mark.parametrize("number", [0, 1, 3])
async def test_a_destroyed_day_is_set_aside_and_comes_back_also_at_the_ends(tmp_path: Path, number: int) -> None:
    desk = Desk(tmp_path)
    assert (await desk.repair()).is_whole
    path = file_of(desk.store, DAYS[number])
    path.write_bytes(path.read_bytes()[:1_000])
    desk.store = TradeStore(tmp_path)
    found = await desk.repair()
    assert len(found.set_aside) == 1
    assert found.set_aside[0].startswith(DAYS[number])
    assert (found.filled, found.left, found.is_whole) == (len(day_rows(number)), (), True)
    assert desk.is_whole()
    asked = len(desk.venue.asked)
    again = await desk.repair()
    assert (again.is_whole, len(desk.venue.asked)) == (True, asked)


async def test_a_store_of_which_nothing_is_left_comes_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for day in DAYS:
        file_of(desk.store, day).write_bytes(b"rubbish")
    desk.store = TradeStore(tmp_path)
    found = await desk.repair()
    assert (found.is_whole, len(found.set_aside)) == (True, 4)
    assert desk.is_whole()


async def test_a_repair_that_was_cut_off_is_gone_on_with(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    file_of(desk.store, DAYS[0]).write_bytes(b"rubbish")
    desk.store = TradeStore(tmp_path)
    desk.venue.fault("/", lambda answer: Answer(403, b"{}"), times=1_000)
    first = await desk.repair()
    assert not first.is_whole
    assert first.left
    desk.venue._faults.clear()  # type: ignore[attr-defined]
    second = await desk.repair()
    assert (second.is_whole, second.set_aside, desk.is_whole()) == (True, (), True)


async def test_what_the_venue_itself_gives_twice_is_left_and_told(tmp_path: Path) -> None:
    wrong = replace(TRADES, price_e8=np.where(np.arange(4_000) == 1_500, 1, TRADES.price_e8))
    desk = Desk(tmp_path)
    desk.venue = FakeVenue({S: wrong}, NOW_US)
    desk.source = BinanceHistory(MemoryTransport(desk.venue), desk.clock, ARCHIVE, REST, "aggTrades")  # type: ignore[arg-type]
    for day in DAYS:
        file_of(desk.store, day).unlink()
    desk.store = TradeStore(tmp_path)
    desk.store.ingest("binance", S, [wrong])
    found = await desk.repair()
    assert not found.is_whole
    assert any("the venue gives the same again" in words for words in found.left)
    assert [bad.fate for bad in found.audit.bad] == ["left"]
    # It is not fetched again every hour.
    asked = len(desk.venue.asked)
    again = await desk.repair()
    assert (again.filled, again.set_aside, len(desk.venue.asked)) == (0, (), asked)
    assert again.left


async def test_what_the_venue_does_not_have_stays_a_gap_and_is_told(tmp_path: Path) -> None:
    rows = np.r_[0:1_000, 1_010:4_000]
    desk = Desk(tmp_path, rows)
    desk.venue = FakeVenue({S: taken(TRADES, rows)}, NOW_US)
    desk.source = BinanceHistory(MemoryTransport(desk.venue), desk.clock, ARCHIVE, REST, "aggTrades")  # type: ignore[arg-type]
    found = await desk.repair()
    assert (found.filled, found.is_whole) == (0, False)
    assert any("did not give 10 trades from id 3000001000" in words for words in found.left)
    assert [gap.missing for gap in found.audit.coverage.gaps] == [10]


async def test_a_halt_is_nothing_to_repair(tmp_path: Path) -> None:
    halted = replace(TRADES, time_us=np.where(np.arange(4_000) < 2_000, TRADES.time_us, TRADES.time_us + 7_200_000_000))
    halted = taken(halted, halted.time_us < NOW_US)
    store = TradeStore(tmp_path)
    store.ingest("binance", S, [halted])
    desk = Desk(tmp_path / "other")
    desk.store = store
    found = await desk.repair()
    assert (found.is_whole, desk.venue.asked) == (True, [])
    assert any(pause.after_id == 3_000_001_999 for pause in found.audit.coverage.pauses)


async def test_days_can_be_fetched_again_by_wish(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    found = await desk.repair(again=(DAYS[2],))
    assert (found.is_whole, found.filled > 0, desk.is_whole()) == (True, True, True)
    assert len(found.audit.coverage.quarantined) == 1
    with pytest.raises(ConfigError, match="2030-01-01 cannot be fetched again"):
        await desk.repair(again=("2030-01-01",))


async def test_while_a_sync_works_on_the_store_a_repair_waits_for_another_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path, np.r_[0:100, 103:4_000])
    with (
        only_one(tmp_path / ".sync.lock", "another sync"),
        pytest.raises(ConfigError, match="another sync is already running"),
    ):
        await desk.repair()
    assert (await desk.repair()).is_whole
