"""Many networks as one computation: the numbers of each alone, in every layout, for one moment and for many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

pytest.importorskip("equinox", reason="the train extra is not installed")

from crypy.domain.errors import ConfigError, DataError
from crypy.features.indicators import ClosePosition, LogReturn
from crypy.marketdata.bars import Bars
from crypy.models.direction.inputs import Column, DirectionInputs
from crypy.models.direction.market import Market
from crypy.models.direction.network import NETWORK, DirectionNetwork
from crypy.models.direction.perceptron import PerceptronSettings, perceptron_specs
from crypy.models.direction.scaling import ScaledInputs, scaling_specs
from crypy.models.direction.serving_jax import ManyNetworks
from crypy.models.volatility import FitRecord

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
INPUTS = DirectionInputs(
    SYMBOLS,
    60,
    (
        Column.of(LogReturn(1), odd=True),
        Column.of(LogReturn(5), "others", odd=True),
        Column.of(ClosePosition(3), lag=1, odd=True),
        Column.of(LogReturn(2)),
    ),
)
LAYOUTS = {
    f"{hidden} {'shared' if shared else 'own'} {'mirrored' if mirrored else 'two heads'}": PerceptronSettings(
        hidden=hidden, members=members, shared=shared, mirrored=mirrored, clip=2.0
    )
    for hidden, members in (((8, 5), 3), ((), 1))
    for shared in (True, False)
    for mirrored in (True, False)
}


def arrays_of(
    settings: PerceptronSettings, rng: np.random.Generator, inputs: DirectionInputs = INPUTS
) -> dict[str, np.ndarray]:
    specs = {**perceptron_specs(settings, inputs), **scaling_specs(inputs)}
    arrays = {name: rng.normal(0.0, 0.7, spec.shape).astype(np.float32) for name, spec in specs.items()}
    arrays["mean"] = np.where(inputs.odd, 0.0, 1e-3 * arrays["mean"]).astype(np.float32)
    arrays["deviation"] = (1e-3 * (0.5 + np.abs(arrays["deviation"]))).astype(np.float32)
    return arrays


def network_of(
    settings: PerceptronSettings, arrays: dict[str, np.ndarray], inputs: DirectionInputs = INPUTS
) -> DirectionNetwork:
    scaling = ScaledInputs.of_arrays(inputs, settings.clip, arrays)
    own = {name: arrays[name] for name in perceptron_specs(settings, inputs)}
    return DirectionNetwork(NETWORK, settings, scaling, own, FitRecord())


@pytest.fixture(scope="module")
def market() -> Market:
    rng = np.random.default_rng(4)
    bars: dict[str, Bars] = {}
    for symbol in SYMBOLS:
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, 80)))
        high, low = close * 1.0007, close * 0.9995
        ones = np.ones(80)
        bars[symbol] = Bars(symbol, 1_735_689_600, 60, close, high, low, close, ones, ones, ones.astype(np.int64), ones)
    return Market.of(bars)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_model_says_what_it_says_alone(layout: str, market: Market) -> None:
    settings, rng = LAYOUTS[layout], np.random.default_rng(1)
    each = [arrays_of(settings, rng) for _ in range(5)]
    alone = [network_of(settings, arrays) for arrays in each]
    many = ManyNetworks(settings, INPUTS, {name: np.stack([one[name] for one in each]) for name in each[0]})
    assert many.count == 5
    for member in (*alone, many):
        member.prepare(market)
    rows = np.arange(80)
    told = many.ask(market, rows)
    assert told.p_up.shape == told.p_down.shape == (5, 80, 3)
    for index, model in enumerate(alone):
        expected = model.ask(market, rows)
        np.testing.assert_allclose(told.p_up[index], expected.p_up, atol=2e-6)
        np.testing.assert_allclose(told.p_down[index], expected.p_down, atol=2e-6)
    assert np.isnan(told.p_up[:, 0]).all()
    assert np.isfinite(told.p_up[:, 40:]).all()
    assert np.ptp(told.p_up[:, 40:], axis=0).min() > 0.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_moment_alone_and_rows_in_chunks_agree_with_all_at_once(
    layout: str, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, rng = LAYOUTS[layout], np.random.default_rng(2)
    each = [arrays_of(settings, rng) for _ in range(3)]
    stacked = {name: np.stack([one[name] for one in each]) for name in each[0]}
    many = ManyNetworks(settings, INPUTS, stacked)
    many.prepare(market)
    rows = np.arange(10, 47)
    together = many.ask(market, rows)
    monkeypatch.setattr("crypy.models.direction.serving_jax._UNITS_AT_ONCE", 2_000)
    chunked = ManyNetworks(settings, INPUTS, stacked).ask(market, rows)
    np.testing.assert_allclose(chunked.p_up, together.p_up, atol=1e-6)
    one = many.ask(market, rows[7:8])
    np.testing.assert_allclose(one.p_down[:, 0], together.p_down[:, 7], atol=1e-6)
    assert many.ask(market, np.empty(0, np.int64)).p_up.shape == (3, 0, 3)


def test_a_hundred_models_lie_on_one_device() -> None:
    settings, rng = LAYOUTS["(8, 5) shared mirrored"], np.random.default_rng(3)
    arrays = arrays_of(settings, rng)
    many = ManyNetworks(settings, INPUTS, {name: np.repeat(one[None], 100, axis=0) for name, one in arrays.items()})
    x = rng.normal(0.0, 1e-3, (1, 3, INPUTS.width)).astype(np.float32)
    told = many.chances(x)
    assert np.ptp(told, axis=1).max() == 0.0
    assert (told.sum(axis=0) <= 1.0 + 1e-6).all()
    assert many.device.partition(":")[0] in ("cpu", "gpu", "cuda", "rocm", "tpu")
    assert many.megabytes == pytest.approx(100 * sum(one.nbytes for one in arrays.values()) / 1e6)


def test_networks_are_loaded_from_their_folders_and_have_to_be_alike(tmp_path: Path, market: Market) -> None:
    settings, rng = LAYOUTS["(8, 5) shared mirrored"], np.random.default_rng(5)
    paths = [tmp_path / name for name in ("one", "two")]
    models = [network_of(settings, arrays_of(settings, rng)) for _ in paths]
    for path, model in zip(paths, models, strict=True):
        model.save(path)
    many = ManyNetworks.load(paths)
    many.prepare(market)
    told, expected = many.ask(market, np.array([50])), models[1].ask(market, np.array([50]))
    np.testing.assert_allclose(told.p_up[1], expected.p_up, atol=2e-6)
    other = replace(settings, hidden=(4,))
    network_of(other, arrays_of(other, rng)).save(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"other differs from .*one"):
        ManyNetworks.load([*paths, tmp_path / "other"])
    with pytest.raises(ConfigError, match="no network was named"):
        ManyNetworks.load([])


def test_weights_that_do_not_fit_are_refused() -> None:
    settings, rng = LAYOUTS["(8, 5) shared mirrored"], np.random.default_rng(6)
    good = {name: np.stack([one, one]) for name, one in arrays_of(settings, rng).items()}
    name = next(iter(perceptron_specs(settings, INPUTS)))
    for wrong in (
        {key: one for key, one in good.items() if key != name},
        {**good, name: good[name][:, :, :, 1:]},
        {**good, name: good[name][:1]},
        {key: one[:0] for key, one in good.items()},
    ):
        with pytest.raises(DataError, match="weights of many networks"):
            ManyNetworks(settings, INPUTS, wrong)
