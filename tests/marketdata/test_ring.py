"""What a ring takes and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from trade_sets import START_S, cut, random_bars

from crypy.domain.errors import DataError
from crypy.marketdata.bars import Bars
from crypy.marketdata.ring import Ring


def test_a_ring_keeps_the_last_bars_and_forgets_the_first() -> None:
    ring, bars = Ring("BTCUSDT", 64), random_bars("BTCUSDT", START_S, 200, seed=1)
    ring.write(bars)
    assert (ring.length, ring.first, ring.end) == (64, START_S + 136, START_S + 200)
    assert (ring.end_s, ring.known_s) == (START_S + 200, START_S + 136)
    ring.clear()
    assert (ring.known_s, ring.variance(5)) == (None, None)
    ring.write(cut(bars, START_S + 10, START_S + 20))
    assert (ring.known_s, ring.end_s) == (START_S + 10, START_S + 20)


def test_variance_is_the_sum_of_the_last_squared_returns() -> None:
    bars = random_bars("BTCUSDT", START_S, 200, seed=1)
    ring = Ring.of(bars)
    expected = float((np.diff(np.log(bars.close[-51:])) ** 2).sum())
    assert ring.variance(50) == pytest.approx(expected, rel=1e-9)
    assert ring.variance(199) is not None
    assert ring.variance(200) is None


@pytest.mark.parametrize(("start", "stop"), [(101, 120), (0, 90), (-10, 120)])
def test_a_hole_a_shortening_and_bars_before_the_beginning_are_refused(start: int, stop: int) -> None:
    bars = random_bars("BTCUSDT", START_S - 10, 200, seed=1)
    ring = Ring("BTCUSDT", 500)
    ring.write(cut(bars, START_S, START_S + 100))
    with pytest.raises(DataError, match="do not join"):
        ring.write(cut(bars, START_S + start, START_S + stop))


def test_bars_of_another_step_and_base_steps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="60 s"):
        Ring("BTCUSDT", 100).write(random_bars("BTCUSDT", START_S, 10, seed=1, step_s=60))
    with pytest.raises(DataError, match="base steps"):
        Ring("BTCUSDT", 100, 60, (90,))


def spoil(bars: Bars, column: str, value: float) -> Bars:
    values = getattr(bars, column).copy()
    values[7] = value
    return replace(bars, **{column: values})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("close", math.nan), ("close", -1.0), ("high", math.inf), ("low", 0.0), ("high", 1e-9),
        ("volume", -1.0), ("volume", math.nan), ("quote_volume", math.nan), ("count", -1), ("taker_buy_volume", -0.5),
    ],
)  # fmt: skip
def test_corrupt_bars_stop_at_the_door_and_the_ring_stays_sound(column: str, value: float) -> None:
    bars = random_bars("BTCUSDT", START_S, 20, seed=1)
    ring = Ring("BTCUSDT", 100)
    with pytest.raises(DataError, match="2025-01-01T00:00:07Z"):
        ring.write(spoil(bars, column, value))
    assert ring.end == START_S + 7
    ring.write(cut(bars, START_S + 7, START_S + 20))
    assert ring.variance(19) == Ring.of(bars).variance(19)
