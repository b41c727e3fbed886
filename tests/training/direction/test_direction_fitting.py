"""What is learned: a planted signal is found, a random walk is left alone, equal seeds give equal bits, and nothing crosses a split."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "direction"))
from direction_market_kit import (
    COLUMNS,
    START_S,
    SYMBOLS,
    bars_of,
    fitted,
    p_up_of,
    planted,
    walk,
    with_missing,
)

from crypy.domain.errors import ConfigError
from crypy.models.direction.inputs import DirectionInputs
from crypy.models.direction.kinds import FitRange, direction_kind
from crypy.models.direction.market import Market
from crypy.models.direction.network import DirectionNetwork
from crypy.models.direction.plain import moves
from crypy.training.direction.examples import EMBARGO_S, Examples, cut_of, data_fingerprint, log_losses, spread_over
from crypy.training.direction.fitting import fit_ensemble
from crypy.training.direction.folds import Folds, Span
from crypy.training.direction.logistic_fitting import logistic
from crypy.training.direction.recipes import (
    candle_columns,
    learned_together,
    network_columns,
    network_settings,
    trainer_settings,
)
from crypy.training.direction.trainer_settings import DirectionTrainer, laid_over

MINUTES = 20_000
FEW = {"trainer": {"epochs": 4, "batch": 256, "learning_rate": 5e-3, "validation_share": 0.25}}


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.of(planted(MINUTES, ties=0.1))


@pytest.fixture(scope="module")
def learned(market: Market) -> DirectionNetwork:
    found = fitted("direction-network", market, 60, **FEW)
    assert isinstance(found, DirectionNetwork)
    return found


@pytest.mark.slow
def test_a_network_finds_the_planted_chance(market: Market, learned: DirectionNetwork) -> None:
    """BTC follows ETH's last step by a known logistic function; a tenth of its minutes are ties, whatever ETH did."""
    rows = np.arange(16_000, MINUTES)
    told = learned.ask(market, rows)
    lead = np.diff(np.log(market.column("ETHUSDT", "close", 0, MINUTES)), prepend=np.nan)[rows] / 5e-4
    assert np.mean(np.abs(told.up_given_move[:, 0] - p_up_of(lead))) < 0.05
    assert 0.08 < float(np.mean(1.0 - told.p_up[:, 0] - told.p_down[:, 0])) < 0.12
    gains = learned.record.settings["held_out_gain"]
    assert gains["BTCUSDT"] > 0.08
    assert -0.03 < gains["ETHUSDT"] < 0.003


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["direction-network", "direction-lstm"])
def test_nothing_is_found_in_a_random_walk(kind: str) -> None:
    found = fitted(kind, Market.of(walk(MINUTES)), 60, **FEW)
    gains = found.record.settings["held_out_gain"]  # pyright: ignore[reportAttributeAccessIssue]  all kinds have one
    assert set(gains) == set(SYMBOLS)
    assert all(-0.03 < gain < 0.003 for gain in gains.values()), gains


def test_logistic_regression_finds_it_too_and_nothing_in_a_walk(market: Market) -> None:
    found = fitted("direction-logistic", market, 60, trainer={"validation_share": 0.25})
    gains = found.record.settings["held_out_gain"]  # pyright: ignore[reportAttributeAccessIssue]
    assert gains["BTCUSDT"] > 0.08
    blind = fitted("direction-logistic", Market.of(walk(MINUTES)), 60, trainer={"validation_share": 0.25})
    gains = blind.record.settings["held_out_gain"]  # pyright: ignore[reportAttributeAccessIssue]
    assert all(-0.003 < gain < 0.003 for gain in gains.values()), gains


@pytest.mark.slow
def test_the_lstm_finds_it(market: Market) -> None:
    found = fitted("direction-lstm", market, 60, trainer={"epochs": 2, "batch": 256, "learning_rate": 5e-3})
    gains = found.record.settings["in_sample_gain"]  # pyright: ignore[reportAttributeAccessIssue]
    assert gains["BTCUSDT"] > 0.06


@pytest.mark.slow
def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    market = Market.of(planted(1_500))

    def weights(seed: int) -> bytes:
        found = fitted("direction-network", market, 60, trainer={"epochs": 1, "batch": 256, "seed": seed})
        told = found.ask(market, np.arange(400, 500))
        return told.p_up.tobytes()

    assert weights(3) == weights(3)
    assert weights(3) != weights(4)


