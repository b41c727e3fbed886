"""Archive files: every layout read exactly, every damage told by file and line."""

from __future__ import annotations

import gzip
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from history_kit import START_US, csv_of, equal, make_trades, zip_of
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import DataError
from crypy.marketdata.archive import archive_name, read_trades
from crypy.marketdata.parse import LineParser
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.trade_merge import concatenated
from crypy.marketdata.trades import TradeBatch

NAME = "BTCUSDT-aggTrades-2025-01-01"
GOOD = b"3000000000,94591.79000000,0.00100000,4000000011,4000000012,1735689600000123,True,True\n"


def parsed(content: bytes, pieces: int = 1, batch_rows: int = 64, kind: str = "aggTrades") -> TradeBatch:
    parser = LineParser("a.csv", "trades" if kind == "trades" else "aggTrades", batch_rows)
    cuts = np.linspace(0, len(content), pieces + 1).astype(int)
    batches: list[TradeBatch] = []
    for begin, end in pairwise(cuts):
        batches.extend(parser.feed(content[begin:end]))
    return concatenated([*batches, *parser.finish()])


@pytest.mark.parametrize("pieces", [1, 2, 7, 1_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [False, True])
def test_lines_cut_anywhere_give_every_trade_exactly(pieces: int, end: str, header: bool) -> None:
    trades = make_trades(500)
    assert equal(parsed(csv_of(trades, end=end, header=header), pieces), trades)


def test_times_are_milliseconds_or_microseconds_by_their_own_digits() -> None:
    trades = make_trades(200)
    half = csv_of(trades[:100], milliseconds=True) + csv_of(trades[100:])
    read = parsed(half)
    assert np.array_equal(read.time_us[:100], trades.time_us[:100] // 1000 * 1000)
    assert np.array_equal(read.time_us[100:], trades.time_us[100:])


decimals = st.tuples(st.integers(0, 9_000_000_000), st.integers(0, 8)).flatmap(
    lambda pair: st.integers(0, 10 ** pair[1] - 1).map(
        lambda f: f"{pair[0]}.{f:0{pair[1]}d}" if pair[1] else str(pair[0])
    )
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**18 - 1),
            decimals.filter(lambda text: Decimal(text) > 0),
            decimals,
            st.integers(0, 10**17),
            st.integers(0, 10**6),
            st.sampled_from([13, 16]).flatmap(lambda n: st.integers(10 ** (n - 1), 10**n - 1)),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 9),
)
def test_any_good_line_is_read_as_python_reads_it(
    rows: list[tuple[int, str, str, int, int, int, bool, bool]], pieces: int
) -> None:
    """Field lengths change from line to line here, so both ways of reading a line are met; Decimal is the reference."""
    text = "".join(
        f"{i},{p},{q},{f},{f + n},{t},{str(m) if i % 2 else str(m).lower()}{f',{best}' if i % 3 else ''}\n"
        for i, p, q, f, n, t, m, best in rows
    )
    read = parsed(text.encode(), pieces, batch_rows=4)
    assert read.id.tolist() == [row[0] for row in rows]
    assert read.price_e8.tolist() == [int(Decimal(row[1]) * 10**8) for row in rows]
    assert read.quantity_e8.tolist() == [int(Decimal(row[2]) * 10**8) for row in rows]
    assert read.first_id.tolist() == [row[3] for row in rows]
    assert read.last_id.tolist() == [row[3] + row[4] for row in rows]
    assert read.time_us.tolist() == [row[5] if row[5] >= 10**15 else row[5] * 1000 for row in rows]
    assert read.buyer_is_maker.tolist() == [row[6] for row in rows]


