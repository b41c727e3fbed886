"""Real minutes told as trades: folded again they are the file's to the last digit, and nothing in them tells what is still to come."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bybit_sim_kit import MINUTE_US, START_S, START_US, made_bars, made_source
from hypothesis import given
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, DataError
from crypy.marketdata.bars import Bars
from crypy.marketdata.source_files import open_source
from crypy.simulator.binance_source import Span
from crypy.simulator.folded_candles import CLOSE, COUNT, HIGH, LOW, OPEN, VOLUME, FoldedCandles, fold_trades
from crypy.simulator.minutes_market import load_minutes, symbol_minutes
from crypy.simulator.minutes_source import MinutesSource, MinutesWorld
from crypy.simulator.server import Simulator
from crypy.simulator.settings import ServeSettings
from crypy.testing.clock import ManualClock

COLUMNS = (OPEN, HIGH, LOW, CLOSE, VOLUME)


def bars_of(rows: list[tuple[float, float, float, float, float]], symbol: str = "BTCUSDT") -> Bars:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    none = np.zeros(len(rows))
    return Bars(symbol, START_S, 60, *columns, none, none.astype(np.int64), none)


def opens_of(bars: Bars) -> np.ndarray:
    return (bars.start_s + np.arange(len(bars) + 1, dtype=np.int64) * 60) * 1_000_000


def folded(source: MinutesSource, bars: Bars) -> np.ndarray:
    opens = opens_of(bars)
    return fold_trades(source.trades_between(bars.symbol, int(opens[0]), int(opens[-1]), int(opens[-1])), opens)


@given(
    st.lists(
        st.tuples(*[st.integers(1, 400)] * 4, st.integers(4, 10**9)).map(
            lambda t: (t[0] / 100, max(t[:4]) / 100, min(t[:4]) / 100, t[3] / 100, t[4] / 10**8)
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(0, 5),
)
def test_folding_the_trades_gives_back_the_minutes(rows: list[tuple[float, ...]], seed: int) -> None:
    bars = bars_of(rows)  # type: ignore[arg-type]
    minutes = symbol_minutes(bars, seed)
    batch = minutes.trades(0, 10**9)
    got = fold_trades(batch, opens_of(bars))
    for column, wanted in zip(COLUMNS, (bars.open, bars.high, bars.low, bars.close, bars.volume), strict=True):
        np.testing.assert_array_equal(got[:, column] / 1e8, wanted)
    assert batch.id.tolist() == list(range(len(batch)))
    assert (np.diff(batch.time_us) > 0).all()
    assert (batch.quantity_e8 > 0).all()
    assert got[:, COUNT].max() <= 4


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=6))
def test_parts_of_the_tape_are_the_tape(cuts: list[int]) -> None:
    minutes = symbol_minutes(made_bars("BTCUSDT", quiet=(7, 8), unknown=(30, 31, 200)), 7)
    whole = minutes.trades(0, 10**9)
    edges = [0, *sorted(cuts), len(whole)]
    for first, stop in pairwise(edges):
        part, same = minutes.trades(first, stop), whole[first:stop]
        for name in ("id", "price_e8", "quantity_e8", "time_us", "buyer_is_maker"):
            np.testing.assert_array_equal(getattr(part, name), getattr(same, name))


def test_real_minutes_come_back_to_the_last_digit(shared_data: Path) -> None:
    folder = shared_data / "klines_1m/binance_usdm_futures"
    source = MinutesSource(load_minutes(folder, ("ETHUSDT", "XRPUSDT"), 7))
    for symbol in ("ETHUSDT", "XRPUSDT"):
        with open_source(folder, symbol) as opened:
            assert opened.candles is not None
            bars = opened.candles.bars
        got = folded(source, bars)
        for column, wanted in zip(COLUMNS, (bars.open, bars.high, bars.low, bars.close, bars.volume), strict=True):
            np.testing.assert_array_equal(got[:, column] / 1e8, wanted)


def test_neither_the_path_nor_the_sizes_tell_the_minute_s_end() -> None:
    """Of minutes that go nowhere in the mean, half tell their low first; and an opening size says little of the whole."""
    random = np.random.default_rng(5)
    rows = [(100.0, 101.0, 99.0, 100.0, float(volume)) for volume in random.integers(1_000, 1_000_000, 4_000)]
    minutes = symbol_minutes(bars_of(rows), 3)
    assert 0.47 < np.mean(minutes.path[:, 1] < minutes.path[:, 2]) < 0.53
    share = minutes.parts[:, 0] / minutes.parts.sum(axis=1)
    assert 0.23 < share.mean() < 0.27
    assert share.std() > 0.15
    straight = symbol_minutes(bars_of([(100.0, 101.0, 100.0, 101.0, 5.0)] * 50), 3)
    assert (np.diff(straight.path, axis=1) >= 0).all()


def test_the_same_seed_gives_the_same_tape_and_another_one_another() -> None:
    def paths(seed: int) -> list[list[int]]:
        return symbol_minutes(made_bars("BTCUSDT"), seed).path.tolist()

    assert paths(1) == paths(1) != paths(2)


def test_no_question_is_answered_from_after_now() -> None:
    source = made_source(made_bars("BTCUSDT"))
    for second in range(0, 400, 7):
        now_us = START_US + 90 * MINUTE_US + second * 1_000_000
        for batch in (
            source.trades("BTCUSDT", "trades", Span(1_000), now_us),
            source.trades("BTCUSDT", "aggTrades", Span(1_000, from_id=0), now_us),
            source.trades("BTCUSDT", "trades", Span(1_000, start_us=START_US, end_us=now_us + 10**9), now_us),
            source.trades_between("BTCUSDT", START_US, now_us + 10**9, now_us),
        ):
            assert batch.time_us.max() <= now_us
        after = source.next_us(now_us)
        assert after is not None
        assert after > now_us
        assert source.trades_between("BTCUSDT", now_us + 1, after, after).time_us.tolist() == []
        frames = source.frames({"btcusdt@trade"}, now_us - 60_000_000, now_us, False)
        assert frames
        assert all(now_us - 60_000_000 < frame.time_us <= now_us for frame in frames)


def test_the_market_ends_with_its_last_minute() -> None:
    source = made_source(made_bars("BTCUSDT", 5))
    last = source.trades("BTCUSDT", "trades", Span(1), START_US + 5 * MINUTE_US)
    assert source.next_us(int(last.time_us[-1])) is None
    opens = START_US + np.arange(8, dtype=np.int64) * MINUTE_US
    told = FoldedCandles(source).between("BTCUSDT", opens, int(opens[-1]))
    assert [start_us for start_us, _, _ in told] == opens[:5].tolist()


def test_what_is_unknown_is_not_told_and_what_is_quiet_stands_still() -> None:
    source = made_source(made_bars("BTCUSDT", 40, quiet=(5,), unknown=(10, 11)))
    opens = START_US + np.arange(41, dtype=np.int64) * MINUTE_US
    told = {
        (start_us - START_US) // MINUTE_US: bar
        for start_us, _, bar in FoldedCandles(source).between("BTCUSDT", opens, int(opens[-1]))
    }
    assert set(range(40)) - set(told) == {10, 11}
    assert told[5][:4] == [told[4][CLOSE]] * 4
    assert told[5][COUNT] == 0


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((100.0, 101.0, 99.0, 100.5, 0.0), "moved without volume"),
        ((100.0, 101.0, 99.0, 100.5, 2e-8), "less volume than its prices need"),
        ((100.0, 101.0, 99.0, 100.5, 9e10), "above what 64 bits hold"),
    ],
)
def test_a_minute_that_no_trades_can_tell_is_named(row: tuple[float, ...], words: str) -> None:
    with pytest.raises(
        DataError, match=f"BTCUSDT: the minute of 2025-01-01T00:01:00Z .*{words}.*correct the row or leave it out"
    ):
        symbol_minutes(bars_of([(100.0, 100.0, 100.0, 100.0, 1.0), row]), 1)  # type: ignore[list-item]


def write(folder: Path, bars: Bars, name: str = "") -> Path:
    """A CSV as venues' candles come, without the rows that are not known."""
    path = folder / (name or f"{bars.symbol}_1m.csv")
    columns = zip(bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
    rows = [
        ",".join([str((bars.start_s + k * bars.step_s) * 1_000), *(repr(float(value)) for value in row)])
        for k, row in enumerate(columns)
        if np.isfinite(row[3])
    ]
    path.write_text("\n".join(["open_time_ms,open,high,low,close,volume", *rows]) + "\n")
    return path


def test_a_file_or_folder_is_asked_for_the_symbols_that_it_has(tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write(tmp_path, made_bars(symbol, 10))
    assert set(load_minutes(tmp_path, ("BTCUSDT", "SOLUSDT", "ETHUSDT"), 1).symbols) == {"BTCUSDT", "ETHUSDT"}
    assert set(load_minutes(tmp_path / "BTCUSDT_1m.csv", ("BTCUSDT", "ETHUSDT"), 1).symbols) == {"BTCUSDT"}
    with pytest.raises(ConfigError, match="no candles of SOLUSDT"):
        load_minutes(tmp_path, ("SOLUSDT",), 1)
    with pytest.raises(ConfigError, match="no such file or folder of minutes"):
        load_minutes(tmp_path / "nowhere", ("BTCUSDT",), 1)


def test_candles_of_another_length_are_refused(tmp_path: Path) -> None:
    minutes = made_bars("BTCUSDT", 10)
    five = Bars(
        "BTCUSDT",
        START_S,
        300,
        *(getattr(minutes, name) for name in Bars.__dataclass_fields__ if name not in ("symbol", "start_s", "step_s")),
    )
    path = write(tmp_path, five)
    with pytest.raises(ConfigError, match="candles of 300 s; the simulator tells minutes"):
        load_minutes(path, ("BTCUSDT",), 1)


def test_the_world_knows_prices_up_to_now() -> None:
    bars = made_bars("BTCUSDT")
    minutes = symbol_minutes(bars, 7)
    source = made_source(bars)
    clock = ManualClock(START_US + 300 * MINUTE_US)
    world = MinutesWorld(source._market, clock)  # pyright: ignore[reportPrivateUsage]
    now_us = clock.now_us()
    assert world.coins == ("BTC",)
    assert world.symbol("BTC") == "BTCUSDT"
    assert world.mid("BTC", now_us) == bars.close[299] == world.close_at("BTC", now_us // 1_000_000)
    assert world.mid("BTC", now_us + 1) is None
    assert world.mid("BTC", START_US) is None
    tape = minutes.trades(0, 10**9)
    seconds = np.arange(START_S + 100 * 60 + 1, START_S + 103 * 60 + 1) * 1_000_000
    prices = tape.price_e8[np.searchsorted(tape.time_us, seconds) - 1] / 1e8
    assert world.average("BTC", START_US + 100 * MINUTE_US, START_US + 103 * MINUTE_US) == pytest.approx(
        prices.mean(), rel=1e-12
    )
    assert world.average("BTC", now_us - MINUTE_US, now_us + MINUTE_US) is None
    returns = np.diff(np.log(bars.close[59:300]))
    shrunk = (np.sum(returns**2) + 10 * 0.025**2 / 1_440) / (240 + 10)
    assert world.scale("BTC", now_us, 300.0) == pytest.approx(np.sqrt(5 * shrunk), rel=1e-9)
    with pytest.raises(ConfigError, match="there are no minutes of SOL"):
        world.mid("SOL", now_us)


async def test_a_simulator_of_minutes_begins_where_it_is_told_and_says_what_it_has(tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write(tmp_path, made_bars(symbol, 300))
    begin_us = START_US + 100 * MINUTE_US
    settings = ServeSettings(
        minutes=str(tmp_path), epoch_us=begin_us, speed=600.0, venues=("bybit", "polymarket"), durations=("5m",)
    )
    async with Simulator(settings) as simulator:
        ready = simulator.ready
        assert (ready.mode, ready.symbols, ready.epoch_us) == ("minutes", ("BTCUSDT", "ETHUSDT"), begin_us)
        assert (ready.history_start_us, ready.end_us) == (START_US, START_US + 300 * MINUTE_US)
        assert ready.urls["bybit_rest"] == f"http://127.0.0.1:{ready.ports['bybit_rest']}"
        assert ready.urls["bybit_stream"] == f"ws://127.0.0.1:{ready.ports['bybit_stream']}"
        assert {"archive", "rest", "stream", "gamma"} <= set(ready.urls)
    with pytest.raises(
        ConfigError, match=r"the minutes run from 2025-01-01T00:00:00Z to .*; 2025-01-02T00:00:00Z is not among them"
    ):
        async with Simulator(ServeSettings(minutes=str(tmp_path), epoch_us=START_US + 1_440 * MINUTE_US)):
            pass
    with pytest.raises(ConfigError, match="name one of them"):
        ServeSettings(minutes="a", replay="b")
