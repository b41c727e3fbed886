"""Segments of the past: where they lie, and what is said of each, against a slow version that goes minute by minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from crypy.domain.errors import ConfigError, Incomplete
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import CHANNELS, Block
from crypy.models.dataset import Dataset
from crypy.models.memory import FLOOR_PER_S
from crypy.models.network.input_statistics import fit_inputs
from crypy.models.network.inputs import TIMES
from crypy.models.network.settings import CHANNELS_BY_DEFAULT, NetworkSettings
from crypy.models.season import SLOTS
from crypy.models.segment_plan import edges_s, segments_plan, windows_plan
from crypy.models.segments import AHEAD_S, NOW_S
from crypy.models.volatility import VolatilityBaseline

Market = Callable[..., Bars]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.mark.parametrize("step_s", [1, 4, 30, 60, 300, 900, 3_600])
def test_segments_cover_the_past_once_on_borders_of_their_blocks(step_s: int) -> None:
    blocks = NetworkSettings.for_step(step_s).blocks
    edges, plan = edges_s(blocks), segments_plan(blocks)
    assert 0.95 * 604_800 < edges[-1] <= 604_800
    spans = [(near * blocks[index].step_s, far * blocks[index].step_s) for index, near, far in plan.tolist()]
    assert spans == list(pairwise(edges))
    assert all(far <= blocks[index].length for index, _, far in plan.tolist())
    assert (np.diff(edges) > 0).all()
    assert 12 < len(plan) < 45


def test_edges_are_log_spaced_minutes() -> None:
    assert [edge // 60 for edge in edges_s(NetworkSettings.for_step(60).blocks)] == [
        0, 1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 135, 200, 240, 300, 480, 720, 1_080, 1_440, 2_160, 2_880, 4_320, 7_200, 10_080,
    ]  # fmt: skip


def test_windows_are_those_of_each_block_oldest_first() -> None:
    blocks = (Block(60, 3, CHANNELS_BY_DEFAULT), Block(900, 2, CHANNELS_BY_DEFAULT))
    assert windows_plan(blocks).tolist() == [[0, 2, 3], [0, 1, 2], [0, 0, 1], [1, 1, 2], [1, 0, 1]]


@pytest.mark.parametrize(
    "blocks",
    [
        (Block(60, 10, CHANNELS_BY_DEFAULT), Block(900, 10, CHANNELS_BY_DEFAULT)),
        (Block(60, 60, CHANNELS_BY_DEFAULT), Block(900, 4, CHANNELS_BY_DEFAULT)),
    ],
)
def test_blocks_that_do_not_join_are_refused(blocks: tuple[Block, ...]) -> None:
    with pytest.raises(ConfigError, match="choose other blocks"):
        edges_s(blocks)


def test_settings_that_cannot_be_name_all_their_mistakes() -> None:
    with pytest.raises(ConfigError, match="no usual blocks"):
        NetworkSettings.for_step(7_000)
    with pytest.raises(ConfigError, match=r"dropout 1.0 .*knots_s.*fade from"):
        NetworkSettings.for_step(60, dropout=1.0, knots_s=(3.0, 1.0), fade_from_s=5.0, fade_to_s=5.0)
    with pytest.raises(ConfigError, match="ascending steps"):
        NetworkSettings(blocks=())
    with pytest.raises(ConfigError, match="realised_variance"):
        NetworkSettings(blocks=(Block(60, 5, ("returns",)),))


@pytest.fixture(scope="module")
def bars(make_market: Market) -> dict[str, Bars]:
    out: dict[str, Bars] = {}
    for seed, symbol in enumerate(SYMBOLS):
        one = make_market(10, seed, symbol=symbol)
        rng = np.random.default_rng(seed)
        spread = 1.0 + np.abs(rng.normal(0.0, 4e-4, len(one)))
        count = rng.integers(0, 40, len(one))
        volume = rng.integers(1, 1_000, len(one)) / 100.0
        out[symbol] = replace(
            one, high=one.close * spread, low=one.close / spread, quote_volume=np.round(np.exp(rng.normal(9.0, 1.0, len(one))), 6),
            count=count, volume=volume, taker_buy_volume=np.round(volume * rng.random(len(one)), 8),
        )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def dataset(bars: dict[str, Bars]) -> Dataset:
    start_s = bars["BTCUSDT"].start_s
    return Dataset.of(bars, start_s + 8 * 86_400, start_s + 9 * 86_400, spacing_s=900)


@pytest.fixture(scope="module")
def baseline() -> VolatilityBaseline:
    return VolatilityBaseline.prior(SYMBOLS, 60)


def seasons(tables: list[np.ndarray], seconds: np.ndarray) -> np.ndarray:
    """exp of two weekly tables at each second, New York's by the calendar."""
    zone = ZoneInfo("America/New_York")
    offsets = np.array(
        [datetime.fromtimestamp(int(at), UTC).astimezone(zone).utcoffset().total_seconds() for at in seconds]
    )
    return np.exp(tables[0][seconds // 300 % SLOTS] + tables[1][(seconds + offsets.astype(int)) // 300 % SLOTS])


def test_each_number_is_the_slow_versions(
    bars: dict[str, Bars], dataset: Dataset, baseline: VolatilityBaseline
) -> None:
    """Over the minutes' block, where a cell is a minute; longer blocks are the same kernel."""
    settings = NetworkSettings(blocks=(Block(60, 2_880, tuple(CHANNELS)),))
    inputs = fit_inputs(dataset, baseline, settings)
    end_s = dataset.start_s + 4_500
    raw = inputs.raw(np.array([end_s]), dataset.windows(inputs.schema, np.array([end_s])).values)[0]
    for row, symbol in enumerate(SYMBOLS):
        one = bars[symbol]
        last = (end_s - one.start_s) // 60
        minutes = np.arange(last - 2_880, last)
        at = one.start_s + 60 * minutes
        s2 = seasons([inputs.variance_utc[row], inputs.variance_new_york[row]], at)
        usual = seasons([inputs.volume_utc[row], inputs.volume_new_york[row]], at)
        level = np.exp(inputs.volume_utc[row].mean())
        r = np.log(one.close[minutes] / one.close[minutes - 1])
        hl = np.log(one.high[minutes] / one.low[minutes])
        imbalance = 2.0 * one.taker_buy_volume[minutes] / one.volume[minutes] - 1.0
        day = np.sqrt((r**2 / s2)[-1_440:].sum() / 86_400 + FLOOR_PER_S)
        edges = [edge // 60 for edge in edges_s(settings.blocks)]
        for k, (near, far) in enumerate(pairwise(edges)):
            part = slice(2_880 - far, 2_880 - near)
            span_s = 60.0 * (far - near)
            expected = {
                "returns": (r / np.sqrt(s2))[part].sum() / np.sqrt(span_s) / day,
                "realised_variance": 0.5 * np.log((r**2 / s2)[part].sum() / span_s + FLOOR_PER_S),
                "range": 0.5 * np.log((hl**2 / s2)[part].sum() / (4 * np.log(2)) / span_s + 0.3 * FLOOR_PER_S),
                "volume": np.log((one.quote_volume[minutes] / usual)[part].sum() / span_s + 1e-3),
                "trade_count": np.log((one.count[minutes] / usual * level)[part].sum() / span_s + 1e-4),
                "taker_imbalance": imbalance[part].mean(),
            }
            found = dict(zip(CHANNELS, raw[row, 6 * k : 6 * k + 6].tolist(), strict=True))
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-6), (symbol, near, far)
        place = 6 * (len(edges) - 1)
        for cells, told in zip((5, 15, 60), raw[row, place : place + 3], strict=True):
            path = np.log(one.close[last - 1 - cells : last])
            assert told == pytest.approx((path[-1] - path.min()) / (path.max() - path.min()) - 0.5, abs=1e-9)
        tables = [inputs.variance_utc[row], inputs.variance_new_york[row]]
        ahead = [0.5 * np.log(seasons(tables, np.arange(end_s, end_s + h, 60)).mean()) for h in AHEAD_S]
        now = [0.5 * np.log(seasons(tables, np.array([end_s + shift]))[0]) for shift in NOW_S]
        np.testing.assert_allclose(raw[row, place + 3 :], ahead + now, atol=1e-9)


def test_x_is_own_others_and_time(dataset: Dataset, baseline: VolatilityBaseline) -> None:
    inputs = fit_inputs(dataset, baseline, NetworkSettings.for_step(60))
    windows = dataset.windows(inputs.schema, dataset.origins_s())
    x, own = inputs.of(windows), inputs.own
    raw = inputs.raw(windows.ends_s, windows.values)
    z = np.clip((raw - inputs.mean) / inputs.deviation, -6.0, 6.0)
    assert inputs.whole(windows).all()
    assert (x.shape, x.dtype) == ((len(windows), 3, inputs.width), np.float32)
    np.testing.assert_allclose(x[:, :, :own], z, atol=1e-6)
    np.testing.assert_allclose(x[:, 0, own : 2 * own], z[:, 1:].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(raw.mean(axis=0), inputs.mean, atol=1e-9)
    seconds = windows.ends_s.astype(float)
    np.testing.assert_allclose(x[:, 1, -TIMES], np.sin(2 * np.pi * seconds / 604_800), atol=1e-6)
    np.testing.assert_allclose(x[:, 1, 2 * own + 4 * 7 + 1], np.cos(2 * np.pi * seconds / 3_600), atol=1e-6)
    local = seconds - 5 * 3_600
    np.testing.assert_allclose(x[:, 1, 2 * own + 4 * 3 + 2], np.sin(2 * np.pi * local / 86_400), atol=1e-6)
    single, whole = inputs.of_one(windows[7])
    assert single.tobytes() == x[7].tobytes()
    assert whole.all()


def test_a_sequence_is_normalised_by_channel(dataset: Dataset, baseline: VolatilityBaseline) -> None:
    blocks = (Block(60, 20, CHANNELS_BY_DEFAULT), Block(900, 4, CHANNELS_BY_DEFAULT))
    inputs = fit_inputs(dataset, baseline, NetworkSettings(blocks=blocks, encoder="lstm"))
    first = inputs.mean[0, : 20 * 4].reshape(20, 4)
    assert (first == first[0]).all()
    windows = dataset.windows(inputs.schema, dataset.origins_s())
    cells = inputs.of(windows)[:, 0, : 20 * 4].reshape(len(windows), 20, 4)
    np.testing.assert_allclose(cells.std(axis=(0, 1)), 1.0, atol=0.1)


def test_a_range_without_whole_histories_is_refused(bars: dict[str, Bars], baseline: VolatilityBaseline) -> None:
    start_s = bars["BTCUSDT"].start_s
    short = Dataset.of(bars, start_s, start_s + 5 * 86_400, spacing_s=3_600)
    with pytest.raises(Incomplete, match=r"BTCUSDT.*604,860 s.*longer range"):
        fit_inputs(short, baseline, NetworkSettings.for_step(60))