def test_void_aggregates_keep_their_id_and_carry_no_trade() -> None:
    void = b"3000000001,0.00000000,0.00000000,-1,-1,1735689600000124,False,True\n"
    read = parsed(GOOD + void + GOOD.replace(b"3000000000", b"3000000002"))
    assert read.id.tolist() == [3_000_000_000, 3_000_000_001, 3_000_000_002]
    assert read.first_id.tolist() == [4_000_000_011, -1, 4_000_000_011]
    assert int(second_bars("BTCUSDT", [read], START_US // 10**6, START_US // 10**6 + 1).count[0]) == 4


def test_single_trades_have_their_own_layout() -> None:
    """A real line of 2021 (OXTUSDT) and one in microseconds."""
    lines = b"1684950,0.00001144,87.00000000,0.00099528,1619247104155,True,True\n1684951,0.00001145,1.0,0.5,1735689600000123,False,True\n"
    read = parsed(lines, kind="trades")
    assert read.id.tolist() == read.first_id.tolist() == read.last_id.tolist() == [1_684_950, 1_684_951]
    assert read.price_e8.tolist() == [1_144, 1_145]
    assert read.time_us.tolist() == [1_619_247_104_155_000, 1_735_689_600_000_123]


DAMAGED = {
    "too few fields": (b"3000000001,94591.79000000,0.00100000,4000000013", "ends too early"),
    "an empty field": (GOOD[:-1].replace(b"0.00100000", b""), "quantity is not a non-negative number"),
    "letters in the price": (GOOD[:-1].replace(b"94591", b"9x591"), "price is not a non-negative number"),
    "NaN as price": (GOOD[:-1].replace(b"94591.79000000", b"NaN"), "price is not a non-negative number"),
    "a negative price": (GOOD[:-1].replace(b"94591", b"-94591"), "price is not a non-negative number"),
    "a price of zero": (GOOD[:-1].replace(b"94591.79000000", b"0.00000000"), "price is zero"),
    "nine decimals": (GOOD[:-1].replace(b"94591.79000000", b"94591.790000001"), "price has more than eight decimals"),
    "an exponent": (GOOD[:-1].replace(b"0.00100000", b"1e-3"), "quantity is not a non-negative number"),
    "a price past 64 bits": (GOOD[:-1].replace(b"94591.7", b"92233720368.7"), "price is too large"),
    "a time in seconds": (GOOD[:-1].replace(b"1735689600000123", b"1735689600"), "neither milliseconds"),
    "a third truth": (GOOD[:-1].replace(b"True,True", b"Maybe,True"), "buyer is maker is neither True nor False"),
    "a void id alone": (GOOD[:-1].replace(b"4000000011", b"-1"), "marks a void aggregate"),
    "a void with a price": (GOOD[:-1].replace(b"4000000011,4000000012", b"-1,-1"), "marks a void aggregate"),
    "reversed trade ids": (GOOD[:-1].replace(b"4000000011", b"4000000013"), "last trade id is below"),
    "one field too many": (GOOD[:-1] + b",1", "too many fields"),
    "a negative id": (b"-" + GOOD[:-1], "id is not a non-negative number"),
}


@pytest.mark.parametrize("case", DAMAGED)
@pytest.mark.parametrize("before", [0, 1, 40])
def test_a_damaged_line_is_told_by_file_and_number(case: str, before: int) -> None:
    line, words = DAMAGED[case]
    with pytest.raises(DataError, match=words) as told:
        parsed(GOOD * before + line + b"\n" + GOOD, pieces=3)
    assert f"a.csv line {before + 1}:" in str(told.value)


def test_a_file_that_is_no_text_is_refused_soon() -> None:
    with pytest.raises(DataError, match="no line ends"):
        parsed(bytes(range(32, 42)) * 10_000, pieces=10)


@pytest.mark.parametrize("batch_rows", [100, 16_384])
def test_zip_gzip_and_plain_files_give_the_same(tmp_path: Path, batch_rows: int) -> None:
    trades = make_trades(5_000)
    content = csv_of(trades)
    (tmp_path / f"{NAME}.zip").write_bytes(zip_of(f"{NAME}.zip", content))
    (tmp_path / f"{NAME}.csv").write_bytes(content)
    (tmp_path / f"{NAME}.csv.gz").write_bytes(gzip.compress(content))
    for path in tmp_path.iterdir():
        assert equal(concatenated(read_trades(path, batch_rows=batch_rows)), trades)


def test_a_reader_may_stop_early(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.csv"
    path.write_bytes(csv_of(make_trades(1_000)) * 60)
    batches = read_trades(path)
    assert len(next(batches)) == 16_384
    batches.close()


def test_the_name_tells_symbol_kind_and_period() -> None:
    assert archive_name(Path("x/BTCUSDT-trades-2025-01.zip")) == ("BTCUSDT", "trades", "2025-01")
    assert archive_name(Path(f"{NAME}.csv.gz")) == ("BTCUSDT", "aggTrades", "2025-01-01")
    assert archive_name(Path("notes.zip")) is None


def spoiled(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    match how:
        case "cut":
            return data[:middle]
        case "flipped":
            return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
        case "empty":
            return b""
        case "page":
            return b"<html><body>503 Service Unavailable</body></html>"
        case _:
            raise AssertionError(how)


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "page"])
def test_a_damaged_zip_is_refused_by_name(tmp_path: Path, how: str) -> None:
    path = tmp_path / f"{NAME}.zip"
    path.write_bytes(spoiled(zip_of(path.name, csv_of(make_trades(3_000))), how))
    with pytest.raises(DataError, match=NAME):
        list(read_trades(path))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_flipped_byte_of_the_data_goes_unseen(tmp_path_factory: pytest.TempPathFactory, at: int, flip: int) -> None:
    """The sum catches what still inflates and parses: wherever a byte of the compressed data is changed, no reader ends well."""
    trades = make_trades(300)
    data = bytearray(zip_of(f"{NAME}.zip", csv_of(trades)))
    begin = 30 + len(NAME) + 4
    end = data.rindex(b"PK\x01\x02")
    data[begin + at % (end - begin)] ^= flip
    path = tmp_path_factory.mktemp("flip") / f"{NAME}.zip"
    path.write_bytes(data)
    with pytest.raises(DataError):
        list(read_trades(path))
