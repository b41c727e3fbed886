"""The calibrator between model and sinks: the bits of a hindcast, a file that outlives a kill, and no harm from what is broken."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crypy.domain.times import US_PER_S
from crypy.forecasting.calibrating import Calibrator
from crypy.forecasting.runner import ModelRunner
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import FeatureSchema, FeatureSequence
from crypy.marketdata.sequence import feature_sequence
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts
from crypy.models.port import DistributionGrid
from crypy.models.recalibration import Recalibration, fold
from crypy.models.volatility import VolatilityBaseline
from crypy.testing.clock import ManualClock

START_S = 1_735_689_600
SYMBOLS = ("BTCUSDT", "ETHUSDT")
MODEL = VolatilityBaseline.prior(SYMBOLS, 1)
GRID_S = (5.0, 20.0, 60.0, 300.0, 900.0)
SETTINGS = Recalibration(horizons_s=(5, 20, 60, 300), persistence_s=60.0)


def bars_of(seconds: int) -> dict[str, Bars]:
    rng = np.random.default_rng(1)
    out: dict[str, Bars] = {}
    for symbol in SYMBOLS:
        close = 100.0 * np.exp(np.cumsum(rng.normal(0, 2e-4, seconds)))
        ones = np.ones(seconds)
        out[symbol] = Bars(
            symbol, START_S, 1, close, close, close, close, ones, close, ones.astype(np.int64), 0.5 * ones
        )
    return out


class Ring:
    """Closes of seconds, as live has them: only those that are sealed, and not from further back than `history_s`."""

    def __init__(self, bars: dict[str, Bars], history_s: int = 10_000) -> None:
        self.bars = bars
        self.sealed_s = START_S
        self.history_s = history_s

    def closes(self, symbol: str, from_s: int) -> tuple[int, np.ndarray]:
        first_s = max(from_s, START_S, self.sealed_s - self.history_s)
        return first_s, self.bars[symbol].close[first_s - START_S : self.sealed_s - START_S]


def grid_at(bars: dict[str, Bars], end_s: int) -> DistributionGrid:
    return MODEL.predict(feature_sequence(bars, end_s, MODEL.schema), np.array(GRID_S))


def calibrator_of(ring: Ring, folder: Path | None = None, settings: Recalibration = SETTINGS) -> Calibrator:
    return Calibrator(ring, MODEL, folder, settings, GRID_S)


def run(calibrator: Calibrator, ring: Ring, moments: range) -> list[DistributionGrid]:
    out: list[DistributionGrid] = []
    for end_s in moments:
        # The ring is a second ahead of the forecast, as it is when inference takes a while.
        ring.sealed_s = end_s + 1
        out.append(calibrator.apply(grid_at(ring.bars, end_s)))
    return out


MOMENTS = range(START_S + 1_000, START_S + 2_500, 2)


def test_live_grids_have_the_bits_of_the_recalibrated_hindcast() -> None:
    bars = bars_of(2_600)
    ring = Ring(bars)
    grids = run(calibrator_of(ring), ring, MOMENTS)
    data = Dataset.of(bars, MOMENTS[0], MOMENTS[-1] + 1, spacing_s=2, horizons_s=(4, 300))
    casts = hindcasts(MODEL, data, np.array(GRID_S))
    changed = 0.0
    for row, symbol in enumerate(SYMBOLS):
        batch, _ = fold(casts[symbol], SETTINGS.rules(np.array(GRID_S), 1))
        assert batch.origins_s.tolist() == list(MOMENTS)
        for name in ("scale", "skew", "tail"):
            assert [getattr(grid, name)[row].tolist() for grid in grids] == getattr(batch, name).tolist()
        changed += float(np.abs(np.log(batch.scale[-1] / casts[symbol].scale[-1])).max())
    assert changed > 0.01


def test_prices_after_the_end_of_a_grid_do_not_matter() -> None:
    bars = bars_of(2_600)
    ring = Ring(bars)
    before = run(calibrator_of(ring), ring, MOMENTS[:300])
    for symbol, one in bars.items():
        close = one.close.copy()
        close[MOMENTS[299] - START_S :] *= 2.0
        bars[symbol] = replace(one, open=close, high=close, low=close, close=close)
    after = run(calibrator_of(ring), ring, MOMENTS[:300])
    assert before[-1].scale.tolist() == after[-1].scale.tolist()
    assert before[-1].tail.tolist() == after[-1].tail.tolist()


def test_a_run_that_was_killed_is_taken_up_where_it_wrote_last(tmp_path: Path) -> None:
    bars = bars_of(2_600)
    ring = Ring(bars)
    whole = run(calibrator_of(ring), ring, MOMENTS)
    first = calibrator_of(ring, tmp_path)
    run(first, ring, MOMENTS[:400])
    first.save()
    # A kill in the middle of the next writing.
    next(tmp_path.glob("*.json")).with_suffix(".new").write_bytes(b'{"model": "vol')
    second = calibrator_of(ring, tmp_path)
    assert not second.note
    assert [grid.scale.tolist() for grid in run(second, ring, MOMENTS[400:])] == [
        grid.scale.tolist() for grid in whole[400:]
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"model": 1}',
        b"\xff\xfe",
        b'{"model":"a","schema":"b","settings":{"half_life_days":-1.0},"symbols":{}}',
    ],
)
def test_a_file_that_cannot_be_read_costs_what_was_learned_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    ring = Ring(bars_of(1_100))
    calibrator_of(ring, tmp_path).save()
    path = next(tmp_path.glob("*.json"))
    path.write_bytes(content)
    again = calibrator_of(ring, tmp_path)
    assert "begins anew" in again.note
    assert str(path) in again.note
    grid = run(again, ring, range(START_S + 1_000, START_S + 1_001))[0]
    assert grid.scale.tolist() == grid_at(ring.bars, START_S + 1_000).scale.tolist()
    again.save()
    assert not again.note
    assert not calibrator_of(ring, tmp_path).note


def test_what_was_learned_under_other_settings_or_in_another_format_is_not_believed(tmp_path: Path) -> None:
    ring = Ring(bars_of(1_100))
    calibrator_of(ring, tmp_path).save()
    other = calibrator_of(ring, tmp_path, replace(SETTINGS, half_life_days=7.0))
    assert "other settings" in other.note
    path = next(tmp_path.glob("*.json"))
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    assert "format 2" in calibrator_of(ring, tmp_path).note


def test_a_folder_that_cannot_be_written_is_told_and_forecasts_go_on(tmp_path: Path) -> None:
    ring = Ring(bars_of(1_200))
    (tmp_path / "file").write_bytes(b"")
    calibrator = calibrator_of(ring, tmp_path / "file" / "below")
    run(calibrator, ring, range(START_S + 1_000, START_S + 1_010))
    calibrator.save()
    assert "cannot be written" in calibrator.note


def test_nothing_learned_later_is_used_by_a_replay_of_what_came_before(tmp_path: Path) -> None:
    ring = Ring(bars_of(2_600))
    fresh = run(calibrator_of(ring), ring, MOMENTS[:200])
    first = calibrator_of(ring, tmp_path)
    run(first, ring, MOMENTS)
    first.save()
    again = calibrator_of(ring, tmp_path)
    assert [grid.scale.tolist() for grid in run(again, ring, MOMENTS[:200])] == [grid.scale.tolist() for grid in fresh]
    assert "learned later" in again.note
    assert again.status(MOMENTS[200])["calibration"] == again.note


def test_versions_of_one_name_are_told_apart_by_their_identity(tmp_path: Path) -> None:
    ring = Ring(bars_of(2_600))
    one = Calibrator(ring, MODEL, tmp_path, SETTINGS, GRID_S, "net:3")
    run(one, ring, MOMENTS[:300])
    one.use(MODEL, "net:4")
    assert one.corrections(MOMENTS[300])["BTCUSDT"][0].trust == 0.0
    one.use(MODEL, "net:3")
    assert one.corrections(MOMENTS[300])["BTCUSDT"][0].trust > 0.0
    assert "x" in one.status(MOMENTS[300])["calibration BTCUSDT"]
    assert len(list(tmp_path.glob("calibration-net_*.json"))) == 2
    # Names whose letters are alike, and one that no file could have.
    for name in ("net/3", " + ".join(["net:3"] * 100)):
        one.use(MODEL, name)
        run(one, ring, range(MOMENTS[300], MOMENTS[300] + 100))
        one.save()
        assert not one.note
    assert len(list(tmp_path.glob("calibration-net_*.json"))) == 4


def test_another_model_begins_with_what_is_known_of_it_and_the_first_is_remembered(tmp_path: Path) -> None:
    ring = Ring(bars_of(2_600))
    calibrator = calibrator_of(ring, tmp_path)
    run(calibrator, ring, MOMENTS[:300])
    learned = calibrator.corrections(MOMENTS[300])
    other = VolatilityBaseline.prior(("BTCUSDT",), 1)
    calibrator.use(other)
    assert [each.trust for each in calibrator.corrections(MOMENTS[300])["BTCUSDT"]] == [0.0] * 4
    # A symbol that the model in use does not know is nobody's to correct.
    late = grid_at(ring.bars, MOMENTS[300])
    assert calibrator.apply(late).scale[1].tolist() == late.scale[1].tolist()
    calibrator.use(MODEL)
    assert calibrator.corrections(MOMENTS[300]) == learned
    assert learned["BTCUSDT"][0].trust > 0.0


@pytest.mark.parametrize("bad", [{"scale": np.nan}, {"scale": -1.0}, {"skew": 1.0}, {"tail": 2.0}, {"tail": np.inf}])
def test_laws_that_are_none_are_handed_back_and_never_learned_from(bad: dict[str, float]) -> None:
    ring = Ring(bars_of(1_600))
    calibrator = calibrator_of(ring)
    for end_s in range(START_S + 1_000, START_S + 1_500):
        ring.sealed_s = end_s
        grid = grid_at(ring.bars, end_s)
        for name, value in bad.items():
            getattr(grid, name)[1, 2] = value
        found = calibrator.apply(grid)
        assert found.scale[1].tolist() == grid.scale[1].tolist() or np.isnan(grid.scale[1]).any()
    told = calibrator.corrections(START_S + 1_500)
    assert told["BTCUSDT"][0].trust > 0.0
    assert told["ETHUSDT"][0].trust == 0.0


def test_earlier_forecasts_of_the_model_warm_what_nothing_is_known_of() -> None:
    bars = bars_of(2_600)
    ring = Ring(bars)
    calibrator = calibrator_of(ring)
    run(calibrator, ring, range(START_S + 900, START_S + 1_000))
    assert calibrator.horizons_s == (5, 20, 60, 300)
    data = Dataset.of(bars, START_S + 600, START_S + 2_000, spacing_s=60, horizons_s=(300,))
    calibrator.warm(hindcasts(MODEL, data, np.array(calibrator.horizons_s, float)))
    assert all(each[-1].trust == 0.0 for each in calibrator.corrections(START_S + 2_000).values())
    fresh = calibrator_of(ring)
    assert fresh.fresh == SYMBOLS
    fresh.warm(hindcasts(MODEL, data, np.array(fresh.horizons_s, float)))
    assert all(each[-1].trust > 0.0 for each in fresh.corrections(START_S + 2_000).values())
    assert fresh.fresh == ()
    assert len(fresh.hour("BTCUSDT", START_S + 2_000)) == 60


def test_it_writes_every_minute_and_at_the_end(tmp_path: Path) -> None:
    ring = Ring(bars_of(1_700))
    calibrator = calibrator_of(ring, tmp_path)

    async def scene() -> bytes:
        clock = ManualClock(START_S * US_PER_S)
        task = asyncio.create_task(calibrator.run(clock))
        await clock.advance(59.0)
        assert not written(tmp_path)
        async with asyncio.timeout(60):
            while not (before := written(tmp_path)):
                await clock.advance(1.0)
        run(calibrator, ring, range(START_S + 1_000, START_S + 1_100))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return before

    assert asyncio.run(scene()) != written(tmp_path)


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("*.json"))


def test_a_runner_hands_on_what_was_corrected() -> None:
    class Source(Ring):
        def feature_sequence(self, end_s: int, schema: FeatureSchema) -> FeatureSequence:
            return feature_sequence(self.bars, end_s, schema)

    source = Source(bars_of(2_000))
    calibrator = Calibrator(source, MODEL)
    coins = {"BTC": "BTCUSDT", "ETH": "ETHUSDT"}
    runner = ModelRunner(source, MODEL, (), ManualClock(), coins, correct=calibrator.apply)
    plain = ModelRunner(source, MODEL, (), ManualClock(), coins)
    end_s = START_S + 1_895
    for moment_s in range(START_S + 1_000, end_s + 1, 5):
        source.sealed_s = moment_s
        runner.tick(moment_s)
    batch, uncorrected = runner.tick(end_s), plain.tick(end_s)
    assert batch.grid.scale.tolist() != uncorrected.grid.scale.tolist()
    told = {each.horizon_s: each.scale for each in calibrator.corrections(end_s)["BTCUSDT"]}
    column = int(np.flatnonzero(batch.grid.horizons_s == 5.0)[0])
    ratio = batch.grid.scale[0, column] / uncorrected.grid.scale[0, column]
    assert ratio == pytest.approx(told[5], rel=0.2)
    assert batch.windows["BTC", "5m"].dist.scale != uncorrected.windows["BTC", "5m"].dist.scale
    # What the model itself says goes along: models are compared by that.
    assert batch.by_model.scale.tolist() == uncorrected.by_model.scale.tolist() == uncorrected.grid.scale.tolist()
    assert uncorrected.raw is None
