"""The candle that runs: what is told of it depends on the market alone, not on how often somebody looks."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.simulator.bybit_candles import Push, RunningCandle

BEGIN_US = 1_735_689_600_000_000 + 137_000_000
SECOND_US = 1_000_000
SPAN_S = 1_000


def running(word: str, carry: int = 99, is_covered: bool = True) -> RunningCandle:
    return RunningCandle("BTCUSDT", word, BEGIN_US, None, carry, lambda start_us, end_us: is_covered)


def seconds(*numbers: int) -> list[tuple[int, list[int]]]:
    """A bar of one trade in each of these seconds, at a price and size that follow from its number."""
    return [(BEGIN_US + k * SECOND_US, [100 + k % 7] * 4 + [k % 5 + 1] * 5) for k in numbers]


def told(push: Push) -> dict[str, Any]:
    return json.loads(push.data)["data"][0] | {"at_us": push.time_us}


@given(
    st.lists(st.integers(0, SPAN_S - 1), unique=True, max_size=40).map(sorted),
    st.lists(st.integers(0, SPAN_S), max_size=8).map(sorted),
    st.sampled_from(["1", "3", "5"]),
)
def test_however_it_is_cut_the_same_is_told(traded: list[int], cuts: list[int], word: str) -> None:
    whole = running(word).advance(seconds(*traded), BEGIN_US + SPAN_S * SECOND_US)
    candle, parts = running(word), []
    for first, stop in pairwise([0, *cuts, SPAN_S]):
        parts += candle.advance(seconds(*(k for k in traded if first <= k < stop)), BEGIN_US + stop * SECOND_US)
    assert [push[:4] for push in parts] == [push[:4] for push in whole]


@given(st.lists(st.integers(0, SPAN_S - 1), unique=True, max_size=200).map(sorted), st.sampled_from(["1", "5"]))
def test_it_is_told_when_it_changes_each_minute_and_once_when_it_is_over(traded: list[int], word: str) -> None:
    rows = [told(push) for push in running(word).advance(seconds(*traded), BEGIN_US + SPAN_S * SECOND_US)]
    times = [row["at_us"] for row in rows]
    assert max(np.diff([BEGIN_US, *times])) <= 60 * SECOND_US
    assert set(times) >= {BEGIN_US + (k + 1) * SECOND_US for k in traded}
    assert len(set(times)) == len(times)
    length_ms = int(word) * 60_000
    closed = [row["start"] for row in rows if row["confirm"]]
    first_ms = BEGIN_US // 1_000 // length_ms * length_ms
    assert closed == list(range(first_ms, (BEGIN_US + SPAN_S * SECOND_US) // 1_000 - length_ms + 1, length_ms))
    for row in rows:
        inside = [k for k in traded if row["start"] * 1_000 <= BEGIN_US + k * SECOND_US < row["at_us"]]
        assert float(row["volume"]) == pytest.approx(sum(k % 5 + 1 for k in inside) / 1e8, abs=1e-12)


def test_before_the_first_price_and_where_nothing_is_known_there_is_silence() -> None:
    until_us = BEGIN_US + 300 * SECOND_US
    assert running("1", carry=0).advance([], until_us) == []
    assert running("1", is_covered=False).advance([], until_us) == []
    assert len(running("1", carry=0).advance(seconds(100), until_us)) > 1


def test_a_draft_lacks_the_last_second() -> None:
    pushes = running("1").advance(seconds(0, 5, 30), BEGIN_US + 60 * SECOND_US)
    (over,) = [push for push in pushes if "confirm" in push.subject]
    assert over.draft is not None
    draft, right = (json.loads(data)["data"][0] for data in (over.draft(), over.data))
    assert (draft["confirm"], draft["start"]) == (True, right["start"])
    assert [float(draft["volume"]), float(right["volume"])] == [2e-8, 3e-8]
