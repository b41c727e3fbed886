"""The runner: a batch whole or none, once a second and never more, blind to the future, and honest about failures."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from crypy.distributions.skew_t import ZeroMeanSkewStudentT
from crypy.domain.durations import DURATIONS
from crypy.domain.errors import ConfigError, DataError, Incomplete
from crypy.domain.times import US_PER_S
from crypy.forecasting.batch import ForecastBatch
from crypy.forecasting.horizons import seconds_until
from crypy.forecasting.runner import ModelRunner
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import feature_sequence
from crypy.models.port import DistributionGrid
from crypy.models.volatility import VolatilityBaseline
from crypy.testing.clock import ManualClock

START_S = 1_735_689_600
COINS = {"BTC": "BTCUSDT", "ETH": "ETHUSDT"}
MODEL = VolatilityBaseline.prior(tuple(COINS.values()), 1)


class BarsSource:
    """Bars that are sealed up to `sealed_s`."""

    def __init__(self, seconds: int = 7_200) -> None:
        rng = np.random.default_rng(1)
        self.sealed_s = START_S + seconds
        self.bars: dict[str, Bars] = {}
        for symbol in COINS.values():
            close = 100.0 * np.exp(np.cumsum(rng.normal(0, 1e-4, seconds + 600)))
            ones = np.ones(len(close))
            self.bars[symbol] = Bars(
                symbol, START_S, 1, close, close, close, close, ones, close, ones.astype(np.int64), 0.5 * ones
            )

    def feature_sequence(self, end_s: int, schema: FeatureSchema) -> FeatureSequence:
        if end_s > self.sealed_s:
            raise Incomplete(f"{end_s} is not sealed")
        return feature_sequence(self.bars, end_s, schema)


class Sink:
    def __init__(self) -> None:
        self.batches: list[ForecastBatch] = []

    def update_dists(self, batch: ForecastBatch) -> None:
        self.batches.append(batch)


class Refusing:
    def update_dists(self, batch: ForecastBatch) -> None:
        raise DataError("not today")


class Bent:
    """A model whose answer is changed before it is given."""

    name = "bent"
    schema = MODEL.schema

    def __init__(self, **bad: float) -> None:
        self.bad = bad

    def predict(self, sequence: FeatureSequence, horizons_s: np.ndarray) -> DistributionGrid:
        grid = MODEL.predict(sequence, horizons_s)
        for name, value in self.bad.items():
            getattr(grid, name)[1, 3] = value
        return grid


def runner_of(
    model: object = MODEL, now_s: int = START_S + 7_200, **options: object
) -> tuple[ModelRunner, Sink, BarsSource, ManualClock]:
    sink, source, clock = Sink(), BarsSource(), ManualClock(now_s * US_PER_S)
    return ModelRunner(source, model, [sink], clock, COINS, **options), sink, source, clock  # type: ignore[arg-type]


def test_a_tick_forecasts_every_coin_and_duration() -> None:
    runner, sink, _, _ = runner_of()
    batch = runner.tick(START_S + 7_000)
    assert sink.batches == [batch]
    assert set(batch.windows) == {(coin, duration) for coin in COINS for duration in DURATIONS}
    for (coin, _), forecast in batch.windows.items():
        row = list(COINS).index(coin)
        at = np.flatnonzero(batch.grid.horizons_s == seconds_until(forecast.window, batch.end_us))[0]
        exact = ZeroMeanSkewStudentT(
            *(float(table[row, at]) for table in (batch.grid.scale, batch.grid.skew, batch.grid.tail))
        )
        assert forecast.dist.scale == pytest.approx(exact.scale, rel=1e-12)
        assert forecast.dist.tail == exact.tail
        assert forecast.extra_dist.scale > forecast.dist.scale


def test_nothing_at_or_after_the_end_changes_a_batch() -> None:
    runner, _, source, _ = runner_of()
    before = runner.tick(START_S + 7_000)
    for symbol, bars in source.bars.items():
        close = bars.close.copy()
        close[7_000:] *= 1.5
        source.bars[symbol] = replace(bars, open=close, high=close, low=close, close=close)
    again = runner_of()[0]
    again._source = source
    after = again.tick(START_S + 7_000)
    assert before.grid.scale.tolist() == after.grid.scale.tolist()
    assert before.windows == after.windows


@pytest.mark.parametrize(
    "bad", [{"scale": np.nan}, {"scale": -1.0}, {"scale": 1e3}, {"skew": 1.0}, {"tail": 2.0}, {"tail": np.inf}]
)
async def test_a_batch_with_one_bad_member_reaches_no_sink(bad: dict[str, float]) -> None:
    runner, sink, _, clock = runner_of(Bent(**bad))
    with pytest.raises(DataError, match="ETHUSDT"):
        runner.tick(START_S + 7_000)
    assert await runner.step(clock.now_us()) is None
    assert sink.batches == []
    assert (runner.status.forecasts, runner.status.failed) == (0, 1)
    assert "ETHUSDT" in runner.status.last_error


async def test_it_runs_at_each_second_of_the_clock() -> None:
    runner, sink, source, clock = runner_of()
    source.sealed_s += 100
    await clock.advance(0.4)
    task = asyncio.create_task(runner.start())
    await clock.advance(3.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert [batch.end_us // US_PER_S - START_S for batch in sink.batches] == [7_201, 7_202, 7_203]
    assert runner.status.skipped == 0


async def test_late_work_is_skipped_and_never_piles_up() -> None:
    class Slow(Bent):
        def predict(self, sequence: FeatureSequence, horizons_s: np.ndarray) -> DistributionGrid:
            clock._now_us += round(2.5 * US_PER_S)
            return super().predict(sequence, horizons_s)

    runner, sink, source, clock = runner_of(Slow())
    source.sealed_s += 100
    task = asyncio.create_task(runner.start())
    await clock.advance(10.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    ends = [batch.end_us // US_PER_S - START_S - 7_200 for batch in sink.batches]
    assert ends == [1, 4, 7, 10]
    assert runner.status.skipped == 6
    assert runner.status.latency_us == 2_500_000


async def test_seconds_without_a_forecast_are_counted_whoever_asks_for_the_steps() -> None:
    runner, _, source, _ = runner_of()
    source.sealed_s += 100
    for second in (7_201, 7_202, 7_206, 7_206, 7_207):
        await runner.step((START_S + second) * US_PER_S)
    assert runner.status.forecasts == 4
    assert runner.status.skipped == 3


async def test_a_second_that_is_not_sealed_yet_is_forecast_from_the_one_before() -> None:
    runner, sink, source, clock = runner_of()
    source.sealed_s = START_S + 7_198
    await runner.step(clock.now_us())
    assert sink.batches[-1].end_us == (START_S + 7_198) * US_PER_S
    assert await runner.step(clock.now_us()) is None  # nothing newer
    assert (runner.status.forecasts, runner.status.failed) == (1, 0)


async def test_a_feed_that_stands_still_is_reported() -> None:
    runner, sink, source, clock = runner_of()
    source.sealed_s = START_S + 7_000
    assert await runner.step(clock.now_us()) is None
    assert runner.status.failed == 1
    assert "sealed" in runner.status.last_error
    assert sink.batches == []


async def test_inference_in_a_thread_gives_the_same_bits() -> None:
    straight, _, _, clock = runner_of()
    with ThreadPoolExecutor(1) as pool:
        threaded = runner_of(executor=pool)[0]
        one, other = await straight.step(clock.now_us()), await threaded.step(clock.now_us())
    assert one is not None
    assert other is not None
    assert one.grid.scale.tolist() == other.grid.scale.tolist()


def test_a_sink_that_refuses_does_not_keep_the_batch_from_others() -> None:
    runner, sink, _, _ = runner_of()
    runner._sinks = (Refusing(), sink)
    runner.tick(START_S + 7_000)
    assert len(sink.batches) == 1
    assert (runner.status.refused, runner.status.last_error) == (1, "not today")


def test_a_coin_that_the_model_does_not_know_is_refused_at_the_door() -> None:
    with pytest.raises(ConfigError, match="DOGEUSDT"):
        ModelRunner(BarsSource(), MODEL, [], ManualClock(), {"DOGE": "DOGEUSDT"})
