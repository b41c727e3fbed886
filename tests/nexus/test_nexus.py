import math

import numpy as np
import pytest

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.durations import DURATIONS
from crypy.domain.errors import DataError
from crypy.domain.times import US_PER_S
from crypy.domain.windows import next_window, window_at
from crypy.forecasting.batch import ForecastBatch, WindowForecast
from crypy.models.port import DistributionGrid
from crypy.nexus.nexus import Nexus
from crypy.testing.clock import ManualClock

COINS = ("BTC", "ETH")
HORIZONS = np.array([1.0, 60.0, 3600.0, 172_800.0])


def batch_of(end_us, scale=1e-4, coins=COINS, durations=DURATIONS):
    shape = (len(coins), len(HORIZONS))
    grid = DistributionGrid(
        end_us // US_PER_S, tuple(f"{coin}USDT" for coin in coins), HORIZONS,
        np.full(shape, scale) * np.sqrt(HORIZONS), np.zeros(shape), np.full(shape, 4.0), np.zeros(len(coins)),
    )  # fmt: skip
    law = ZeroMeanSkewStudentT(1e-3, 0.0, 4.0)
    windows = {(c, d): WindowForecast(window_at(d, end_us), law, law) for c in coins for d in durations}
    return ForecastBatch(end_us, end_us, "test", grid, windows)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def heard():
    return []


@pytest.fixture
def nexus(clock, heard):
    return Nexus(COINS, clock, lambda coin, trigger: heard.append((coin, trigger)))


def test_every_change_is_told_at_once_and_by_its_cause(nexus, clock, heard):
    nexus.update_price("BTC", 100.0, clock.now_us())
    nexus.update_dists(batch_of(clock.now_us()))
    nexus.update_reference("ETH", "5m", window_at("5m", clock.now_us()), 10.0, "venue")
    assert heard == [("BTC", "price"), (None, "dists"), ("ETH", "reference")]


@pytest.mark.parametrize("price", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_price_leaves_the_last_good_one(nexus, clock, price):
    nexus.update_price("BTC", 100.0, clock.now_us())
    with pytest.raises(DataError, match="not a price"):
        nexus.update_price("BTC", price, clock.now_us())
    assert nexus.view("BTC", "5m").price == 100.0


def test_an_unknown_coin_is_refused(nexus, clock):
    with pytest.raises(DataError, match="DOGE is not among"):
        nexus.update_price("DOGE", 1.0, clock.now_us())


def test_an_older_price_does_not_replace_a_newer(nexus, clock, heard):
    nexus.update_price("BTC", 100.0, clock.now_us())
    nexus.update_price("BTC", 90.0, clock.now_us() - 1)
    assert nexus.view("BTC", "5m").price == 100.0
    assert len(heard) == 1


@pytest.mark.parametrize(
    "bad",
    [
        lambda end_us: batch_of(end_us, coins=("BTC",)),
        lambda end_us: batch_of(end_us, durations=DURATIONS[1:]),
        lambda end_us: batch_of(end_us, scale=math.nan),
        lambda end_us: batch_of(end_us, scale=-1.0),
    ],
)
def test_a_batch_is_taken_whole_or_not_at_all(nexus, clock, heard, bad):
    nexus.update_dists(batch_of(clock.now_us()))
    with pytest.raises(DataError):
        nexus.update_dists(bad(clock.now_us() + US_PER_S))
    assert nexus.dist_end_us == clock.now_us()
    assert nexus.forecasts == 1
    assert heard == [(None, "dists")]


def test_an_older_batch_is_refused(nexus, clock):
    nexus.update_dists(batch_of(clock.now_us()))
    with pytest.raises(DataError, match="the newer stays"):
        nexus.update_dists(batch_of(clock.now_us()))


async def test_a_reference_belongs_to_its_window_and_goes_with_it(nexus, clock):
    window = window_at("5m", clock.now_us())
    nexus.update_reference("BTC", "5m", window, 101.0, "binance-average")
    view = nexus.view("BTC", "5m")
    assert (view.window, view.reference_price, view.reference_source) == (window, 101.0, "binance-average")
    await clock.advance(300)
    view = nexus.view("BTC", "5m")
    assert (view.window, view.reference_price, view.reference_source) == (next_window(window), None, "none")


def test_nothing_known_is_none_everywhere(nexus):
    view = nexus.view("ETH", "1d")
    assert (view.price, view.reference_price, view.dist, view.extra_dist, view.curve, view.dist_end_us) == (None,) * 6
