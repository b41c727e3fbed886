"""The audit believes nothing but the bytes, sets bad days aside, and marks what it has proved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from history_kit import START_US, equal, make_trades
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError
from crypy.domain.times import DAY_S, US_PER_S
from crypy.marketdata.audit import SymbolAudit, audit
from crypy.marketdata.audit_marks import AUDIT_VERSION, AuditMarks
from crypy.marketdata.store import TradeStore
from crypy.marketdata.trade_files import write_trades
from crypy.marketdata.trade_merge import taken
from crypy.marketdata.trades import TradeBatch
from crypy.testing.clock import ManualClock

DAYS = ("2025-01-01", "2025-01-02", "2025-01-03")
DAY_US = DAY_S * US_PER_S
TRADES = make_trades(3_000, seconds=3 * 86_400)
S = "BTCUSDT"


def clock() -> ManualClock:
    return ManualClock(START_US + 3 * DAY_US)


def stored(root: Path) -> TradeStore:
    store = TradeStore(root)
    store.ingest("binance", S, [TRADES])
    return store


def file_of(store: TradeStore, day: str) -> Path:
    return store.root / "trades" / "binance" / S / store.kind / f"{day}.parquet"


def day_of(number: int) -> TradeBatch:
    return taken(TRADES, TRADES.time_us // DAY_US == START_US // DAY_US + number)


def run(store: TradeStore, **options: bool | tuple[str, ...]) -> SymbolAudit:
    # A store that knows nothing of what another one wrote: no facts are remembered.
    return audit(TradeStore(store.root, store.kind), "binance", S, clock(), **options)  # type: ignore[arg-type]


def quarantined(store: TradeStore) -> list[str]:
    return sorted(path.name for path in store.quarantine("binance", S).glob("*") if path.suffix != ".json")


def test_sound_history_passes_and_each_day_is_marked_with_its_content(tmp_path: Path) -> None:
    store = stored(tmp_path)
    found = run(store)
    assert (found.is_sound, found.days, found.rows, found.marked) == (True, 3, 3_000, 3)
    marks = AuditMarks(store, "binance", S).read().marks
    assert sorted(marks) == list(DAYS)
    first = day_of(0)
    assert (marks[DAYS[0]].first_single, marks[DAYS[0]].last_single) == (first.first_id[0], first.last_id[-1])
    assert (marks[DAYS[0]].rows, marks[DAYS[0]].version) == (len(first), AUDIT_VERSION)
    kept = json.loads((tmp_path / "audit" / "binance" / S / "aggTrades.json").read_bytes())
    assert sorted(kept["marks"]) == list(DAYS)
    told = found.to_json()
    assert {"first_id", "last_id", "rows", "first_time", "last_time", "gaps", "quarantined"} <= set(told)
    assert told["audited"] == {"days": 3, "rows": 3_000, "marked": 3, "version": AUDIT_VERSION}


def test_what_is_marked_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    store = stored(tmp_path)
    assert run(store, only_new=True).days == 3
    assert run(store, only_new=True).days == 0
    last, inside = TRADES[-1:], TRADES.last_id[-1:] + 1
    store.append("binance", S, replace(last, id=last.id + 1, first_id=inside, last_id=inside))
    again = run(store, only_new=True)
    assert again.days == 1
    assert run(store).days == 3


def test_a_file_that_somebody_wrote_to_is_proved_again_whatever_its_footer_says(tmp_path: Path) -> None:
    store = stored(tmp_path)
    run(store)
    flip_a_bit(file_of(store, DAYS[2]))
    assert [bad.day for bad in run(store, only_new=True).bad] == [DAYS[2]]


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_rows_under_the_footer(path: Path) -> None:
    """A file of sound pages whose footer promises other rows."""
    with pq.ParquetFile(path) as file:
        table, facts = file.read(), file.metadata.metadata[b"crypy.trades"]
    # Removing a row by a foreign tool that keeps the footer's notes.
    pq.write_table(table.slice(1).replace_schema_metadata({b"crypy.trades": facts}), path)


@pytest.mark.parametrize("destroy", [flip_a_bit, cut_short, empty, other_rows_under_the_footer])
def test_a_damaged_file_is_set_aside_with_the_reason_and_what_it_held_is_a_gap(
    tmp_path: Path, destroy: Callable[[Path], None]
) -> None:
    store = stored(tmp_path)
    run(store)
    destroy(file_of(store, DAYS[1]))
    found = run(store)
    assert [(bad.day, bad.fate) for bad in found.bad] == [(DAYS[1], "set aside")]
    assert not file_of(store, DAYS[1]).exists()
    (name,) = quarantined(store)
    assert name.startswith(f"{DAYS[1]}.parquet.")
    (note,) = found.coverage.quarantined
    assert note.reason == "; ".join(found.bad[0].reasons)
    assert note.file == f"quarantine/binance/{S}/{name}"
    (gap,) = found.coverage.gaps
    assert gap.missing == len(day_of(1))
    assert not found.is_sound
    # The same rows are no doubtful content: brought back, they pass.
    store.append("binance", S, day_of(1))
    back = run(store)
    assert (back.is_sound, back.marked) == (True, 3)
    assert [note.file for note in back.coverage.quarantined] == [note.file]


def spoilt(number: int, row: int, **values: int) -> TradeBatch:
    batch = day_of(number)
    columns = {name: getattr(batch, name).copy() for name in values}
    for name, value in values.items():
        columns[name][row] = value
    return replace(batch, **columns)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"price_e8": 0}, "its price is not above zero"),
        ({"price_e8": 1}, "times off its neighbours' median"),
        ({"quantity_e8": -3}, "its quantity is not above zero"),
        ({"quantity_e8": 2**62}, "times its neighbours' median"),
        ({"time_us": START_US}, "its time is not in the day"),
        ({"time_us": START_US + DAY_US}, "before that of an earlier id"),
        ({"first_id": 5, "last_id": 5}, "do not go on where the aggregate before it ended"),
    ],
)
def test_rows_that_cannot_be_are_set_aside_once_and_then_left_to_a_person(
    tmp_path: Path, values: dict[str, int], reason: str
) -> None:
    store = stored(tmp_path)
    wrong = spoilt(1, 500, **values)
    write_trades(file_of(store, DAYS[1]), [wrong])
    found = run(store)
    (bad,) = found.bad
    assert (bad.day, bad.fate, found.marked) == (DAYS[1], "set aside", 2)
    assert any(reason in words for words in bad.reasons)
    assert any(str(wrong.id[500]) in words for words in bad.reasons) or "go on" in reason
    # The venue gives the very same again: it is not thrown away for ever, and no model may use it.
    write_trades(file_of(store, DAYS[1]), [wrong])
    again = run(store)
    assert [(one.day, one.fate) for one in again.bad] == [(DAYS[1], "left")]
    assert (again.marked, len(quarantined(store)), again.is_sound) == (2, 1, False)
    assert run(store, only_new=True).days == 1
    # A person believes it.
    accepted = run(store, accept=(DAYS[1],))
    assert (accepted.bad, accepted.marked) == ((), 3)
    mark = AuditMarks(store, "binance", S).read().marks[DAYS[1]]
    assert reason in mark.accepted
    assert run(store, only_new=True).days == 0


def test_days_that_are_not_there_cannot_be_accepted(tmp_path: Path) -> None:
    store = stored(tmp_path)
    with pytest.raises(ConfigError, match="2024-12-31 cannot be accepted"):
        run(store, accept=("2024-12-31",))
    cut_short(file_of(store, DAYS[0]))
    with pytest.raises(ConfigError, match="its files cannot be read"):
        run(store, accept=(DAYS[0],))
    assert file_of(store, DAYS[0]).exists()


def test_a_file_under_another_days_name_is_recognised(tmp_path: Path) -> None:
    store = stored(tmp_path)
    file_of(store, DAYS[1]).replace(file_of(store, "2025-02-01"))
    found = audit(store, "binance", S, ManualClock(START_US + 90 * DAY_US))
    assert [bad.day for bad in found.bad] == ["2025-02-01"]
    assert "its time is not in the day" in found.bad[0].reasons[0]


def test_ids_in_two_days_are_recognised_and_both_days_are_fetched_again(tmp_path: Path) -> None:
    store = stored(tmp_path)
    third = day_of(2)
    shifted = replace(third, id=third.id - 5, time_us=third.time_us)
    write_trades(file_of(store, DAYS[2]), [shifted])
    found = run(store)
    assert [(bad.day, bad.fate) for bad in found.bad] == [(DAYS[1], "set aside"), (DAYS[2], "set aside")]
    assert found.bad[0].reasons == (f"it shares ids with {DAYS[2]}",)


def test_days_whose_ids_run_the_other_way_are_recognised(tmp_path: Path) -> None:
    store = stored(tmp_path)
    third = day_of(2)
    write_trades(file_of(store, DAYS[2]), [replace(third, id=third.id - 2_999_999_000)])
    assert DAYS[2] in [bad.day for bad in run(store).bad]


def test_ids_inside_aggregates_go_on_over_midnight(tmp_path: Path) -> None:
    store = stored(tmp_path)
    third = day_of(2)
    write_trades(file_of(store, DAYS[2]), [replace(third, first_id=third.first_id + 3, last_id=third.last_id + 3)])
    (bad,) = run(store).bad
    assert bad.day == DAYS[2]
    assert "inside its first aggregate" in bad.reasons[0]
    # Also where only one of the two days is looked at.
    store = stored(tmp_path / "other")
    run(store)
    write_trades(file_of(store, DAYS[2]), [replace(third, first_id=third.first_id + 3, last_id=third.last_id + 3)])
    assert [bad.day for bad in run(store, only_new=True).bad] == [DAYS[2]]


def test_a_day_long_before_there_was_anything_to_trade_was_written_in_another_unit(tmp_path: Path) -> None:
    store = stored(tmp_path)
    wrong = day_of(2)
    store.append("binance", S, replace(wrong, id=wrong.id + 10_000, time_us=wrong.time_us // 1_000))
    found = run(store)
    assert [bad.day for bad in found.bad] == ["1970-01-21"]
    assert "another unit" in " ".join(found.bad[0].reasons)


def test_days_that_are_still_to_come_are_no_fault_unless_they_are_years_ahead(tmp_path: Path) -> None:
    store = stored(tmp_path)
    assert audit(store, "binance", S, ManualClock(START_US)).is_sound
    assert len(audit(store, "binance", S, ManualClock(START_US - 400 * DAY_US)).bad) == 3


def test_bars_that_are_not_those_of_the_trades_are_made_again(tmp_path: Path) -> None:
    store = stored(tmp_path)
    start_s = START_US // US_PER_S
    right = store.bars("binance", S, start_s, start_s + 3 * DAY_S)
    path = tmp_path / "bars" / "binance" / S / "aggTrades" / f"{DAYS[0]}.parquet"
    assert run(store).bars_made_again == ()
    table = pq.read_table(path)
    volume = table.column("volume").to_numpy().copy()
    volume[np.flatnonzero(volume)[5]] += 1e-8
    pq.write_table(table.set_column(4, "volume", [volume]), path)
    assert store.bars("binance", S, start_s, start_s + DAY_S).volume.sum() != right.volume[:DAY_S].sum()
    found = run(store)
    assert (found.bars_made_again, found.is_sound) == ((DAYS[0],), True)
    np.testing.assert_array_equal(store.bars("binance", S, start_s, start_s + 3 * DAY_S).volume, right.volume)


def test_a_damaged_file_of_marks_marks_nothing(tmp_path: Path) -> None:
    store = stored(tmp_path)
    run(store)
    path = AuditMarks(store, "binance", S).path
    path.write_bytes(path.read_bytes()[:50])
    assert run(store, only_new=True).days == 3
    assert run(store, only_new=True).days == 0


def test_a_mark_of_an_older_audit_does_not_hold(tmp_path: Path) -> None:
    store = stored(tmp_path)
    run(store)
    path = AuditMarks(store, "binance", S).path
    path.write_bytes(
        path.read_bytes().replace(b'"version": %d' % AUDIT_VERSION, b'"version": %d' % (AUDIT_VERSION - 1))
    )
    assert run(store, only_new=True).days == 3


def test_a_day_in_several_files_is_proved_as_one(tmp_path: Path) -> None:
    store = TradeStore(tmp_path)
    today = day_of(0)
    for begin in range(0, len(today), 100):
        store.append("binance", S, today[begin : begin + 100])
    assert len(list(file_of(store, DAYS[0]).parent.glob("*.parquet"))) > 5
    found = run(store)
    assert (found.is_sound, found.rows, found.marked) == (True, len(today), 1)
    # Merging changes files and no content: they are proved anew, for nobody else vouches for them.
    store.merge("binance", S)
    assert run(store, only_new=True).days == 1
    assert run(store, only_new=True).days == 0
    part = next(file_of(store, DAYS[0]).parent.glob("*.parquet"))
    flip_a_bit(part)
    assert [bad.fate for bad in run(store).bad] == ["set aside"]


@settings(max_examples=60)
@given(at=st.floats(0.0, 1.0, exclude_max=True), bit=st.integers(0, 7), number=st.integers(0, 2))
def test_no_flipped_bit_goes_unnoticed_or_harms_other_days(
    tmp_path_factory: pytest.TempPathFactory, at: float, bit: int, number: int
) -> None:
    store = stored(tmp_path_factory.mktemp("flipped"))
    path = file_of(store, DAYS[number])
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    path.write_bytes(data)
    found = run(store)
    if found.bad:
        assert [bad.day for bad in found.bad] == [DAYS[number]]
    else:
        # A bit that no reader looks at: the rows are what they were.
        assert equal(TradeStore(store.root).trades("binance", S, 0, 2**62), TRADES)
