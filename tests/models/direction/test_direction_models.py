"""All kinds of direction models by the same rules: kept and read again, blind to what comes after, equal bits alone, in batch and live."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from direction_market_kit import COLUMNS, SYMBOLS, fitted, live_market, planted, with_missing

from crypy.domain.errors import ConfigError, DataError, SchemaMismatch
from crypy.marketdata.bars import Bars
from crypy.models.artefact import ARRAYS, CARD, read_card
from crypy.models.direction.kinds import direction_kind, direction_kinds
from crypy.models.direction.loading import load_member
from crypy.models.direction.market import Market
from crypy.models.direction.modules import Dense, Perceptron, TwoHeads, probabilities, with_arrays
from crypy.models.direction.perceptron import PerceptronSettings, layer_sizes, symbol_marks
from crypy.models.direction.port import Member, Probabilities
from crypy.models.loading import load

_TRAINED = ("direction-network", "direction-lstm")
KINDS = tuple(pytest.param(kind, marks=pytest.mark.slow) if kind in _TRAINED else kind for kind in direction_kinds())
MINUTES = 1_500


@pytest.fixture(scope="module")
def bars() -> dict[str, Bars]:
    return planted(MINUTES, ties=0.1)


class _Members(dict[str, Member]):
    """One of each kind, on candles of five minutes, fitted when it is asked for first."""

    def __init__(self, bars: dict[str, Bars]) -> None:
        self._bars = bars

    def __missing__(self, kind: str) -> Member:
        self[kind] = fitted(kind, Market.of(self._bars), 300)
        return self[kind]


@pytest.fixture(scope="module")
def members(bars: dict[str, Bars]) -> dict[str, Member]:
    return _Members(bars)


def asked(member: Member, bars: dict[str, Bars], rows: np.ndarray | None = None) -> Probabilities:
    market = Market.of(bars)
    member.prepare(market)
    return member.ask(market, np.arange(market.rows) if rows is None else rows)


def equal(left: Probabilities, right: Probabilities) -> bool:
    return left.p_up.tobytes() == right.p_up.tobytes() and left.p_down.tobytes() == right.p_down.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_chances_are_chances_and_unknown_before_the_model_is_warm(
    kind: str, members: dict[str, Member], bars: dict[str, Bars]
) -> None:
    told = asked(members[kind], bars)
    known = np.isfinite(told.p_up)
    assert known[200:].all()
    assert (known == np.isfinite(told.p_down)).all()
    if kind != "direction-constant":
        assert not known[0].any()
    assert (told.p_up[known] >= 0.0).all()
    assert (told.p_down[known] >= 0.0).all()
    assert (told.p_up[known] + told.p_down[known] <= 1.0 + 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_read_as_it_was_kept(
    kind: str, members: dict[str, Member], bars: dict[str, Bars], tmp_path: Path
) -> None:
    member = members[kind]
    member.save(tmp_path / "model")  # pyright: ignore[reportAttributeAccessIssue]  all kinds can be kept
    again = load_member(tmp_path / "model")
    assert (again.name, again.symbols, again.timeframe_s) == (f"{kind}-1", SYMBOLS, 300)
    assert equal(asked(member, bars), asked(again, bars))
    again.save(tmp_path / "again")  # pyright: ignore[reportAttributeAccessIssue]
    assert (tmp_path / "again" / CARD).read_bytes() == (tmp_path / "model" / CARD).read_bytes()
    card = read_card(tmp_path / "model")
    assert (card.task, card.kind, card.schema.base_step_s, card.schema.blocks) == ("direction", kind, 300, ())
    assert card.fit_end_s - card.fit_start_s == MINUTES * 60
    with pytest.raises(ConfigError, match="forecasts directions"):
        load(tmp_path / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_artefacts_are_refused(kind: str, members: dict[str, Member], tmp_path: Path) -> None:
    members[kind].save(tmp_path / "model")  # pyright: ignore[reportAttributeAccessIssue]
    folder = tmp_path / "model"
    card, arrays = (folder / CARD).read_bytes(), (folder / ARRAYS).read_bytes()
    (folder / ARRAYS).write_bytes(arrays[:-1] + bytes([arrays[-1] ^ 1]))
    with pytest.raises(DataError, match="SHA-256"):
        load_member(folder)
    (folder / ARRAYS).write_bytes(arrays)
    content = json.loads(card)
    for spoil, words in (
        (lambda one: one["settings"].pop("inputs"), "inputs"),
        (lambda one: one["settings"]["inputs"].update(timeframe_s=900), "inputs"),
        (lambda one: one["settings"].update(inputs_fingerprint="0" * 64), "inputs"),
        (lambda one: one.update(version="9"), "version 1"),
        (lambda one: one.update(kind="direction-oracle"), "does not know"),
    ):
        spoilt = json.loads(json.dumps(content))
        spoil(spoilt)
        (folder / CARD).write_text(json.dumps(spoilt))
        with pytest.raises(DataError, match=words):
            load_member(folder)
    (folder / CARD).write_bytes(card[: len(card) // 2])
    with pytest.raises(DataError, match="damaged"):
        load_member(folder)


@pytest.mark.slow
def test_a_layer_that_does_not_fit_the_settings_is_refused(members: dict[str, Member], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    members["direction-network"].save(folder)  # pyright: ignore[reportAttributeAccessIssue]
    content = json.loads((folder / CARD).read_text())
    content["settings"]["network"]["hidden"] = [9]
    (folder / CARD).write_text(json.dumps(content))
    with pytest.raises(DataError, match="expected float32"):
        load_member(folder)
    content["settings"]["network"]["hidden"] = [0]
    (folder / CARD).write_text(json.dumps(content))
    with pytest.raises(DataError, match="network settings"):
        load_member(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_after_a_close_changes_nothing_at_it(
    kind: str, members: dict[str, Member], bars: dict[str, Bars]
) -> None:
    assert not looks_ahead(members[kind], bars)


def test_a_cheat_is_caught(bars: dict[str, Bars]) -> None:
    assert looks_ahead(_Cheat(), bars)


def looks_ahead(member: Member, bars: dict[str, Bars]) -> bool:
    """Whether other minutes behind a row change what is said at it or before."""
    row = 1_000
    other = {symbol: _changed_after(one, row) for symbol, one in bars.items()}
    rows = np.arange(row + 1)
    return not equal(asked(member, bars, rows), asked(member, other, rows))


def _changed_after(bars: Bars, row: int) -> Bars:
    columns = [getattr(bars, name).copy() for name in ("open", "high", "low", "close", "volume", "quote_volume")]
    for column in columns:
        column[row + 1 :] *= 1.25
    return Bars(bars.symbol, bars.start_s, 60, *columns, bars.count, bars.taker_buy_volume)


class _Cheat:
    """Knows the next minute."""

    name = "cheat"
    symbols = SYMBOLS
    timeframe_s = 60

    def prepare(self, market: Market) -> None: ...

    def ask(self, market: Market, rows: np.ndarray) -> Probabilities:
        later = np.minimum(rows + 1, market.rows - 1)
        close = np.stack([market.column(symbol, "close", 0, market.rows) for symbol in SYMBOLS], 1)
        p_up = np.where(close[later] > close[rows], 0.9, 0.1)
        return Probabilities(p_up, 1.0 - p_up)


@pytest.mark.parametrize("kind", KINDS)
def test_minute_by_minute_gives_the_bits_of_the_batch(kind: str, members: dict[str, Member]) -> None:
    """With a missing minute in one coin, too."""
    member = members[kind]
    bars = planted(320, seed=8)
    bars["ETHUSDT"] = with_missing(bars["ETHUSDT"], [250, 251, 300])
    batch = asked(member, bars)

    def ask(market: Market, row: int) -> None:
        if row > 240:
            alone = member.ask(market, np.array([row]))
            assert alone.p_up.tobytes() == batch.p_up[row : row + 1].tobytes(), row
            assert alone.p_down.tobytes() == batch.p_down[row : row + 1].tobytes(), row

    live_market(member, bars, ask)


@pytest.mark.parametrize("kind", KINDS)
def test_a_market_without_the_coin_is_refused_and_one_with_more_is_not(
    kind: str, members: dict[str, Member], bars: dict[str, Bars]
) -> None:
    with pytest.raises(SchemaMismatch, match="ETHUSDT"):
        members[kind].prepare(Market.of({"BTCUSDT": bars["BTCUSDT"]}))
    more = {"SOLUSDT": Bars("SOLUSDT", *_columns(bars["BTCUSDT"])), **bars}
    assert equal(asked(members[kind], bars), asked(members[kind], more))


def _columns(bars: Bars) -> list[object]:
    names = ("start_s", "step_s", "open", "high", "low", "close", "volume", "quote_volume", "count", "taker_buy_volume")
    return [getattr(bars, name) for name in names]


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_the_kernel_says_what_the_trained_module_says(mirrored: bool, shared: bool) -> None:
    from crypy.models.direction.inputs import DirectionInputs
    from crypy.models.direction.perceptron import Perceptrons, perceptron_specs

    settings = PerceptronSettings(hidden=(16, 8), members=3, mirrored=mirrored, shared=shared)
    inputs = DirectionInputs(SYMBOLS, 60, COLUMNS)
    rng = np.random.default_rng(4)
    arrays = {
        name: rng.standard_normal(spec.shape).astype(np.float32)
        for name, spec in perceptron_specs(settings, inputs).items()
    }
    served = Perceptrons(settings, inputs, arrays)
    z = rng.standard_normal((37, 2, inputs.width)).astype(np.float32)
    known = np.ones((37, 2), np.bool_)
    known[3, 1] = known[5] = False
    told = served.chances(z, known)
    assert (np.isnan(told).any(axis=2) == ~known).all()
    odd = (*inputs.odd.tolist(), *([False] * (2 if shared else 0)))
    empty = TwoHeads(Dense(Perceptron(layer_sizes(settings, inputs), 0.0, jax.random.key(0))), odd, mirrored)
    for symbol in range(2):
        own = z[:, symbol]
        seen = np.concatenate([own, np.tile(symbol_marks(symbol, 2), (37, 1))], 1) if shared else own
        said = np.zeros((37, 2))
        for member in range(3):
            weights = {name: array[0 if shared else symbol, member] for name, array in arrays.items()}
            module = with_arrays(empty, weights)
            said += (
                np.asarray(jax.vmap(lambda one, module=module: probabilities(module(one))[0, :2])(seen), np.float64) / 3
            )
        answered = known[:, symbol]
        np.testing.assert_allclose(told[answered, symbol], said[answered], atol=1e-6)
    for row in (0, 3, 7, 8, 36):
        assert served.chances(z[row : row + 1], known[row : row + 1]).tobytes() == told[row : row + 1].tobytes()
    turned = np.where(inputs.odd, -z, z).astype(np.float32)
    if mirrored:
        np.testing.assert_array_equal(told, served.chances(turned, known)[:, :, ::-1])


def test_a_density_model_is_no_direction_model() -> None:
    from crypy.training.registry import SHIPPED

    with pytest.raises(ConfigError, match="no directions"):
        load_member(SHIPPED / "minutes")
    with pytest.raises(ConfigError, match="there are direction-network"):
        direction_kind("direction-oracle")