def test_logistic_regression_equals_scikit_learn() -> None:
    """Two heads of their own are scikit-learn's three classes, with the tie's coefficients taken off."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    z = rng.standard_normal((4_000, 3)).astype(np.float32)
    heads = z.astype(np.float64) @ np.array([[0.8, -0.3], [0.1, 0.4], [-0.5, 0.0]]) + np.array([1.0, 0.7])
    chances = np.exp(np.column_stack([heads, np.zeros(len(z))]))
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = (rng.random((len(z), 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    outcomes = np.array([1, -1, 0], np.int8)[drawn]
    ours = logistic(z, outcomes, None, 0.0)
    theirs = LogisticRegression(C=1e12, tol=1e-10, max_iter=5_000).fit(z, drawn)
    wanted = np.column_stack([theirs.coef_, theirs.intercept_])
    np.testing.assert_allclose(ours.T, (wanted - wanted[2])[:2], atol=2e-4)


def test_a_mirrored_logistic_regression_is_even_handed() -> None:
    rng = np.random.default_rng(3)
    z = rng.standard_normal((3_000, 2)).astype(np.float32)
    outcomes = np.where(rng.random(3_000) < 1.0 / (1.0 + np.exp(-z[:, 0])), 1, -1).astype(np.int8)
    odd = np.array([True, False])
    found = logistic(z, outcomes, odd, 1e-3)
    turned = logistic(np.where(odd, -z, z).astype(np.float32), (-outcomes).astype(np.int8), odd, 1e-3)
    np.testing.assert_allclose(found, turned, atol=1e-9)
    assert found.shape == (3, 1)
    # u - d has twice the coefficient of the odd column.
    assert abs(2.0 * found[0, 0] - 1.0) < 0.15


def test_no_logistic_regression_of_nothing() -> None:
    with pytest.raises(ConfigError, match="BTCUSDT: nothing is known"):
        logistic(np.zeros((0, 2), np.float32), np.zeros(0, np.int8), None, 1e-3, "BTCUSDT")


def test_outcomes_are_told_by_exact_closes_and_missing_minutes_tell_nothing() -> None:
    close = np.array([100.0, 100.0, 100.0 + 1e-9, 99.0, 99.0, 99.5, 99.5, 98.0])
    one = with_missing(bars_of("BTCUSDT", close), [5])
    market = Market.of({"BTCUSDT": one})
    found = Examples.of(market, DirectionInputs(("BTCUSDT",), 60), START_S, market.end_s)
    assert found.outcomes[:, 0].tolist()[:4] == [0, 1, -1, 0]
    assert found.known[:, 0].tolist() == [True, True, True, True, False, False, True]
    assert found.ends_s.tolist() == [START_S + 60 * row for row in range(1, 8)]
    flat, _ = moves(market, "BTCUSDT", np.array([1, 2]), np.array([2, 3]), flat_bps=1.0)
    assert flat.tolist() == [0, -1]


def test_longer_candles_are_asked_at_their_ends_or_inside() -> None:
    market = Market.of(walk(120))
    inputs = DirectionInputs(SYMBOLS, 900)
    ends = Examples.of(market, inputs, START_S, market.end_s)
    assert (ends.ends_s % 900 == 0).all()
    assert len(ends) == 7
    inside = Examples.of(market, inputs, START_S, market.end_s, 60)
    assert len(inside) == 105
    assert inside.asked().ends_s.tolist() == ends.ends_s.tolist()
    close = market.column("BTCUSDT", "close", 0, 120)
    assert inside.outcomes[:, 0].tolist() == np.sign(close[15:] - close[:-15]).tolist()
    for spacing_s in (45, 600, 1_800):
        with pytest.raises(ConfigError, match="divides"):
            Examples.of(market, inputs, START_S, market.end_s, spacing_s)
    with pytest.raises(ConfigError, match="no candle of 900 s"):
        Examples.of(market, inputs, START_S + 6_600, START_S + 7_200)


@pytest.mark.parametrize("timeframe_s", [60, 300, 900, 3_600])
def test_no_candle_that_is_learned_from_reaches_what_is_held_out(timeframe_s: int) -> None:
    market = Market.of(walk(3_000))
    examples = Examples.of(market, DirectionInputs(SYMBOLS, timeframe_s), START_S, market.end_s, 60)
    learnt, held_out = examples.split(cut_of(START_S, market.end_s, 0.3))
    assert held_out is not None
    assert learnt.ends_s[-1] + timeframe_s + EMBARGO_S <= held_out.ends_s[0]
    assert (held_out.ends_s % timeframe_s == 0).all()
    assert abs((market.end_s - int(held_out.ends_s[0])) / (3_000 * 60) - 0.3) < 0.03
    with pytest.raises(ConfigError, match="longer range"):
        Examples.of(market, DirectionInputs(SYMBOLS, 3_600), START_S, START_S + 7_200).split(
            cut_of(START_S, START_S + 7_200, 0.5)
        )


def test_the_fingerprint_of_the_data_follows_every_minute() -> None:
    bars = walk(100)
    inputs = DirectionInputs(SYMBOLS, 60)
    end_s = START_S + 90 * 60
    first = data_fingerprint(Market.of(bars), inputs, end_s)
    assert first == data_fingerprint(Market.of(bars), inputs, end_s)
    bars["ETHUSDT"].volume[89] *= 2.0
    assert data_fingerprint(Market.of(bars), inputs, end_s) != first
    bars["ETHUSDT"].volume[89] /= 2.0
    bars["ETHUSDT"].volume[90] *= 2.0
    assert data_fingerprint(Market.of(bars), inputs, end_s) == first


def test_frequencies_and_the_last_direction_by_hand() -> None:
    side = np.tile([1.0, 1.0, -1.0], 1_000)
    market = Market.of({"BTCUSDT": bars_of("BTCUSDT", 100.0 * np.exp(1e-4 * np.cumsum(side)))})
    constant, last = fitted("direction-constant", market), fitted("direction-last", market)
    told = constant.ask(market, np.array([10]))
    # 2,999 candles, two thirds up; each outcome has been seen once more.
    assert told.p_up[0, 0] == pytest.approx(2_000 / 3_002, abs=2e-3)
    rows = np.array([2_001, 2_002])
    after = last.ask(market, rows)
    before, _ = moves(market, "BTCUSDT", rows - 1, rows)
    # After a fall it always rises, after a rise in half of the cases; a hundred candles of the usual frequencies stand beside.
    assert before.tolist() == [-1, 1] or before.tolist() == [1, -1] or before.tolist() == [1, 1]
    for at, what in enumerate(before):
        wanted = (999 + 66.6) / 1_099 if what < 0 else (1_000 + 66.6) / 2_100
        assert after.p_up[at, 0] == pytest.approx(wanted, abs=3e-3)


def test_log_losses_by_hand() -> None:
    market = Market.of({"BTCUSDT": bars_of("BTCUSDT", np.array([100.0, 101.0, 101.0, 100.0]))})
    examples = Examples.of(market, DirectionInputs(("BTCUSDT",), 60), START_S, market.end_s)
    from crypy.models.direction.port import Probabilities

    told = Probabilities(np.full((3, 1), 0.5), np.full((3, 1), 0.3))
    losses, known = log_losses(told, examples)
    np.testing.assert_allclose(losses[:, 0], -np.log([0.5, 0.2, 0.3]))
    assert known.all()


@pytest.mark.slow
def test_one_coin_alone_and_holes_in_the_minutes_are_no_obstacle() -> None:
    bars = planted(1_500)
    alone = Market.of({"BTCUSDT": with_missing(bars["BTCUSDT"], list(range(700, 900)))})
    found = fitted("direction-network", alone, 60, trainer={"epochs": 1, "batch": 128})
    told = found.ask(alone, np.arange(1_000, 1_010))
    assert np.isfinite(told.p_up).all()
    # 200 missing minutes, and the one that ends where they begin.
    assert found.record.settings["examples"] == 1_499 - 201  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.slow
def test_timeframes_that_learn_together_are_as_if_each_had_been_asked_for_alone() -> None:
    market = Market.of(planted(1_500))
    options = {
        "columns": COLUMNS,
        "network": {"hidden": [4], "members": 1},
        "trainer": {"epochs": 1, "batch": 256},
    }
    fit = FitRange(market, market.symbols, market.start_s, market.end_s)
    kind = direction_kind("direction-network")
    both = list(kind.fit_all()(fit, (3_600, 300), **options))
    alone = kind.fit_function()(market, market.symbols, 300, market.start_s, market.end_s, **options)
    assert [one.timeframe_s for one in both] == [3_600, 300]
    rows = market.rows_ending(300)
    assert both[1].ask(market, rows).p_up.tobytes() == alone.ask(market, rows).p_up.tobytes()


@pytest.mark.slow
def test_a_walk_forward_trains_what_timeframes_share_once_a_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market.of(planted(3_000))
    options = {"columns": COLUMNS, "network": {"hidden": [4], "members": 1}, "trainer": {"epochs": 1, "batch": 256}}
    span = Span(START_S + 30 * 3_600, START_S + 50 * 3_600)
    kind = direction_kind("direction-network")
    trained: list[str] = []

    def counted(*given: Any) -> Any:
        trained.append(given[-1])
        return fit_ensemble(*given)

    monkeypatch.setattr("crypy.training.direction.network_fitting.fit_ensemble", counted)
    together = Folds.fitted_together(
        "network",
        lambda end_s: kind.fit_all()(FitRange(market, SYMBOLS, START_S, end_s), (300, 900, 3_600), **options),
        span,
        2,
        3_600,
    )
    assert len(trained) == 2
    alone = Folds.fitted(
        "network", lambda end_s: kind.fit_function()(market, SYMBOLS, 900, START_S, end_s, **options), span, 2, 3_600
    )
    assert len(trained) == 4
    rows = span.rows(market, 900)
    assert together[900].ask(market, rows).p_up.tobytes() == alone.ask(market, rows).p_up.tobytes()


def test_too_short_a_range_is_said() -> None:
    market = Market.of(walk(40))
    with pytest.raises(ConfigError, match="take a longer range"):
        fitted("direction-network", market, 60)


def test_settings_that_cannot_be_are_said() -> None:
    for name, value in (("epochs", 0), ("learning_rate", 0.0), ("validation_share", 0.9), ("flat_bps", -1.0)):
        with pytest.raises(ConfigError, match=name):
            laid_over(DirectionTrainer(), {name: value})
    with pytest.raises(ConfigError, match="epoch_count"):
        laid_over(DirectionTrainer(), {"epoch_count": 3})
    assert laid_over(DirectionTrainer(epochs=3), {"batch": 7}) == DirectionTrainer(epochs=3, batch=7)


def test_recipes_are_whole_and_their_odd_columns_turn_with_the_market() -> None:
    """In the mirrored market (p to 1 / p) odd columns change their sign and the others do not, but for those that read prices or ticks themselves."""
    assert learned_together(900) == (60, 300, 900, 3_600)
    bars = walk(1_700)
    mirrored = {
        symbol: type(one)(
            symbol, START_S, 60, 1e4 / one.open, 1e4 / one.low, 1e4 / one.high, 1e4 / one.close, one.volume, one.quote_volume,
            one.count, one.taker_buy_volume,
        )
        for symbol, one in bars.items()
    }  # fmt: skip
    for timeframe_s in (60, 300, 900, 3_600):
        assert network_settings(timeframe_s).mirrored
        assert trainer_settings(timeframe_s).epochs >= 1
    for columns in (network_columns(), candle_columns(300)):
        priced = [_reads_price(column.feature) for column in columns]
        inputs = DirectionInputs(SYMBOLS, 60, columns)
        seen = []
        for one in (bars, mirrored):
            market = Market.of(one)
            market.want(inputs.wanted())
            seen.append(inputs.x(market, np.arange(1_500, 1_700))[0])
        turned = np.where(inputs.odd, -seen[1], seen[1])
        for at, column in enumerate(columns):
            if not priced[at]:
                np.testing.assert_allclose(
                    seen[0][:, :, at], turned[:, :, at], rtol=2e-2, atol=2e-2, err_msg=str(column)
                )


def _reads_price(spec: object) -> bool:
    """Whether a feature looks at prices in ticks or at round ones, which a mirror does not keep."""
    text = str(spec)
    return "tanh" in text or "'of': 'close', 'period'" in text


def test_places_are_spread_over_all_phases() -> None:
    found = spread_over(100_000, 1_000)
    assert len(set(found.tolist())) == 1_000
    assert len(set((found % 60).tolist())) == 60
    assert spread_over(5, 10).tolist() == [0, 1, 2, 3, 4]
