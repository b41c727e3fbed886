"""The network's forecasts: the baseline's before training, JAX's after it, the same alone and in a batch, and never the future's."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as tensors

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.marketdata.schema import Block
from crypy.marketdata.sequence import feature_sequence
from crypy.models import load_model
from crypy.models.artefact import read_card
from crypy.models.dataset import Dataset
from crypy.models.hindcast import hindcasts, one_by_one
from crypy.models.network.head import fade, horizon_basis
from crypy.models.network.input_statistics import fit_inputs
from crypy.models.network.inputs import Inputs
from crypy.models.network.modules import Network, build, corrected
from crypy.models.network.settings import CHANNELS_BY_DEFAULT, NetworkSettings
from crypy.models.port import DistributionGrid
from crypy.models.selection import select
from crypy.models.skew_t_network import SkewTNetwork
from crypy.models.volatility import FitRecord, VolatilityBaseline

Market = Callable[..., Bars]
Networks = Callable[[str], SkewTNetwork]
DAY_S = 86_400
HORIZONS = np.array([1.0, 60.0, 100.0, 300.0, 900.0, 3_600.0, 7_000.0, 14_400.0, 86_400.0, 172_800.0])
BLOCKS = (Block(60, 60, CHANNELS_BY_DEFAULT), Block(900, 96, CHANNELS_BY_DEFAULT))
SETTINGS = NetworkSettings(blocks=BLOCKS, hidden=(16, 8), members=2)
SEQUENCES = (
    "lstm", pytest.param("convolution", marks=pytest.mark.slow), pytest.param("recurrence", marks=pytest.mark.slow),
)  # fmt: skip


def with_volume(bars: Bars, seed: int) -> Bars:
    """Bars whose ranges and volumes move too."""
    rng = np.random.default_rng(seed)
    spread = 1.0 + np.abs(rng.normal(0.0, 4e-4, len(bars)))
    quotes = np.exp(rng.normal(10.0, 1.0, len(bars)))
    return replace(bars, high=bars.close * spread, low=bars.close / spread, quote_volume=quotes)


@pytest.fixture(scope="module")
def bars(make_market: Market) -> dict[str, Bars]:
    return {
        symbol: with_volume(make_market(9, seed, symbol=symbol), seed)
        for seed, symbol in enumerate(("BTCUSDT", "ETHUSDT"))
    }


@pytest.fixture(scope="module")
def dataset(bars: dict[str, Bars]) -> Dataset:
    start_s = bars["BTCUSDT"].start_s
    return Dataset.of(bars, start_s + DAY_S, start_s + 8 * DAY_S, spacing_s=1_800)


@pytest.fixture(scope="module")
def baseline() -> VolatilityBaseline:
    return VolatilityBaseline.prior(("BTCUSDT", "ETHUSDT"), 60)


def moved(settings: NetworkSettings, inputs: Inputs, size: float = 0.1) -> list[Network]:
    """Modules that are far from where they start."""
    untrained = build(settings, inputs, jax.random.key(0))
    parameters, rest = eqx.partition(untrained, eqx.is_array)
    out: list[Network] = []
    for member in range(settings.members):
        rng = np.random.default_rng(100 + member)
        noisy = jax.tree.map(
            lambda leaf, rng=rng: jnp.asarray(leaf + size * rng.normal(size=leaf.shape).astype(np.float32)), parameters
        )
        out.append(eqx.combine(noisy, rest))
    return out


def made(dataset: Dataset, baseline: VolatilityBaseline, encoder: str = "segments", size: float = 0.1) -> SkewTNetwork:
    settings = NetworkSettings(blocks=BLOCKS, hidden=(16, 8), members=2, state=8, encoder=encoder)  # type: ignore[arg-type]
    inputs = fit_inputs(dataset, baseline, settings)
    modules = moved(settings, inputs, size) if size else [build(settings, inputs, jax.random.key(0))]
    return SkewTNetwork.of(baseline, settings, inputs, modules, FitRecord(1, 2, "f" * 64, (), {"lr": 0.1}, seed=7))


@pytest.fixture(scope="module")
def networks(dataset: Dataset, baseline: VolatilityBaseline) -> Networks:
    """`made` of each encoder, once."""
    return lru_cache(maxsize=None)(lambda encoder: made(dataset, baseline, encoder))


@pytest.fixture(scope="module")
def model(networks: Networks) -> SkewTNetwork:
    return networks("segments")


def laws(grid: DistributionGrid) -> list[bytes]:
    return [part.tobytes() for part in (grid.scale, grid.skew, grid.tail, grid.history_s)]


@pytest.mark.parametrize("encoder", ["segments", *SEQUENCES])
def test_untrained_it_is_the_baseline_bit_for_bit(
    dataset: Dataset, baseline: VolatilityBaseline, bars: dict[str, Bars], encoder: str
) -> None:
    model = made(dataset, baseline, encoder, size=0.0)
    assert model.settings.members == 1
    sequence = feature_sequence(bars, dataset.start_s + 5 * DAY_S, model.schema)
    own = baseline.predict(select(sequence, baseline.schema), HORIZONS)
    assert laws(model.predict(sequence, HORIZONS)) == laws(own)


@pytest.mark.parametrize("encoder", ["segments", *SEQUENCES])
def test_serving_is_what_was_trained(
    dataset: Dataset, baseline: VolatilityBaseline, networks: Networks, encoder: str
) -> None:
    """The members' mean through JAX, one coin at a time, against what `predict` answers."""
    model = networks(encoder)
    settings, inputs = model.settings, model.inputs
    windows = dataset.windows(model.schema, dataset.origins_s()[150:153])
    x = inputs.of(windows)
    basis = jnp.asarray(horizon_basis(HORIZONS, settings), jnp.float32)
    fading = jnp.asarray(fade(HORIZONS, settings), jnp.float32)
    modules = moved(settings, inputs)

    @jax.jit
    def expected(one: jax.Array, symbol: jax.Array, law: list[jax.Array]) -> tuple[jax.Array, ...]:
        mean = jnp.mean(jnp.stack([module(one, symbol, basis) for module in modules]), axis=0)
        return corrected(law[0], law[1], law[2], mean, fading)

    for row in range(len(windows)):
        grid = model.predict(windows[row], HORIZONS)
        base = baseline.predict(select(windows[row], baseline.schema), HORIZONS)
        for s in range(len(model.symbols)):
            law = [jnp.asarray(part[s], jnp.float32) for part in (np.log(base.scale), base.skew, base.tail)]
            log_scale, skew, tail = expected(jnp.asarray(x[row, s]), jnp.int32(s), law)
            scale = np.maximum.accumulate(np.exp(np.asarray(log_scale, np.float64)))
            np.testing.assert_allclose(grid.scale[s], scale, rtol=1e-5)
            np.testing.assert_allclose(grid.skew[s], skew, atol=1e-5)
            np.testing.assert_allclose(grid.tail[s], tail, rtol=1e-5)
        inside = fade(HORIZONS, settings) > 0.0
        assert (np.abs(np.log(grid.scale / base.scale))[:, inside] > 1e-3).any()
        assert grid.skew[:, ~inside].tobytes() == base.skew[:, ~inside].tobytes()
        assert grid.tail[:, ~inside].tobytes() == base.tail[:, ~inside].tobytes()


