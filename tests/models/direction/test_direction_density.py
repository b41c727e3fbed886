"""Direction out of densities: the chances are those of the law, the law is the model's, and nothing behind a close reaches them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.domain.events import Candle
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import Block, FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import bars_needed, feature_sequence
from crypy.marketdata.source_files import open_source
from crypy.models import loading
from crypy.models.dataset import Dataset
from crypy.models.direction.density import DensityDirection, move_chances
from crypy.models.direction.market import Market
from crypy.models.direction.ticks import WINDOW, seen_ticks
from crypy.models.hindcast import hindcasts
from crypy.models.port import DistributionGrid, Model
from crypy.models.volatility import VolatilityBaseline
from crypy.training.registry import SHIPPED

SYMBOLS = ("BTCUSDT", "ETHUSDT")
TICKS = {"BTCUSDT": 0.1, "ETHUSDT": 0.01}
MakeMarket = Callable[..., Bars]


@lru_cache(maxsize=2)
def model(kind: str) -> Model:
    return loading.load(SHIPPED / "minutes") if kind == "network" else VolatilityBaseline.prior(SYMBOLS, 60)


@pytest.fixture(scope="module")
def bars(make_market: MakeMarket) -> dict[str, Bars]:
    """Eight days of minutes on a grid of ticks."""
    found: dict[str, Bars] = {}
    for seed, (symbol, tick) in enumerate(TICKS.items()):
        one = make_market(8.0, 3 + seed, symbol=symbol)
        close = np.round(one.close / tick) * tick
        found[symbol] = replace(one, open=close, high=close, low=close, close=close)
    return found


@pytest.fixture(scope="module")
def market(bars: dict[str, Bars]) -> Market:
    return Market.of(bars)


def until(bars: dict[str, Bars], count: int) -> dict[str, Bars]:
    return {symbol: rows_of(one, 0, count) for symbol, one in bars.items()}


def rows_of(bars: Bars, first: int, stop: int) -> Bars:
    columns = ("open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
    cut = {name: getattr(bars, name)[first:stop] for name in columns}
    return replace(bars, start_s=bars.start_s + first * bars.step_s, **cut)


def bits(member: DensityDirection, market: Market, rows: list[int] | np.ndarray) -> list[bytes]:
    told = member.ask(market, np.asarray(rows))
    return [np.stack([told.p_up[i], told.p_down[i]]).tobytes() for i in range(len(rows))]


# ---------------------------------------------------------------- the law


@settings(max_examples=40)
@given(
    half=st.floats(1e-9, 0.01),
    scale=st.floats(1e-5, 0.05),
    skew=st.floats(-0.8, 0.8),
    tail=st.floats(2.1, 60.0),
)
def test_chances_are_those_of_arch(half: float, scale: float, skew: float, tail: float) -> None:
    arch = pytest.importorskip("arch.univariate.distribution").SkewStudent()
    up, down = move_chances(*(np.array([each]) for each in (half, scale, skew, tail)))
    at = np.array([np.log1p(half), np.log1p(-half)]) / scale
    reference = arch.cdf(at, np.array([tail, skew]))
    assert up[0] == pytest.approx(1.0 - reference[0], abs=1e-9)
    assert down[0] == pytest.approx(reference[1], abs=1e-9)
    assert 0.0 <= up[0] + down[0] <= 1.0


def test_without_skew_up_and_down_are_the_student_t_of_scipy_and_as_likely_as_each_other() -> None:
    scipy_t = pytest.importorskip("scipy.stats").t
    half, scale, tail = np.array([1e-5, 1e-3, 4e-3]), np.array([1e-3, 1e-3, 2e-3]), np.array([3.0, 5.0, 9.0])
    up, down = move_chances(half, scale, np.zeros(3), tail)
    standard = np.sqrt((tail - 2) / tail)
    assert up == pytest.approx(scipy_t.sf(np.log1p(half) / scale / standard, tail), rel=1e-9)
    assert down == pytest.approx(scipy_t.cdf(np.log1p(-half) / scale / standard, tail), rel=1e-9)
    assert up[0] == pytest.approx(down[0], abs=1e-5)


def test_a_longer_left_tail_makes_up_more_likely() -> None:
    """Mean zero, so the median lies on the other side of the longer tail."""
    up, down = move_chances(np.full(2, 1e-7), np.full(2, 1e-3), np.array([-0.2, 0.2]), np.full(2, 5.0))
    assert up[0] > 0.51 > 0.49 > down[0]
    assert (up[1], down[1]) == pytest.approx((down[0], up[0]), abs=1e-4)


# ---------------------------------------------------------------- the step of the price


@pytest.mark.parametrize("tick", [1e-8, 0.0001, 0.01, 0.05, 0.1, 0.5, 25.0])
def test_the_tick_is_seen_in_closes_whenever_the_window_has_moved_on_to_it(tick: float) -> None:
    rng = np.random.default_rng(1)
    before = 3_000 + np.cumsum(rng.integers(-3, 4, 1_500))
    closes = np.concatenate([before * tick * 10, (before[-1] * 10 + np.cumsum(rng.integers(-3, 4, 1_500))) * tick])
    seen = seen_ticks(closes)
    assert len(seen) == len(closes) - WINDOW + 1
    assert seen[: 1_500 - WINDOW] == pytest.approx(10 * tick, rel=1e-12)
    assert seen[1_500 - WINDOW + 20 :] == pytest.approx(tick, rel=1e-12)


def test_a_price_that_hardly_moves_or_is_unknown_tells_no_tick() -> None:
    still = np.full(1_100, 250.0)
    assert np.isnan(seen_ticks(still)).all()
    moving = 100.0 + 0.05 * (np.arange(1_100) % 7)
    moving[40] = np.nan
    seen = seen_ticks(moving)
    assert np.isnan(seen[:41]).all()
    assert seen[41:] == pytest.approx(0.05)
    assert len(seen_ticks(moving[: WINDOW - 1])) == 0


# ---------------------------------------------------------------- the member


@pytest.mark.parametrize("kind", ["baseline", "network"])
@pytest.mark.parametrize("timeframe_s", [60, 3_600])
def test_chances_are_those_of_the_forecast_made_of_the_sequence_at_the_close(
    kind: str, timeframe_s: int, bars: dict[str, Bars], market: Market
) -> None:
    member = DensityDirection(model(kind), timeframe_s)
    rows = market.rows_ending(timeframe_s)[-3:]
    told = member.ask(market, rows)
    arch = pytest.importorskip("arch.univariate.distribution").SkewStudent()
    for index, row in enumerate(rows.tolist()):
        end_s = market.start_s + (row + 1) * 60
        sequence = feature_sequence(bars, end_s, member.model.schema)
        grid = member.model.predict(sequence, np.array([float(timeframe_s)]))
        for at, symbol in enumerate(SYMBOLS):
            half = TICKS[symbol] / 2 / bars[symbol].close[row]
            law = np.array([grid.tail[at, 0], grid.skew[at, 0]])
            reference = arch.cdf(np.array([np.log1p(half), np.log1p(-half)]) / grid.scale[at, 0], law)
            assert told.p_up[index, at] == pytest.approx(1 - reference[0], abs=1e-9)
            assert told.p_down[index, at] == pytest.approx(reference[1], abs=1e-9)


@pytest.mark.parametrize("kind", ["baseline", "network"])
def test_it_is_the_hindcast_of_the_model(kind: str, bars: dict[str, Bars], market: Market) -> None:
    member = DensityDirection(model(kind), 300, TICKS)
    rows = market.rows_ending(300)[-20:]
    ends_s = market.start_s + (rows + 1) * 60
    dataset = Dataset.of(bars, int(ends_s[0]), int(ends_s[-1]) + 60, spacing_s=300, horizons_s=(300,))
    casts = hindcasts(member.model, dataset, np.array([300.0]))
    told = member.ask(market, rows)
    for at, symbol in enumerate(SYMBOLS):
        cast, half = casts[symbol], 0.5 * TICKS[symbol] / bars[symbol].close[rows]
        up, down = move_chances(half, cast.scale[:, 0], cast.skew[:, 0], cast.tail[:, 0])
        assert told.p_up[:, at].tobytes() == up.tobytes()
        assert told.p_down[:, at].tobytes() == down.tobytes()


@pytest.mark.parametrize("kind", ["baseline", "network"])
def test_a_row_alone_has_the_bits_it_has_among_others_in_any_order_and_in_a_market_that_began_later(
    kind: str, bars: dict[str, Bars], market: Market
) -> None:
    member = DensityDirection(model(kind), 60)
    rows = np.array([11_519, 11_000, 10_081, 11_003, 11_000, 10_500])
    together = bits(member, market, rows)
    assert together == [bits(member, market, [row])[0] for row in rows.tolist()]
    later = Market.of({symbol: rows_of(one, 900, 11_520) for symbol, one in bars.items()})
    assert bits(member, later, rows[[0, 3]] - 900) == [together[0], together[3]]


def test_live_minute_by_minute_gives_the_bits_of_the_past(bars: dict[str, Bars], market: Market) -> None:
    member, first = DensityDirection(model("network"), 60), 11_450
    live = Market.of(until(bars, first))
    member.prepare(live)
    live.forget(member.rows_needed + 5)
    for row in range(first, first + 20):
        live.append({symbol: candle_of(one, row) for symbol, one in bars.items()})
        assert bits(member, live, [row]) == bits(member, market, [row])


def candle_of(bars: Bars, row: int) -> Candle:
    start_us = (bars.start_s + row * 60) * 1_000_000
    prices = (float(getattr(bars, name)[row]) for name in ("open", "high", "low", "close"))
    return Candle(
        bars.symbol, start_us, start_us + 60_000_000, *prices, float(bars.volume[row]), True, float(bars.quote_volume[row])
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["baseline", "network"])
def test_nothing_behind_a_close_reaches_its_forecast(kind: str, bars: dict[str, Bars], market: Market) -> None:
    """Not even the step of the price: the future here has another one. What lies before the close does reach it."""
    member, row = DensityDirection(model(kind), 60), 11_000
    said = bits(member, market, [row])
    assert bits(member, Market.of(until(bars, row + 1)), [row]) == said

    def changed(from_row: int) -> Market:
        close = {symbol: one.close.copy() for symbol, one in bars.items()}
        for each in close.values():
            each[from_row:] *= 1.0371
        return Market.of(
            {symbol: replace(one, open=close[symbol], high=close[symbol], low=close[symbol], close=close[symbol])
             for symbol, one in bars.items()}
        )  # fmt: skip

    assert bits(member, changed(row + 1), [row, 11_300])[0] == said[0]
    assert bits(member, changed(row), [row]) != said


def test_it_tells_nothing_before_it_has_seen_what_the_model_looks_at(market: Market) -> None:
    member = DensityDirection(model("network"), 60)
    assert member.rows_needed == bars_needed(member.model.schema, 60) == 10_081
    told = member.ask(market, np.array([0, 5_000, 10_079, 10_080]))
    assert np.isnan(told.p_up[:3]).all()
    assert np.isnan(told.p_down[:3]).all()
    assert np.isfinite(told.p_up[3]).all()
    assert ((told.p_up + told.p_down)[3] <= 1.0).all()


class Strict:
    """A model that refuses sequences with holes: it may be asked only where history is whole."""

    name = "strict"
    schema = FeatureSchema(SYMBOLS, 60, (Block(60, 30, ("returns",)),))

    def predict(self, sequence: FeatureSequence, horizons_s: np.ndarray) -> DistributionGrid:
        assert all(block.all() for block in sequence.known)
        last = sequence.values[0][:, -1, :1]
        skew = np.clip(-100.0 * last, -0.9, 0.9)
        return DistributionGrid(
            sequence.end_s, SYMBOLS, horizons_s, np.full_like(last, 1e-3), skew, np.full_like(last, 5.0), np.zeros(2)
        )


def test_any_density_model_can_be_asked_and_only_where_its_history_is_whole(bars: dict[str, Bars]) -> None:
    member = DensityDirection(Strict(), 60, TICKS)  # type: ignore[arg-type]
    closes = {symbol: one.close.copy() for symbol, one in bars.items()}
    closes["ETHUSDT"][:50] = np.nan
    holed = {symbol: replace(one, open=closes[symbol], high=closes[symbol], low=closes[symbol], close=closes[symbol]) for symbol, one in bars.items()}  # fmt: skip
    market = Market.of(until(holed, 200))
    told = member.ask(market, np.arange(200))
    assert np.isnan(told.p_up[:80]).all()
    assert np.isfinite(told.p_up[80:]).all()
    fell = np.diff(np.log(closes["BTCUSDT"]))[79:199] < 0
    assert ((told.up_given_move[80:, 0] < 0.5) == fell).all()


def test_what_cannot_be_is_refused_in_words(bars: dict[str, Bars], market: Market) -> None:
    network = model("network")
    with pytest.raises(ConfigError, match="no candles of 120 s"):
        DensityDirection(network, 120)
    with pytest.raises(ConfigError, match="a density model that was fitted on minutes can"):
        DensityDirection(VolatilityBaseline.prior(SYMBOLS, 1), 60)
    with pytest.raises(ConfigError, match="tick above zero"):
        DensityDirection(network, 60, {"BTCUSDT": 0.1})
    member = DensityDirection(network, 60)
    assert member.name == "density-skew-t-network-1-60s"
    with pytest.raises(SchemaMismatch, match=r"the market has 60 s of BTCUSDT$"):
        member.prepare(Market.of({"BTCUSDT": bars["BTCUSDT"]}))
    with pytest.raises(DataError, match="the market holds 0 to 11519"):
        member.ask(market, np.array([11_520]))
    forgetful = Market.of(bars)
    forgetful.forget(2_880)
    with pytest.raises(DataError, match="looks back 10081 minutes, the market keeps 2880; keep more"):
        member.ask(forgetful, np.array([forgetful.rows - 1]))
    assert len(member.ask(market, np.empty(0, np.int64)).p_up) == 0


@pytest.mark.slow
def test_on_real_minutes_the_ticks_are_those_of_the_venue_and_chances_are_no_oracle(shared_data: Path) -> None:
    """The tick of Binance's BTCUSDT and ETHUSDT is 0.01. A gain beyond 0.02 nats would be a look ahead."""
    days: dict[str, Bars] = {}
    for symbol in SYMBOLS:
        with open_source(shared_data / "klines_1m" / "binance_spot", symbol) as source:
            days[symbol] = source.bars(1_746_057_600 - 8 * 86_400, 1_746_057_600 + 5 * 86_400)
            assert seen_ticks(days[symbol].close) == pytest.approx(0.01)
    market = Market.of(days)
    member = DensityDirection(model("network"), 900)
    rows = market.rows_ending(900)
    rows = rows[rows < market.rows - 15]
    told = member.ask(market, rows)
    for at, symbol in enumerate(SYMBOLS):
        move = np.sign(days[symbol].close[rows + 15] - days[symbol].close[rows])
        p = told.up_given_move[:, at]
        some = np.isfinite(p) & (move != 0)
        assert some.sum() > 400
        loss = -np.mean(np.log(np.where(move[some] > 0, p[some], 1 - p[some])))
        assert abs(np.log(2) - loss) < 0.02
        assert 1e-6 < np.nanmean(1 - told.p_up[:, at] - told.p_down[:, at]) < 0.01
