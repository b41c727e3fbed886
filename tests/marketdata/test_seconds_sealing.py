"""Live seconds: when they are final, what late trades do, and that live is offline to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_sets import COLUMNS, START_S, same_bits, trade_lists

from crypy.domain.errors import DataError
from crypy.domain.events import Trade
from crypy.marketdata.bars import Bars
from crypy.marketdata.sealing import SecondFold, as_of
from crypy.marketdata.seconds import second_bars
from crypy.marketdata.trades import TradeBatch

US = 1_000_000


def trade(id_: int, second: float, price: int = 100) -> Trade:
    return Trade("BTCUSDT", id_, price, 10, id_, id_, round((START_S + second) * US), False)


class Screen:
    """Dense bars as somebody keeps them who writes down every piece that `seal` gives."""

    def __init__(self) -> None:
        self.columns: dict[str, list[float]] = {name: [] for name in COLUMNS}

    def take(self, pieces: list[Bars]) -> None:
        for piece in pieces:
            row = piece.start_s - START_S
            assert 0 <= row <= len(self.columns["close"]), "a hole between the pieces"
            for name, values in self.columns.items():
                values[row:] = getattr(piece, name).tolist()

    def bars(self) -> Bars:
        columns = {n: np.array(v, np.int64 if n == "count" else np.float64) for n, v in self.columns.items()}
        return Bars("BTCUSDT", START_S, 1, **columns)


def test_a_second_seals_when_a_trade_of_a_later_one_has_come() -> None:
    fold = SecondFold("BTCUSDT", START_S)
    fold.update(trade(1, 0.9))
    assert fold.seal(0) == []
    fold.update(trade(2, 1.0))
    (piece,) = fold.seal(0)
    assert (piece.start_s, piece.end_s, fold.sealed_s, piece.close[0]) == (START_S, START_S + 1, START_S + 1, 1e-6)


def test_a_quiet_second_seals_after_the_grace_but_not_while_trades_are_known_to_be_missing() -> None:
    fold = SecondFold("BTCUSDT", START_S, grace_us=500_000)
    fold.update(trade(1, 0.1))
    assert fold.seal((START_S + 1) * US + 499_999) == []
    fold.whole = False
    assert fold.seal((START_S + 90) * US) == []
    fold.whole = True
    (piece,) = fold.seal((START_S + 3) * US + 500_000)
    assert fold.sealed_s == START_S + 3
    np.testing.assert_array_equal(piece.count, [1, 0, 0])


def test_a_trade_that_comes_late_makes_a_new_version_and_as_of_gives_what_was_seen() -> None:
    fold, screen = SecondFold("BTCUSDT", START_S, grace_us=0), Screen()
    fold.update(trade(1, 0.1, price=100))
    screen.take(fold.seal((START_S + 4) * US))
    first = screen.bars()
    fold.update(trade(2, 1.5, price=300))
    screen.take(fold.seal((START_S + 5) * US))
    fold.update(trade(3, 1.7, price=200))
    screen.take(fold.seal((START_S + 6) * US))
    final = screen.bars()

    np.testing.assert_array_equal(final.close * 1e6, [1, 2, 2, 2, 2, 2])
    np.testing.assert_array_equal(final.high * 1e6, [1, 3, 2, 2, 2, 2])
    assert [(c.applied_us, c.before.version, c.after.version) for c in fold.corrections] == [
        ((START_S + 5) * US, 0, 1), ((START_S + 6) * US, 1, 2),
    ]  # fmt: skip
    before = as_of(final, fold.corrections, (START_S + 4) * US)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(before, name)[:4], getattr(first, name))
    between = as_of(final, fold.corrections, (START_S + 5) * US)
    np.testing.assert_array_equal(between.close * 1e6, [1, 3, 3, 3, 3, 3])
    assert same_bits(as_of(final, fold.corrections, (START_S + 9) * US), final)


@settings(deadline=None, max_examples=150)
@given(
    trades=trade_lists(backwards=True),
    seals=st.lists(st.integers(0, 8), min_size=60, max_size=60),
    keep_s=st.sampled_from([10, 16, 1_000]),
)
def test_live_is_offline_to_the_last_bit_however_often_it_is_sealed(
    trades: list[Trade], seals: list[int], keep_s: int
) -> None:
    fold, screen = SecondFold("BTCUSDT", START_S, grace_us=0, keep_s=keep_s), Screen()
    for number, (event, seal) in enumerate(zip(trades, seals, strict=False)):
        fold.update(event)
        if seal == 0:
            screen.take(fold.seal(event.time_us + number))
    screen.take(fold.seal((START_S + 40) * US))
    assert fold.too_late == 0
    assert same_bits(screen.bars(), second_bars("BTCUSDT", [TradeBatch.of(trades)], START_S, START_S + 40))


@settings(deadline=None, max_examples=50)
@given(trades=trade_lists(), split=st.integers(0, 60))
def test_a_batch_is_taken_as_its_trades_one_by_one(trades: list[Trade], split: int) -> None:
    one, other = Screen(), Screen()
    single, many = SecondFold("BTCUSDT", START_S, keep_s=20), SecondFold("BTCUSDT", START_S, keep_s=20)
    for event in trades:
        single.update(event)
    one.take(single.seal((START_S + 41) * US))
    other.take(many.extend(TradeBatch.of(trades[:split]), 0))
    # Known ids at its head are dropped.
    other.take(many.extend(TradeBatch.of(trades), (START_S + 41) * US))
    assert same_bits(one.bars(), other.bars())
    assert many.duplicates == min(split, len(trades))
    assert (many.last_id, many.trades) == (single.last_id, single.trades)


def test_known_ids_are_dropped_and_impossible_trades_refused() -> None:
    fold = SecondFold("BTCUSDT", START_S, last_id=5)
    assert not fold.update(trade(5, 0.5))
    assert fold.update(trade(6, 0.5))
    assert not fold.update(trade(6, 0.5))
    assert fold.duplicates == 2
    with pytest.raises(DataError, match="no such trade"):
        fold.update(trade(7, 0.6, price=0))


def test_trades_older_than_what_is_held_or_than_the_beginning_are_counted_and_change_nothing() -> None:
    fold, screen = SecondFold("BTCUSDT", START_S, grace_us=0, keep_s=10), Screen()
    fold.update(trade(1, 0.1))
    screen.take(fold.seal((START_S + 100) * US))
    before = screen.bars()
    fold.update(trade(2, 3.0))
    fold.update(trade(3, -50.0))
    screen.take(fold.seal((START_S + 100) * US))
    assert fold.too_late == 2
    assert same_bits(screen.bars(), before)


def test_void_aggregates_move_no_time() -> None:
    fold = SecondFold("BTCUSDT", START_S, grace_us=0)
    fold.update(Trade("BTCUSDT", 1, 0, 0, -1, -1, (START_S + 30) * US, False))
    assert fold.seal(START_S * US) == []
    assert fold.last_id == 1
