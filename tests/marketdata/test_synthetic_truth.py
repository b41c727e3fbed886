"""The truth is the truth: laws, rates and correlations are those stated, and nothing of what comes is in them."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from scipy import stats

from crypy.distributions.scores import crps, nll
from crypy.domain.errors import ConfigError
from crypy.marketdata.synthetic import DAY_US, SyntheticMarket
from crypy.marketdata.synthetic_chain import RegimeChain
from crypy.marketdata.synthetic_law import SampledLaw, SecondLaw
from crypy.marketdata.synthetic_profile import Factor, Halts, Jumps, MarketProfile, market_profile
from crypy.marketdata.synthetic_truth import TruthModel

FIRST = 20_100
DAY_S = 86_400
DAYS = 14


def changed(profile: MarketProfile, **parts: object) -> MarketProfile:
    return msgspec.structs.replace(profile, **parts)


@pytest.fixture(scope="module")
def long() -> SyntheticMarket:
    """Two weeks of the default market, kept whole."""
    return SyntheticMarket(5, ("BTC", "ETH"), FIRST, 1_000.0, days_kept=DAYS)


def log_mid(market: SyntheticMarket, row: int, days: int = DAYS) -> np.ndarray:
    return np.concatenate([market.truth(FIRST + day).log_mid[row, :-1] for day in range(days)])


@pytest.mark.parametrize(
    ("horizon_s", "moments", "paths"), [(5, 300, 100), (60, 300, 100), (3_600, 250, 100), (14_400, 78, 200)]
)
def test_returns_over_longer_horizons_come_from_the_law_drawn_independently(
    long: SyntheticMarket, horizon_s: int, moments: int, paths: int
) -> None:
    path = log_mid(long, 0)
    spacing = (len(path) - horizon_s - 60) // moments
    at = np.arange(moments) * spacing + 17
    futures = long.futures("BTCUSDT", (FIRST * DAY_S + at).tolist(), horizon_s, paths)
    came = path[at + horizon_s] - path[at]
    ranks = ((futures < came[:, None]).sum(axis=1) + 0.5) / (paths + 1)
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3
    exact = [long.expected_scale("BTCUSDT", (FIRST * DAY_S + int(one)) * 1_000_000, horizon_s) for one in at]
    # The typical spread of drawn futures, which rare jumps do not move, is that of the closed formula.
    assert np.median(futures.std(axis=1) / np.array(exact)) == pytest.approx(0.98, abs=0.04)


def test_a_wrong_scale_would_be_found_out(long: SyntheticMarket) -> None:
    path, horizon_s = log_mid(long, 0), 300
    at = np.arange(600) * 1_900 + 17
    futures = 1.4 * long.futures("BTCUSDT", (FIRST * DAY_S + at).tolist(), horizon_s, 60, step_s=60)
    came = path[at + horizon_s] - path[at]
    assert stats.kstest(((futures < came[:, None]).sum(axis=1) + 0.5) / 61, "uniform").pvalue < 1e-3


def test_a_second_s_law_with_jumps_is_a_mixture_and_its_ranks_are_uniform() -> None:
    profile = changed(market_profile(("BTC",)), jumps=Jumps(shared_per_day=1_500.0, size=0.02), bursts=(), regimes=())
    market = SyntheticMarket(4, ("BTC",), FIRST, 100.0, profile=profile)
    truth = market.truth(FIRST)
    came = np.diff(truth.log_mid[0])
    at = range(0, DAY_S, 40)
    laws = [market.law("BTCUSDT", FIRST * DAY_S + second, 1) for second in at]
    ranks = np.array([law.cdf(came[second : second + 1])[0] for law, second in zip(laws, at, strict=True)])
    assert stats.kstest(ranks, "uniform").pvalue > 1e-3
    assert isinstance(laws[0], SecondLaw)
    assert laws[0].jump_chance == pytest.approx(1_500 / DAY_S)
    # Without the jumps it would be another law: every sixtieth second is far out.
    quiet = [SecondLaw(law.scale, law.skew, law.tail, 0.0, 1.0) for law in laws if isinstance(law, SecondLaw)]
    wrong = np.array([law.cdf(came[second : second + 1])[0] for law, second in zip(quiet, at, strict=True)])
    assert ((wrong < 1e-4) | (wrong > 1 - 1e-4)).mean() > 0.004


def test_proper_scores_are_best_for_the_truth() -> None:
    """Scale, skew and tail each: whoever departs from the truth pays, under likelihood and under CRPS."""
    fixed = market_profile(("BTC",)).without(("jumps", "volatility", "regimes", "bursts", "season"))
    coin = msgspec.structs.replace(fixed.coins[0], skew=-0.15, skew_swing=0.0)
    market = SyntheticMarket(9, ("BTC",), FIRST, 100.0, profile=changed(fixed, coins=(coin,)))
    truths = [market.truth(FIRST + day) for day in range(2)]
    returns = np.concatenate([np.diff(one.log_mid[0]) for one in truths])
    scale = np.concatenate([one.scale[0] for one in truths])
    skew, tail = float(truths[0].skew[0, 0]), float(truths[0].tail[0])
    for score in (nll, crps):
        best = score(returns, scale, skew, tail).mean()
        for wrong in ((1.08, skew, tail), (0.92, skew, tail), (1.0, 0.15, tail), (1.0, skew, 20.0), (1.0, skew, 2.4)):
            assert score(returns, wrong[0] * scale, wrong[1], wrong[2]).mean() > best


def test_jumps_come_as_often_and_as_large_as_stated() -> None:
    base = market_profile(("BTC", "ETH")).without(("regimes", "bursts"))
    jumps = Jumps(shared_per_day=40.0, own_per_day=20.0, size=0.05)
    market = SyntheticMarket(2, ("BTC", "ETH"), FIRST, 100.0, profile=changed(base, jumps=jumps), days_kept=1)
    seen, sizes, together = 0, [], 0
    for day in range(10):
        truth = market.truth(FIRST + day)
        seen += int(truth.jump[0].sum())
        together += int((truth.jump[0] & truth.jump[1]).sum())
        sizes.append(np.diff(truth.log_mid[0])[truth.jump[0]])
    assert abs(seen - 600) < 4 * 600**0.5
    assert abs(together - 400) < 4 * 400**0.5
    flat = np.concatenate(sizes) / (0.05 * base.coins[0].daily_volatility)
    assert stats.kstest(flat, stats.laplace(0, 0.5**0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("loading", [0.3, 0.95])
def test_coins_are_correlated_as_their_loadings_say(loading: float) -> None:
    base = market_profile(("BTC", "ETH")).without(("jumps", "volatility", "regimes", "bursts", "season"))
    coins = tuple(msgspec.structs.replace(coin, loading=loading, skew=0.0, skew_swing=0.0) for coin in base.coins)
    market = SyntheticMarket(6, ("BTC", "ETH"), FIRST, 100.0, profile=changed(base, coins=coins))
    returns = np.diff(market.truth(FIRST).log_mid, axis=1)
    assert stats.kendalltau(returns[0, :20_000], returns[1, :20_000])[0] == pytest.approx(
        2 / np.pi * np.arcsin(loading**2), abs=0.02
    )


def test_regimes_last_and_come_as_stated() -> None:
    profile = market_profile(("BTC",))
    chain = RegimeChain.of(profile.regimes, profile.bursts)
    rng = np.random.default_rng(1)
    days, now, parts = 6_000, 2, []
    for _ in range(days):
        day, now = chain.path(now, rng.random(1_440))
        parts.append(day)
    path = np.concatenate(parts)
    share = np.bincount(path, minlength=len(chain.stationary)) / len(path)
    # Regime by regime: the bursts of each come and go within it. Some 700 visits to each give its share to a twentieth.
    np.testing.assert_allclose(share.reshape(3, 2).sum(axis=1), chain.stationary.reshape(3, 2).sum(axis=1), atol=0.06)
    burst = path % 2
    starts = np.count_nonzero(np.diff(burst) == 1)
    assert burst.sum() / starts * 60 == pytest.approx(profile.bursts[1].dwell_s, rel=0.1)
    # What is expected n minutes on, from the sum of powers, is the transition's own power.
    for n in (1, 7, 500):
        direct = np.linalg.matrix_power(chain.transition, n) @ chain.jumps
        np.testing.assert_allclose((chain.expectation(chain.jumps) * chain.powers**n).sum(axis=1), direct, rtol=1e-8)


def test_the_first_state_is_drawn_from_the_law_of_the_long_run() -> None:
    """Over many seeds the variance of the first second is that of the profile: regimes, bursts and factors cancel out in the level."""
    profile = market_profile(("BTC",)).without(("season", "jumps"))
    model = TruthModel(0, profile, 1.0)
    variances: list[float] = []
    for model.seed in range(4_000):
        start = model.first()
        log_scale = model.level[0] + model.chain.log_volatility[start.regime]
        log_scale += profile.coins[0].sensitivity * start.shared.sum() + start.own[0].sum()
        variances.append(float(np.exp(2.0 * log_scale)))
    # One variance has a standard deviation of about 1.9 of its mean: three per cent for 4,000.
    assert np.mean(variances) * DAY_S == pytest.approx(profile.coins[0].daily_volatility ** 2, rel=0.12)


def test_a_halt_is_a_halt() -> None:
    profile = changed(market_profile(("BTC", "ETH")), halts=Halts(per_day=6.0, mean_s=900.0))
    market = SyntheticMarket(8, ("BTC", "ETH"), FIRST, 200_000.0, profile=profile)
    halt = market.truth(FIRST).halt
    starts = np.flatnonzero(np.diff(halt.astype(int), prepend=0) == 1)
    assert 1 <= len(starts) <= 20
    for symbol in market.symbols:
        batch = market.day(symbol, FIRST).trades
        second = (batch.time_us - FIRST * DAY_US) // 1_000_000
        assert not halt[second].any()
        assert (np.diff(batch.id) == 1).all()
        assert (batch.first_id[1:] == batch.last_id[:-1] + 1).all()
        quotes = market.day(symbol, FIRST).quotes
        assert not halt[(quotes.time_us - FIRST * DAY_US) // 1_000_000].any()
    # Prices reopen where the efficient price has gone, not where they stopped.
    longest = max(starts, key=lambda start: np.argmin(halt[start:]) if not halt[start:].all() else 0)
    end = longest + int(np.argmin(halt[longest:]))
    mid = market.truth(FIRST).log_mid[0]
    batch = market.day("BTCUSDT", FIRST).trades
    reopened = batch.price_e8[np.searchsorted(batch.time_us, FIRST * DAY_US + end * 1_000_000)] / 1e8
    scale = market.truth(FIRST).scale[0, end]
    assert abs(np.log(reopened) - mid[end]) < 20 * scale


def test_a_halt_goes_on_through_midnight() -> None:
    profile = changed(market_profile(("BTC",)), halts=Halts(per_day=2.0, mean_s=20_000.0))
    market = SyntheticMarket(8, ("BTC",), FIRST, 1_000.0, profile=profile, days_kept=1)
    carried = 0
    for day in range(FIRST, FIRST + 10):
        left_s = market.truth(day).end.halted_s
        carried += left_s > 0
        assert market.truth(day + 1).halt[:left_s].all()
    assert carried >= 2


def test_what_is_true_at_a_moment_does_not_depend_on_what_comes() -> None:
    """A market that departs from another in its own future only has had the same truth until then."""
    base = market_profile(("BTC",))
    lively = changed(base, jumps=changed_rate(base, 50.0))
    one = SyntheticMarket(3, ("BTC",), FIRST, 100.0)
    truth = one.truth(FIRST)
    # Scale, skew, tail and the chance of a jump of a second come from the state at its start: the next midnight's state gives them.
    later = one.truth(FIRST + 1)
    np.testing.assert_array_equal(truth.end.shared, later.shared.at(0)[0])
    np.testing.assert_array_equal(truth.end.own, later.own.at(0))
    # Returns do not move the scale they were drawn with: other jumps, same volatility in every second.
    other = SyntheticMarket(3, ("BTC",), FIRST, 100.0, profile=lively)
    shape = np.log(other.truth(FIRST).scale[0]) - np.log(truth.scale[0])
    assert np.ptp(shape) < 1e-9
    returns = np.diff(truth.log_mid[0]) / truth.scale[0]
    assert abs(np.corrcoef(returns[:-1], np.log(truth.scale[0, :-1]))[0, 1]) < 0.02


def changed_rate(profile: MarketProfile, shared_per_day: float) -> Jumps:
    return msgspec.structs.replace(profile.jumps, shared_per_day=shared_per_day, size=0.01)


def test_another_process_makes_the_same_market() -> None:
    code = (
        "import hashlib; from crypy.marketdata.synthetic import SyntheticMarket\n"
        f"m = SyntheticMarket(21, ('BTC', 'SOL'), {FIRST}, 5000.0)\n"
        f"t = m.trades('SOLUSDT', {(FIRST + 1) * DAY_US}, {(FIRST + 1) * DAY_US + 3_600_000_000})\n"
        "print(hashlib.sha256(t.price_e8.tobytes() + t.time_us.tobytes() + t.quantity_e8.tobytes()).hexdigest())"
    )
    market = SyntheticMarket(21, ("BTC", "SOL"), FIRST, 5_000.0)
    trades = market.trades("SOLUSDT", (FIRST + 1) * DAY_US, (FIRST + 1) * DAY_US + 3_600_000_000)
    own = hashlib.sha256(
        trades.price_e8.tobytes() + trades.time_us.tobytes() + trades.quantity_e8.tobytes()
    ).hexdigest()
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == own


def test_leverage_lets_volatility_rise_after_falls() -> None:
    base = market_profile(("BTC",)).without(("jumps", "bursts", "regimes", "season"))
    leaning = changed(base, shared=(Factor(3_600.0, 0.4, -0.9),), own=())
    market = SyntheticMarket(1, ("BTC",), FIRST, 10.0, profile=leaning, days_kept=1)
    pairs = []
    for day in range(4):
        truth = market.truth(FIRST + day)
        moved = np.diff(truth.log_mid[0][::3_600])
        pairs.append(np.stack([moved[:-1], np.diff(np.log(truth.scale[0][::3_600]))]))
    assert np.corrcoef(np.concatenate(pairs, axis=1))[0, 1] < -0.3


def test_a_law_is_the_same_each_time_it_is_asked_for(long: SyntheticMarket) -> None:
    at = FIRST * DAY_S + 12_345
    one, two = (long.law("ETHUSDT", at, 7_200, paths=400) for _ in range(2))
    assert isinstance(one, SampledLaw)
    assert isinstance(two, SampledLaw)
    np.testing.assert_array_equal(one.returns, two.returns)
    assert one.deviation == long.expected_scale("ETHUSDT", at * 1_000_000, 7_200)
    assert one.cdf(np.array([-1.0, 0.0, 1.0])) == pytest.approx([0.5 / 401, 0.5, 400.5 / 401], abs=0.12)
    with pytest.raises(ConfigError, match="whole steps"):
        long.futures("ETHUSDT", [at], 100, 10, step_s=60)