@pytest.mark.parametrize("encoder", ["segments", "lstm"])
def test_a_batch_gives_the_bits_of_one_by_one(
    dataset: Dataset, baseline: VolatilityBaseline, bars: dict[str, Bars], networks: Networks, encoder: str
) -> None:
    model = networks(encoder)
    early = Dataset.of(bars, bars["BTCUSDT"].start_s, dataset.end_s, spacing_s=7_200).every(7_200, 60)
    fast, slow = hindcasts(model, early, HORIZONS[1:]), one_by_one(model, early, HORIZONS[1:])
    unmoved = hindcasts(baseline, early, HORIZONS[1:])
    for symbol in model.symbols:
        for name in ("returns", "scale", "skew", "tail"):
            assert getattr(fast[symbol], name).tobytes() == getattr(slow[symbol], name).tobytes()
        same = fast[symbol].skew[:, 2] == unmoved[symbol].skew[:, 2]
        # The first day lacks history: 11 or 12 origins of the baseline alone, none later.
        assert same[:12].all()
        assert not same[13:].any()


def test_a_coin_without_history_is_the_baselines_and_spoils_no_other(
    dataset: Dataset, baseline: VolatilityBaseline, bars: dict[str, Bars]
) -> None:
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    end_s = dataset.start_s + 5 * DAY_S
    late = replace(bars["ETHUSDT"], symbol="SOLUSDT", close=bars["ETHUSDT"].close.copy())
    late.close[: (end_s - DAY_S // 2 - late.start_s) // 60] = np.nan
    three = VolatilityBaseline.prior(symbols, 60)
    full = Dataset.of({**bars, "SOLUSDT": replace(bars["ETHUSDT"], symbol="SOLUSDT")}, dataset.start_s, spacing_s=1_800)
    model = made(full, three)
    sequence = feature_sequence({**bars, "SOLUSDT": late}, end_s, model.schema)
    grid, base = model.predict(sequence, HORIZONS), three.predict(select(sequence, three.schema), HORIZONS)
    assert grid.scale[2].tobytes() == base.scale[2].tobytes()
    assert (grid.skew[:2, 3] != base.skew[:2, 3]).all()
    alone = feature_sequence(
        {"BTCUSDT": bars["BTCUSDT"], "ETHUSDT": replace(late, symbol="ETHUSDT"), "SOLUSDT": late}, end_s, model.schema
    )
    # Without any other coin the inputs are none that were trained on.
    assert (
        model.predict(alone, HORIZONS).skew.tobytes()
        == three.predict(select(alone, three.schema), HORIZONS).skew.tobytes()
    )


def test_nothing_at_or_after_the_end_matters(model: SkewTNetwork, bars: dict[str, Bars], dataset: Dataset) -> None:
    end_s = dataset.start_s + 4 * DAY_S + 600
    first = (end_s - bars["BTCUSDT"].start_s) // 60
    rng = np.random.default_rng(0)

    def changed(one: Bars, at: int) -> Bars:
        noise = np.ones(len(one))
        noise[at:] = np.exp(rng.normal(0.0, 0.05, len(one) - at))
        prices = {name: getattr(one, name) * noise for name in ("open", "high", "low", "close")}
        return replace(one, **prices, quote_volume=one.quote_volume * noise)

    before = model.predict(feature_sequence(bars, end_s, model.schema), HORIZONS)
    after = model.predict(
        feature_sequence({symbol: changed(one, first) for symbol, one in bars.items()}, end_s, model.schema), HORIZONS
    )
    earlier = model.predict(
        feature_sequence({symbol: changed(one, first - 1) for symbol, one in bars.items()}, end_s, model.schema),
        HORIZONS,
    )
    assert laws(before) == laws(after)
    assert laws(before) != laws(earlier)


def test_what_is_fitted_sees_nothing_outside_the_range(
    baseline: VolatilityBaseline, bars: dict[str, Bars], dataset: Dataset
) -> None:
    cut = {
        symbol: replace(one, close=one.close.copy(), quote_volume=one.quote_volume.copy())
        for symbol, one in bars.items()
    }
    for one in cut.values():
        first = (dataset.end_s - one.start_s) // 60
        one.close[first:] *= 3.0
        one.quote_volume[first:] *= 9.0
    again = Dataset.of(cut, dataset.start_s, dataset.end_s, spacing_s=1_800)
    found = fit_inputs(again, baseline, SETTINGS).arrays()
    for name, array in fit_inputs(dataset, baseline, SETTINGS).arrays().items():
        assert found[name].tobytes() == array.tobytes()


def test_the_scale_never_falls_and_laws_stay_lawful_whatever_the_network_says(
    dataset: Dataset, baseline: VolatilityBaseline
) -> None:
    wild = made(dataset, baseline, size=3.0)
    horizons = np.unique(np.round(np.logspace(0, np.log10(172_800), 200)))
    for cast in wild.hindcasts(dataset.every(14_400), horizons).values():
        assert np.isfinite(cast.scale).all()
        assert (np.diff(cast.scale, axis=1) >= 0.0).all()
        assert (np.abs(cast.skew) < 1.0).all()
        assert (cast.tail > 2.0).all()


@pytest.mark.parametrize("encoder", ["segments", *SEQUENCES])
def test_an_artefact_comes_back_bit_for_bit(dataset: Dataset, networks: Networks, tmp_path: Path, encoder: str) -> None:
    model = networks(encoder)
    model.save(tmp_path / "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["arrays.safetensors", "baseline", "card.json"]
    loaded = load_model(tmp_path / "net")
    assert isinstance(loaded, SkewTNetwork)
    assert (loaded.record, loaded.settings) == (model.record, model.settings)
    windows = dataset.windows(model.schema, dataset.origins_s()[150:151])
    assert laws(loaded.predict(windows[0], HORIZONS)) == laws(model.predict(windows[0], HORIZONS))


def test_segments_are_served_without_jax(model: SkewTNetwork, tmp_path: Path) -> None:
    model.save(tmp_path / "net")
    code = (
        "import sys; from pathlib import Path; from crypy.models import load_model; import numpy as np\n"
        f"model = load_model(Path({str(tmp_path / 'net')!r}))\n"
        "from crypy.marketdata.schema import FeatureSequence\n"
        "blocks, n = model.schema.blocks, len(model.symbols)\n"
        "values = tuple(np.full((n, b.length, len(b.channels)), 1e-4) for b in blocks)\n"
        "known = tuple(np.ones((n, b.length), bool) for b in blocks)\n"
        "clocks = tuple(np.zeros((b.length, 4)) for b in blocks)\n"
        "grid = model.predict(FeatureSequence(1735776000, model.schema, values, known, clocks, np.ones(n)), np.array([300.0]))\n"
        "assert np.isfinite(grid.scale).all()\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('jax', 'jaxlib', 'equinox', 'optax')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=110)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_numbers_of_horizons_need_no_new_compilation(dataset: Dataset, networks: Networks) -> None:
    model = networks("lstm")
    compiled = model._tables._tables  # type: ignore[attr-defined]
    assert compiled._cache_size() == 1
    windows = dataset.windows(model.schema, dataset.origins_s()[150:152])
    for count in range(1, len(HORIZONS)):
        model.predict(windows[0], HORIZONS[:count])
    hindcasts(model, dataset.every(86_400), HORIZONS[1:])
    assert compiled._cache_size() == 1


def test_without_jax_a_sequence_encoder_says_what_to_install(
    networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks("lstm").save(tmp_path / "net")
    assert read_card(tmp_path / "net").runtime == "jax"
    monkeypatch.setitem(sys.modules, "crypy.models.network.jax_serving", None)
    with pytest.raises(ConfigError, match=r"lstm is served by JAX.*crypy\[train\]"):
        load_model(tmp_path / "net")


def _tell(folder: Path, **settings: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "settings": {**card["settings"], **settings}}))


def _put(folder: Path, **changes: np.ndarray | None) -> None:
    found = {**tensors.load((folder / "arrays.safetensors").read_bytes()), **changes}
    content = tensors.save({name: array for name, array in found.items() if array is not None})
    (folder / "arrays.safetensors").write_bytes(content)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "arrays_sha256": hashlib.sha256(content).hexdigest()}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: _tell(folder, architecture=None), "does not say how the network is built"),
        (lambda folder: _tell(folder, architecture={"encoder": "magic"}), "does not say how the network is built"),
        (lambda folder: _put(folder, **{"network.head": None}), "missing are .'network.head'"),
        (lambda folder: _put(folder, **{"network.more": np.zeros(2)}), "not expected are .'network.more'"),
        (lambda folder: _put(folder, **{"network.bias": np.zeros((2, 7, 3))}), "network.bias is float64"),
        (
            lambda folder: _put(folder, **{"network.bias": np.zeros((3, 7, 3), np.float32)}),
            "network.bias is float32 of shape",
        ),
        (lambda folder: _put(folder, **{"network.bias": np.full((2, 7, 3), np.inf, np.float32)}), "not finite"),
        (
            lambda folder: _put(folder, **{"inputs.volume_utc": np.zeros((2, 7))}),
            "inputs.volume_utc is float64 of shape",
        ),
        (lambda folder: shutil.rmtree(folder / "baseline"), "baseline, a part of an artefact, cannot be read"),
        (lambda folder: VolatilityBaseline.prior(("BTCUSDT", "ETHUSDT"), 30).save(folder / "baseline"), "not the part"),
    ],
)
def test_damage_is_named(model: SkewTNetwork, tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    model.save(tmp_path / "net")
    damage(tmp_path / "net")
    with pytest.raises(DataError, match=words):
        load_model(tmp_path / "net")


def test_a_deviation_of_nothing_is_refused(model: SkewTNetwork, tmp_path: Path) -> None:
    model.save(tmp_path / "net")
    _put(tmp_path / "net", **{"inputs.deviation": np.zeros_like(model.inputs.deviation)})
    with pytest.raises(DataError, match="not above zero"):
        load_model(tmp_path / "net")


def test_another_models_sequence_is_refused(model: SkewTNetwork, bars: dict[str, Bars], dataset: Dataset) -> None:
    sequence = feature_sequence(bars, dataset.start_s + DAY_S, model.baseline.schema)
    with pytest.raises(SchemaMismatch, match="schema"):
        model.predict(sequence, HORIZONS)


def test_horizons_that_are_none_are_refused(model: SkewTNetwork, dataset: Dataset) -> None:
    windows = dataset.windows(model.schema, dataset.origins_s()[150:151])
    with pytest.raises(DataError, match="horizons"):
        model.predict(windows[0], np.array([300.0, 60.0]))
