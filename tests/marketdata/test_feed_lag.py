"""Feed lags: the newest minute, by source, against NumPy over the same events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypy.marketdata.feed_lag import FeedLag

EVENTS = st.lists(st.tuples(st.integers(0, 5_000_000), st.integers(-100_000, 10_000_000)), min_size=1, max_size=60)


@given(EVENTS, st.sampled_from([1.0, 10.0, 60.0]))
def test_quantiles_are_those_of_the_events_inside_the_window(events: list[tuple[int, int]], window_s: float) -> None:
    lag = FeedLag(window_s)
    received_us, seen = 10**15, list[tuple[int, int]]()
    for later_us, late_us in events:
        received_us += later_us
        lag.update("venue.trades", received_us - late_us, received_us)
        seen.append((received_us, late_us))
    (row,) = lag.rows()
    recent = [late for at, late in seen if at > received_us - window_s * 1e6]
    assert row.count == len(recent)
    assert row.last_us == received_us
    assert row.max_ms == max(recent) / 1e3
    assert row.p50_ms == pytest.approx(np.quantile(np.array(recent) / 1e3, 0.5))
    assert row.p99_ms == pytest.approx(np.quantile(np.array(recent) / 1e3, 0.99))
    assert 0 <= row.span_s < window_s


def test_sources_are_apart_and_one_that_floods_keeps_its_newest_events() -> None:
    lag = FeedLag()
    assert lag.rows() == ()
    for k in range(20_000):
        lag.update("b.trades", 10**15 + k, 10**15 + k + (500_000 if k < 11_000 else 1_000))
    lag.update("a.trades", 10**15, 10**15 - 3_000)
    slow, fast = lag.rows()
    assert (slow.source, slow.count, slow.p50_ms, slow.max_ms) == ("a.trades", 1, -3.0, -3.0)
    assert (fast.source, fast.count, fast.max_ms) == ("b.trades", 8_192, 1.0)
