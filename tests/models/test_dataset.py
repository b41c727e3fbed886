"""Datasets: origins, returns and sequences that end where they say, and nothing beyond."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crypy.domain.errors import ConfigError
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import Block, FeatureSchema
from crypy.marketdata.sequence import feature_sequence
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts, one_by_one
from crypy.models.volatility import VolatilityBaseline

DAY_S = 86_400
SCHEMA = FeatureSchema(("BTCUSDT",), 60, (Block(60, 30, ("returns", "range")), Block(900, 8, ("realised_variance",))))


@pytest.fixture(scope="module")
def bars(make_market: Callable[..., Bars]) -> Bars:
    return make_market(12, 5)


def test_a_dataset_ends_where_it_says(bars: Bars) -> None:
    end_s = bars.start_s + 10 * DAY_S
    found = Dataset.of({"BTCUSDT": bars}, bars.start_s + 9 * DAY_S, end_s)
    origins_s = found.origins_s()
    assert (origins_s[0], origins_s[-1]) == (bars.start_s + 9 * DAY_S, end_s - 300)
    assert found.bars["BTCUSDT"].end_s == end_s
    returns = found.returns("BTCUSDT", origins_s, np.array([300, 3_600]))
    known = np.isfinite(returns)
    assert [int(column.sum()) for column in known.T] == [288, 288 - 11]
    assert returns[0, 1] == np.log(bars.close[9 * 1440 + 59]) - np.log(bars.close[9 * 1440 - 1])
    of_each = found.returns("BTCUSDT", origins_s, np.tile([300, 3_600], (len(origins_s), 1)))
    assert of_each.tobytes() == returns.tobytes()


def test_sequences_are_those_of_one_end(bars: Bars) -> None:
    found = Dataset.of({"BTCUSDT": bars}, bars.start_s + 9 * DAY_S)
    ends = found.origins_s()[::97]
    windows = found.windows(SCHEMA, ends, threads=2)
    for index, end in enumerate(ends.tolist()):
        one = feature_sequence({"BTCUSDT": bars}, end, SCHEMA)
        mine = windows[index]
        for left, right in zip(
            (*one.values, *one.clocks, one.close), (*mine.values, *mine.clocks, mine.close), strict=True
        ):
            assert left.tobytes() == right.tobytes()


def test_the_fast_hindcast_is_the_slow_one(bars: Bars) -> None:
    found = Dataset.of({"BTCUSDT": bars}, bars.start_s + 9 * DAY_S, spacing_s=7_200)
    horizons = np.array([300.0, 3_600.0, 86_400.0])
    model = VolatilityBaseline.prior(("BTCUSDT",), 60)
    fast, slow = hindcasts(model, found, horizons)["BTCUSDT"], one_by_one(model, found, horizons)["BTCUSDT"]
    for name in ("returns", "scale", "skew", "tail"):
        assert getattr(fast, name).tobytes() == getattr(slow, name).tobytes()


@pytest.mark.parametrize("wrong", [{"spacing_s": 90}, {"horizons_s": (900, 300)}, {"start_s": 2, "end_s": 1}])
def test_what_cannot_be_is_refused(bars: Bars, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Dataset.of({"BTCUSDT": bars}, **wrong)  # type: ignore[arg-type]
    whole = Dataset.of({"BTCUSDT": bars})
    with pytest.raises(ConfigError, match="no range inside"):
        whole.between(whole.start_s, whole.end_s + 60)
